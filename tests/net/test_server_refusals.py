"""What servers refuse, as texts of any size."""

from pytest_llmperf.net.server_refusals import advice


def test_a_known_error_is_found_at_either_end_of_a_long_text() -> None:
    """A text of 350 KB that nearly matches all along takes no longer than a short one: else this would take minutes."""
    filler = "model " * 60_000
    known = advice("model 'x' not found", 404)
    assert known != advice("something else", 404)
    assert advice(f"{filler}model 'x' not found", 404) == known
    assert advice(f"model 'x' not found {filler}", 404) == known
