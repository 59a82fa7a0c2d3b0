"""Settings: what the script of the simulated server refuses."""

import math

import pytest

from pytest_llmperf.model import Script

FAULTS = {
    "no number": ({"jitter_pct": math.nan}, "jitter_pct = nan, wanted 0 to 100"),
    "endless": ({"load_ms": math.inf}, r"load_ms = inf, wanted 0 to 8.64e\+07"),
    "backwards": ({"decode_tok_s": -5}, "decode_tok_s = -5, wanted 0.001"),
    "never": ({"prefill_tok_s": 0}, "prefill_tok_s = 0, wanted 0.001"),
    "several": ({"ttft_ms": -1, "decode_tok_s": 0}, "ttft_ms = -1, .*; decode_tok_s = 0, "),
}


@pytest.mark.parametrize(("figures", "words"), FAULTS.values(), ids=FAULTS)
def test_a_script_that_cannot_be_played(figures: dict, words: str) -> None:
    """Every figure out of range is named with what is valid."""
    with pytest.raises(ValueError, match=words):
        Script(**figures)


def test_the_ends_of_the_ranges_can_be_played() -> None:
    """No delays, no jitter, or an hour to the first token."""
    Script(ttft_ms=0, load_ms=0, jitter_pct=0, decode_tok_s=1e9)
    Script(ttft_ms=3_600_000, jitter_pct=100, prefill_tok_s=1e-3)
