import threading
from itertools import pairwise

import pytest

from pytest_llmperf.model import Script
from pytest_llmperf.servers.emulator.engine import EngineError, Job, LoadOptions, Message, Sampling, most_tokens
from pytest_llmperf.servers.emulator.faults.fault_plan import Fault, FaultPlan
from pytest_llmperf.servers.emulator.scripted_engine import MODEL_NAME, NATURAL_END, ScriptedEngine

MS = 1_000_000
STEADY = Script(ttft_ms=40, prefill_tok_s=1000, decode_tok_s=100, jitter_pct=0, load_ms=50)


class Time:
    """A clock that only moves when somebody waits, and oversleeps each time by a stated amount."""

    def __init__(self, oversleep_ns: int = 0) -> None:
        self.now_ns = 1000 * MS
        self.oversleep_ns = oversleep_ns

    def clock(self) -> int:
        return self.now_ns

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.now_ns += round(seconds * 1e9) + self.oversleep_ns
        return event.is_set()


def engine_at(time, script=STEADY, **more):
    engine = ScriptedEngine(script, clock=time.clock, wait=time.wait, **more)
    engine.load(LoadOptions(num_ctx=1024))
    return engine


def generate(engine, time, prompt="one two three four five", cancelled=None, **sampling):
    emitted = []
    job = Job(prompt=prompt, sampling=Sampling(**{"num_predict": 10, **sampling}))
    start_ns = time.now_ns
    done = engine.generate(
        job, lambda text: emitted.append((time.now_ns - start_ns, text)), cancelled or threading.Event()
    )
    return emitted, done


def test_loading_takes_the_stated_time():
    """`load_ms` passes before the model is there."""
    time = Time()
    engine_at(time)
    assert time.now_ns == 1050 * MS


def test_tokens_come_at_the_stated_times():
    """First after TTFT and prefill, then one an interval; durations give the stated rates exactly."""
    time = Time()
    emitted, done = generate(engine_at(time), time)
    assert [at_ns for at_ns, _ in emitted] == [45 * MS + n * 10 * MS for n in range(10)]
    assert done.prompt_eval_count == 5
    assert done.prompt_eval_duration_ns == 45 * MS
    assert done.eval_count == 10
    assert done.eval_count / (done.eval_duration_ns / 1e9) == 100.0
    assert done.done_reason == "length"


def test_oversleeping_does_not_add_up():
    """Each token is late by one oversleep at most, however many came before it; the rate does not drift."""
    time = Time(oversleep_ns=3 * MS)
    emitted, _ = generate(engine_at(time), time, num_predict=100)
    late_ns = [at_ns - (45 + n * 10) * MS for n, (at_ns, _) in enumerate(emitted)]
    assert set(late_ns) == {3 * MS}


def test_durations_are_measured_not_stated():
    """What a slow machine adds is in the reported durations."""
    time = Time(oversleep_ns=3 * MS)
    _, done = generate(engine_at(time), time)
    assert done.prompt_eval_duration_ns == 48 * MS


def test_jitter_is_seeded_and_of_the_stated_size():
    """The same seed gives the same times, another one others, and the spread is what the script says."""

    def gaps(seed):
        time = Time()
        script = Script(ttft_ms=40, decode_tok_s=100, jitter_pct=5, seed=seed)
        emitted, _ = generate(engine_at(time, script), time, num_predict=200)
        at = [at_ns for at_ns, _ in emitted]
        return [b - a for a, b in pairwise(at)]

    assert gaps(1) == gaps(1) != gaps(2)
    mean = sum(gaps(1)) / len(gaps(1))
    sd = (sum((gap - mean) ** 2 for gap in gaps(1)) / len(gaps(1))) ** 0.5
    assert 4.0 < sd / mean * 100 < 6.0


def test_text_depends_on_prompt_and_seed_only():
    """The same question has the same answer in every instance."""
    time = Time()

    def text(prompt, seed):
        return "".join(piece for _, piece in generate(engine_at(time), time, prompt, seed=seed)[0])

    assert text("a", 1) == text("a", 1)
    assert len({text("a", 1), text("a", 2), text("b", 1)}) == 3


