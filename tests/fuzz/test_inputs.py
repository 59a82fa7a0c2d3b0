"""A few thousand inputs for the parsers; `make fuzz` sends a million."""

from tests.fuzz import fuzz_inputs


def test_inputs_end_in_a_value_or_an_error_of_ours() -> None:
    """Each parser has both, and nothing breaks."""
    counts, broken = fuzz_inputs.fuzz(3000, seed=1)
    assert broken == []
    parsers = {*fuzz_inputs.FILES, "option", "marker", "address"}
    assert {f"{name} {outcome}" for name in parsers for outcome in ("read", "refused")} == set(counts)


def test_what_breaks_is_told(monkeypatch, capsys) -> None:
    """A parser that lets another error out is found, with the way to see it again, and the exit code is 1."""
    monkeypatch.setattr(fuzz_inputs, "prepare", lambda *_, **__: 1 / 0)
    monkeypatch.setattr("sys.argv", ["fuzz_inputs", "--inputs", "40", "--seed", "7"])
    assert fuzz_inputs.main() == 1
    assert "--inputs 1 --seed " in capsys.readouterr().out
