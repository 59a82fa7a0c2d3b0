"""Whole and damaged answers of every kind, cut in every way, against a plain second decoder; and the cost of size."""

import time
from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llmperf.measure.decoding.decode import decode
from tests.fuzz import fuzz_decode, streams
from tests.measure.decoding.test_decode import as_exchange, chunked, line

RANDOMS = st.randoms(use_true_random=False)


@settings(max_examples=150, suppress_health_check=[HealthCheck.large_base_example, HealthCheck.data_too_large])
@given(RANDOMS)
def test_valid_answers_are_read_as_they_were_made(rng: Random) -> None:
    """Counts, text, arrivals and merged chunks, however HTTP's chunks and the reads cut the body."""
    made = streams.body(rng)
    raw, places = streams.framed(rng, made.kind, made.data, delimited=made.delimited)
    pieces = streams.pieces_of(rng, raw)
    assert fuzz_decode.check(pieces, streams.truth_of(made, places, pieces))[0] == "answer"


@settings(max_examples=150)
@given(RANDOMS, st.booleans())
def test_damaged_answers_are_read_alike_or_are_one_error(rng: Random, whole_framing: bool) -> None:
    """An answer that the plain decoder gives too, or a MeasurementError with the bytes and the place: nothing else."""
    made = streams.body(rng)
    data = streams.damaged(rng, made.data) if whole_framing else made.data
    raw, _ = streams.framed(rng, made.kind, data, delimited=made.delimited)
    fuzz_decode.check(streams.pieces_of(rng, raw if whole_framing else streams.damaged(rng, raw)))


@given(st.lists(st.binary(max_size=200), max_size=5), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n\r\n", chunked()[0]]))
def test_noise_is_one_error(noise: list[bytes], head: bytes) -> None:
    """Bytes that are no answer, also after a head that promises one."""
    fuzz_decode.check([head, *noise])


def test_the_fuzzer_finds_nothing() -> None:
    """The first 300,000 bytes of `make fuzz`, the same ones each time."""
    said: list[str] = []
    assert fuzz_decode.run(300_000, seed=1, say=said.append) == 0, said
    assert "damaged: error" in said[-1]
    assert "whole: answer" in said[-1]


def test_the_fuzzer_finds_faults() -> None:
    """A decoder that miscounts, crashes or gives other errors is found out, with the way to see it again."""

    def miscounts(exchange):
        timing = decode(exchange)
        return replace(timing, eval_count=timing.eval_count + 1)

    def crashes(exchange):
        raise KeyError("choices")

    for decoder, word in ((miscounts, "found Answer"), (crashes, "KeyError")):
        said: list[str] = []
        assert fuzz_decode.run(20_000, seed=1, decoder=decoder, say=said.append) > 0
        assert word in said[0]
        assert "--seed 1 --only" in said[0]


def test_the_fuzzer_finds_what_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that takes far longer for its size than the others is a fault."""
    monkeypatch.setattr(fuzz_decode, "SLOW_S", 0.02)
    slow = b"".join(fuzz_decode.stream_of(1, 19)[1])

    def stalls(exchange):
        begun_s = time.process_time()
        while b"".join(piece.data for piece in exchange.pieces) == slow and time.process_time() < begun_s + 0.2:
            pass
        return decode(exchange)

    said: list[str] = []
    assert fuzz_decode.run(60_000, seed=1, decoder=stalls, say=said.append) == 1
    assert "SLOW: stream 19 " in said[0]


def _cpu_s(pieces: list[bytes]) -> float:
    """CPU time to decode, s; the best of three."""
    exchange, best_s = as_exchange(pieces), float("inf")
    for _ in range(3):
        begun_s = time.process_time()
        decode(exchange)
        best_s = min(best_s, time.process_time() - begun_s)
    return best_s


def _cut(raw: bytes, size: int) -> list[bytes]:
    return [raw[at : at + size] for at in range(0, len(raw), size)]


@pytest.mark.parametrize(
    "shape", ["one line in many pieces", "many lines in one piece", "bytes", "one line, many chunks"]
)
def test_the_cost_grows_with_the_size_and_no_faster(shape: str) -> None:
    """Eight times the bytes, lines or pieces take about eight times as long, not 64 times."""

    def answer(times: int) -> list[bytes]:
        if shape == "one line in many pieces":
            return _cut(b"".join(chunked(line(response="x" * 250_000 * times, done=True))), 1400)
        if shape == "many lines in one piece":
            return [b"".join(chunked(*[line(response="x", done=False)] * 250 * times, line(done=True)))]
        if shape == "bytes":
            return _cut(b"".join(chunked(*[line(response="x", done=False)] * 20 * times, line(done=True))), 1)
        return chunked(*_cut(line(response="x" * 5_000 * times, done=True), 10))

    assert _cpu_s(answer(8)) < 24 * _cpu_s(answer(1))
