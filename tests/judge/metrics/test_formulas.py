"""The formulas, by hand-computed values and by properties that hold for any timing."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.metrics import formulas, request_formulas
from tests.judge.build import MS, request, run

DURATIONS = st.lists(st.integers(1, 10**13), min_size=1, max_size=8)
TIMINGS = st.builds(
    request,
    sent_ms=st.integers(0, 10**6),
    ttft_ms=st.integers(0, 1000),
    total_ms=st.integers(1000, 10**5),
    tokens=st.integers(0, 500),
    decode_ms=st.integers(0, 1000),
    total_duration_ns=st.integers(0, 10**12),
    load_duration_ns=st.integers(0, 10**10),
    prompt_eval_duration_ns=st.integers(0, 10**10),
)
CLIENT = (
    request_formulas.ttft_ms,
    request_formulas.client_decode_tok_s,
    request_formulas.itl_ms,
    request_formulas.tpot_ms,
)
SERVER = (request_formulas.server_ttft_ms, request_formulas.queue_ms, request_formulas.decode_tok_s)


def test_per_request_by_hand() -> None:
    """Each figure of one request, computed on paper."""
    timing = replace(
        request(sent_ms=5, ttft_ms=50, total_ms=250, tokens=5, decode_ms=200, total_duration_ns=300 * MS),
        load_duration_ns=20 * MS,
        prompt_eval_duration_ns=30 * MS,
        arrivals_ns=(55 * MS, 105 * MS, 255 * MS),
    )
    assert request_formulas.ttft_ms(timing) == 50
    assert request_formulas.server_ttft_ms(timing) == 50
    assert request_formulas.queue_ms(timing) == 300 - 20 - 30 - 200
    assert request_formulas.decode_tok_s(timing) == 25
    assert request_formulas.client_decode_tok_s(timing) == 4 / 0.2
    assert request_formulas.itl_ms(timing) == (50, 150)
    assert request_formulas.tpot_ms(timing) == 50


def test_queue_time_is_never_negative() -> None:
    """A server whose parts exceed its total waited 0."""
    assert request_formulas.queue_ms(request(decode_ms=50, total_duration_ns=40 * MS)) == 0


def test_a_server_without_durations_has_no_server_times() -> None:
    """Its queue time and TTFT are undefined, not 0 ms: a gate on them must not pass."""
    assert request_formulas.queue_ms(request(decode_ms=0)) is None
    assert request_formulas.server_ttft_ms(request(decode_ms=0)) is None


@pytest.mark.parametrize(("tokens", "decode_ms"), [(1, 0.001), (0, 50), (10, 0)])
def test_no_rate_from_one_token_or_no_time(tokens: int, decode_ms: float) -> None:
    """With one token the server's duration is about 1 us; the rate is undefined, never a million."""
    timing = request(tokens=tokens, decode_ms=decode_ms)
    assert request_formulas.decode_tok_s(timing) is None
    assert request_formulas.agent_decode_tok_s(run("x", timing)) is None


def test_client_rates_need_two_tokens_at_two_moments() -> None:
    """Undefined, not 0 and not infinite."""
    assert request_formulas.client_decode_tok_s(request(tokens=1)) is None
    assert request_formulas.tpot_ms(request(tokens=1)) is None
    at_once = replace(request(), arrivals_ns=(7, 7))
    assert request_formulas.client_decode_tok_s(at_once) is None
    assert request_formulas.tpot_ms(at_once) == 0
    none = replace(request(), arrivals_ns=())
    assert request_formulas.client_decode_tok_s(none) is None
    assert request_formulas.tpot_ms(none) is None
    assert request_formulas.itl_ms(none) == ()


def test_ttft_needs_a_chunk_after_the_request() -> None:
    """No chunk, or one from before the request, is an error that says so."""
    with pytest.raises(MeasurementError, match="no content chunk"):
        request_formulas.ttft_ms(replace(request(), arrivals_ns=()))
    with pytest.raises(MeasurementError, match="3 ns before"):
        request_formulas.ttft_ms(replace(request(), sent_ns=10, arrivals_ns=(7,)))


