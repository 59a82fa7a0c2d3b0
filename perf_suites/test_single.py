"""Single inference (TR108): models, contexts, temperatures, threads, GPU layers. Edit the matrix, not this."""

import pytest

pytestmark = pytest.mark.single


def test_which_model_and_options_decode_fastest(run_matrix):
    """The summary lists the ranking, how much each axis matters, and each finding of TR108."""
    results = run_matrix("matrices/single.toml")
    assert results.effects("throughput_tok_s")
    assert not [finding for finding in results.findings if not finding.why]
