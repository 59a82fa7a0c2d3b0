"""Prefixes: distinct, of one length, different from the first word on."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.measure.wire.unique_prefix import prefixes


@given(st.binary(min_size=4, max_size=8))
def test_neighbours_differ_in_the_first_word(salt: bytes) -> None:
    """A server that reuses a common beginning finds nothing to reuse between one request and the next."""
    first_words = [text.split()[0] for text in islice(prefixes(salt), 30)]
    assert len(set(first_words)) == 30


def test_distinct_over_many_requests() -> None:
    """Forty thousand requests of a session share no prefix."""
    assert len(set(islice(prefixes(b"salt"), 40_000))) == 40_000


def test_all_have_eight_words() -> None:
    """Every prefix costs the same number of tokens, since each word is one."""
    assert {len(text.split()) for text in islice(prefixes(), 5_000)} == {8}


def test_sessions_differ() -> None:
    """Two sessions against one long-lived server do not repeat each other's prefixes."""
    assert next(prefixes(b"aaaa")) != next(prefixes(b"bbbb"))