def test_an_agents_rate_weighs_by_time_and_leaves_out_requests_without_a_rate() -> None:
    """10 tokens in 50 ms and 30 in 350 ms are 100 tok/s; a one-token request changes nothing."""
    requests = (request(tokens=10, decode_ms=50), request(tokens=30, decode_ms=350), request(tokens=1, decode_ms=0.001))
    assert request_formulas.agent_decode_tok_s(run("x", *requests)) == 100


def test_fifo_of_two_equal_agents() -> None:
    """Strictly one after the other: 75 % balance, 50 % scaling (METRICS)."""
    assert formulas.efficiency_pct((10, 20)) == 75
    assert formulas.scaling_efficiency_pct((10, 10), (10, 20)) == 50
    assert formulas.speedup((10, 20)) == 1.5
    assert formulas.scaling_speedup((10, 10), (10, 20)) == 1


def test_a_device_shared_at_half_speed() -> None:
    """Both twice as slow: 100 % balance, 50 % scaling (METRICS)."""
    assert formulas.efficiency_pct((20, 20)) == 100
    assert formulas.scaling_efficiency_pct((10, 10), (20, 20)) == 50


@given(st.integers(1, 10**12), st.integers(2, 8))
def test_fifo_of_any_number_of_equal_agents(solo_ns: int, agents: int) -> None:
    """N equal agents in a queue: balance (N + 1) / 2N, scaling 1 / N."""
    queued = [solo_ns * (place + 1) for place in range(agents)]
    assert formulas.efficiency_pct(queued) == pytest.approx(100 * (agents + 1) / (2 * agents))
    assert formulas.scaling_efficiency_pct([solo_ns] * agents, queued) == pytest.approx(100 / agents)


@given(DURATIONS)
def test_balance_is_in_0_to_100_and_its_speedup_in_1_to_n(durations_ns: list[int]) -> None:
    """Never 0, never above 100 %, exactly 100 % when all are equal."""
    efficiency_pct = formulas.efficiency_pct(durations_ns)
    assert 0 < efficiency_pct <= 100
    assert (efficiency_pct == 100) == (len(set(durations_ns)) == 1) or max(durations_ns) > 10**12
    assert 1 <= formulas.speedup(durations_ns) <= len(durations_ns)


