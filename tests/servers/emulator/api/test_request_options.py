import logging
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.servers.emulator.api.request_options import RequestError, parse_keep_alive, parse_options
from pytest_llmperf.servers.emulator.engine import LoadOptions, Sampling


def test_sorts_load_options_from_sampling():
    """Options of the loaded model are separated from options of one generation."""
    load, sampling = parse_options({"num_ctx": 512, "num_thread": 2, "seed": 7, "stop": ["a", "b"], "temperature": 0})
    assert load == LoadOptions(num_ctx=512, num_thread=2)
    assert sampling == Sampling(seed=7, stop=("a", "b"), temperature=0.0)


def test_numbers_are_cut_to_integers_as_ollama_does():
    """A fraction where an integer is wanted is cut off, not refused."""
    assert parse_options({"num_predict": 12.9})[1].num_predict == 12


def test_null_leaves_the_default():
    """A null option is as good as none."""
    assert parse_options({"num_ctx": None, "stop": None}) == (LoadOptions(), Sampling())


def test_unknown_options_are_logged_only(caplog):
    """An option that nobody knows is a warning, as in Ollama."""
    with caplog.at_level(logging.WARNING):
        assert parse_options({"ignore_eos": True}) == (LoadOptions(), Sampling())
    assert "ignore_eos" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("num_ctx", "512", "integer"),
        ("seed", True, "integer"),
        ("num_predict", float("inf"), "integer"),
        ("temperature", "hot", "float32"),
        ("top_p", False, "float32"),
        ("use_mmap", 1, "boolean"),
        ("stop", "word", "array"),
        ("stop", [1], "array of strings"),
    ],
)
def test_wrong_types_are_refused_by_name(name, value, kind):
    """A wrong type names the option and the type it wants, with the status that Ollama gives it."""
    with pytest.raises(RequestError, match=rf'option "{name}" must be of .*{kind}') as caught:
        parse_options({name: value})
    assert caught.value.status == 500


@pytest.mark.parametrize("name", ["num_batch", "num_thread"])
def test_negative_sizes_are_refused(name):
    """A negative thread or batch count cannot be meant."""
    with pytest.raises(RequestError, match=name):
        parse_options({name: -3})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (0, 0.0),
        (90, 90.0),
        (1.5, 1.5),
        (-1, math.inf),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("10us", 1e-5),
        ("-1s", math.inf),
        ("-1m", math.inf),
        ("0", 0.0),
        ("0s", 0.0),
        ("+2s", 2.0),
    ],
)
def test_keep_alive_is_seconds_or_a_go_duration(value, seconds):
    """Numbers are seconds, texts Go durations, negatives forever."""
    assert parse_keep_alive(value) == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("-1", 'missing unit in duration "-1"'),
        ("10", 'missing unit in duration "10"'),
        ("5m3", "missing unit"),
        ("", "invalid duration"),
        ("-", "invalid duration"),
        ("ten", "invalid duration"),
        ("5 m", "duration"),
        (True, "invalid type bool"),
        ([1], "invalid type list"),
    ],
)
def test_other_keep_alives_are_errors(value, words):
    """A bare number as text is the error that it is in Ollama."""
    with pytest.raises(RequestError, match=words):
        parse_keep_alive(value)


@given(st.integers(0, 10_000), st.integers(0, 59), st.integers(0, 59))
def test_durations_add_up(hours, minutes, seconds):
    """The parts of a duration are summed, whatever they are."""
    expected = hours * 3600 + minutes * 60 + seconds
    assert parse_keep_alive(f"{hours}h{minutes}m{seconds}s") == pytest.approx(expected)