def test_an_unlimited_answer_ends_by_itself():
    """With room enough, the end is natural and says so."""
    time = Time()
    _, done = generate(engine_at(time), time, num_predict=most_tokens(1024))
    assert (done.eval_count, done.done_reason) == (NATURAL_END, "stop")


@pytest.mark.parametrize(("asked", "answered"), [(NATURAL_END - 1, 255), (NATURAL_END, 256), (900, 900), (5000, 1019)])
def test_a_stated_length_is_kept_however_long(asked, answered):
    """An answer ends where the request says, or where the context of 1024 tokens does, beyond the natural end too."""
    time = Time()
    emitted, done = generate(engine_at(time), time, num_predict=asked)
    assert (len(emitted), done.eval_count, done.done_reason) == (answered, answered, "length")


def test_the_context_window_limits_prompt_and_answer():
    """A prompt that fills it is refused; an answer that reaches its end is cut."""
    time = Time()
    engine = engine_at(time)
    with pytest.raises(EngineError, match="exceeds the available context size") as caught:
        generate(engine, time, "word " * 1024)
    assert caught.value.status == 400
    _, done = generate(engine, time, "word " * 1020)
    assert (done.eval_count, done.done_reason) == (4, "length")


@pytest.mark.parametrize("length", [1, 3])
def test_a_stop_text_ends_the_answer_and_is_not_in_it(length):
    """Also if it spans several tokens."""
    time = Time()
    whole = "".join(piece for _, piece in generate(engine_at(time), time, num_predict=12)[0])
    words = whole.split(" ")
    stop = " ".join(words[4 : 4 + length])
    emitted, done = generate(engine_at(time), time, num_predict=12, stop=(stop,))
    assert "".join(piece for _, piece in emitted) == whole[: whole.index(stop)]
    assert done.done_reason == "stop"
    assert done.eval_count < 12


def test_a_stop_text_that_never_comes_costs_no_text():
    """What was held back as its possible beginning is given in the end."""
    time = Time()
    whole = "".join(piece for _, piece in generate(engine_at(time), time)[0])
    emitted, done = generate(engine_at(time), time, stop=(whole[-3:] + "never",))
    assert "".join(piece for _, piece in emitted) == whole
    assert done.done_reason == "length"


def test_cancelling_ends_at_once():
    """A cancelled job emits nothing more and waits for nothing."""
    time = Time()
    cancelled = threading.Event()
    cancelled.set()
    emitted, done = generate(engine_at(time), time, cancelled=cancelled)
    assert emitted == []
    assert done.eval_count == 0


def test_a_waiting_job_is_woken_by_its_cancellation():
    """With the real wait: a job of an hour ends when it is cancelled."""
    engine = ScriptedEngine(Script(ttft_ms=3_600_000, load_ms=0))
    engine.load(LoadOptions())
    cancelled, done = threading.Event(), []
    job = Job(prompt="x", sampling=Sampling(num_predict=5))
    thread = threading.Thread(target=lambda: done.append(engine.generate(job, print, cancelled)), daemon=True)
    thread.start()
    cancelled.set()
    thread.join(20)
    assert done[0].eval_count == 0


def test_messages_are_prompts_too():
    """A chat counts all its turns."""
    time = Time()
    engine = engine_at(time)
    job = Job(messages=(Message(role="user", content="one two"),), sampling=Sampling(num_predict=1))
    assert engine.generate(job, lambda _: None, threading.Event()).prompt_eval_count == 4  # role, colon, two words


def test_it_never_looks_real():
    """Name, version and quantization say what it is."""
    engine = ScriptedEngine(STEADY)
    assert engine.card.name == MODEL_NAME == "simulated:scripted"
    assert engine.version.endswith("-simulated")
    assert engine.card.quantization == "none"


def test_slots_that_a_fault_takes_away_are_not_told():
    """Like a real server that gives a model fewer slots, it reports the requested number."""
    plan = FaultPlan(faults=(Fault(kind="few_slots", slots=1),))
    engine = ScriptedEngine(STEADY, slots=3, plan=plan)
    assert engine.slots == 1
    assert engine.card.info["llmperf.slots"] == 3
    assert ScriptedEngine(STEADY, slots=3).slots == 3