@given(DURATIONS, st.randoms(use_true_random=False))
def test_the_order_of_agents_does_not_matter(durations_ns: list[int], random) -> None:
    """Permuting agents (alone and together alike) changes no figure of a round."""
    order = list(range(len(durations_ns)))
    random.shuffle(order)
    solo_ns, tokens = [ns // 2 + 1 for ns in durations_ns], [ns % 7 + 1 for ns in durations_ns]

    def figures(places: list[int]) -> tuple[float, ...]:
        solo, both, n = ([values[i] for i in places] for values in (solo_ns, durations_ns, tokens))
        return (
            formulas.efficiency_pct(both),
            formulas.scaling_efficiency_pct(solo, both),
            formulas.scaling_by_tokens_pct(solo, n, both, n),
            formulas.system_tok_s(n, both),
        )

    assert figures(order) == figures(sorted(order))


@given(DURATIONS, st.integers(2, 1000))
def test_a_machine_that_is_slower_alike_has_the_same_ratios(durations_ns: list[int], times: int) -> None:
    """Stretching all durations alike leaves ratios as they are and divides rates."""
    slower, solo_ns = [ns * times for ns in durations_ns], list(reversed(durations_ns))
    tokens = [5] * len(durations_ns)
    assert formulas.efficiency_pct(slower) == pytest.approx(formulas.efficiency_pct(durations_ns))
    assert formulas.scaling_efficiency_pct([ns * times for ns in solo_ns], slower) == pytest.approx(
        formulas.scaling_efficiency_pct(solo_ns, durations_ns)
    )
    assert formulas.system_tok_s(tokens, slower) == pytest.approx(formulas.system_tok_s(tokens, durations_ns) / times)


@given(TIMINGS, st.integers(1, 10**9), st.integers(1, 10**9))
def test_client_and_server_clocks_never_meet(timing, shift_ns: int, server_ns: int) -> None:
    """Client figures ignore the server's durations and the clock's origin; server figures ignore the client's times."""
    moved = replace(
        timing,
        sent_ns=timing.sent_ns + shift_ns,
        done_ns=timing.done_ns + shift_ns,
        arrivals_ns=tuple(at + shift_ns for at in timing.arrivals_ns),
    )
    stretched = replace(
        timing, done_ns=timing.done_ns + shift_ns, arrivals_ns=(timing.sent_ns, timing.done_ns + shift_ns)
    )
    other_server = replace(
        timing,
        total_duration_ns=timing.total_duration_ns + server_ns,
        load_duration_ns=server_ns,
        prompt_eval_duration_ns=server_ns,
        eval_duration_ns=server_ns,
    )
    for figure in CLIENT:
        assert figure(moved) == figure(timing) == figure(other_server)
    for figure in SERVER:
        assert figure(moved) == figure(timing) == figure(stretched)


def test_slowdown_is_per_token_where_the_work_differs() -> None:
    """C / S for the same work; otherwise time per token, which cancels the longer answer."""
    assert formulas.slowdown(10, 5, 30, 5) == 3
    assert formulas.slowdown(10, 5, 30, 15) == 1
    assert formulas.slowdown(10, 0, 30, 0) == 3
    with pytest.raises(MeasurementError, match="5 tokens alone, 0 together"):
        formulas.slowdown(10, 5, 30, 0)


def test_scaling_by_tokens_by_hand() -> None:
    """Alone 10 tokens in 1 s each; together 20 and 10 tokens in 2 s: 15 of 20 tok/s."""
    s = 1000 * MS
    assert formulas.scaling_by_tokens_pct((s, s), (10, 10), (2 * s, 2 * s), (20, 10)) == 75


@pytest.mark.parametrize("tokens", [(0, 0), (0, 9)])
def test_no_rate_from_tokens_that_nobody_counted(tokens: tuple[int, int]) -> None:
    """One agent without a count makes the sum of all too small: undefined, not 0 and not less."""
    s = 1000 * MS
    for figure in (
        lambda: formulas.system_tok_s(tokens, (s, s)),
        lambda: formulas.scaling_by_tokens_pct((s, s), tokens, (s, s), (1, 1)),
        lambda: formulas.scaling_by_tokens_pct((s, s), (1, 1), (s, s), tokens),
    ):
        with pytest.raises(MeasurementError, match="without a token count"):
            figure()


@pytest.mark.parametrize("durations_ns", [(), (0,), (5, -1)])
def test_nothing_divides_by_zero(durations_ns: tuple[int, ...]) -> None:
    """No agent, or a duration that is not positive, is an error with a clear text."""
    for figure in (
        formulas.speedup,
        formulas.efficiency_pct,
        lambda ns: formulas.scaling_speedup((1,), ns),
        lambda ns: formulas.scaling_speedup(ns, (1,)),
        lambda ns: formulas.scaling_efficiency_pct((1,), ns),
        lambda ns: formulas.system_tok_s((1,), ns),
    ):
        with pytest.raises(MeasurementError, match=r"no agent|wanted more than 0"):
            figure(durations_ns)


def test_a_ratio_needs_a_base() -> None:
    """A TTFT of 0 alone gives no ratio."""
    with pytest.raises(MeasurementError, match="ttft_ratio is undefined"):
        formulas.ratio(1.0, 0.0, "ttft_ratio")


def test_derived_figures_of_the_report() -> None:
    """The worked examples of A.7 and A.8."""
    assert round(formulas.cost_per_1m_usd(tok_s=114.54, usd_per_hour=0.5), 2) == 1.21
    assert round(formulas.cost_per_1m_usd(tok_s=99.34, usd_per_hour=0.5), 2) == 1.40
    assert round(formulas.memory_efficiency(tok_s=102.85, vram_gib=3.3), 1) == 31.2


@pytest.mark.parametrize(
    "figure",
    [
        lambda bad: formulas.cost_per_1m_usd(tok_s=bad, usd_per_hour=1),
        lambda bad: formulas.memory_efficiency(tok_s=1, vram_gib=bad),
    ],
)
@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf])
def test_derived_figures_refuse_inputs_without_meaning(figure, bad: float) -> None:
    """Zero, negative, NaN and infinite divisors are errors that name figure and input."""
    with pytest.raises(MeasurementError, match=r"is undefined: \w+ is"):
        figure(bad)
