"""Several models, each with two agents on two instances (TR116). Add your models to the matrix."""

import pytest

pytestmark = pytest.mark.models


def test_whether_it_holds_for_other_models(run_matrix):
    """Ranking, imbalance between agents and size of each model that the server has."""
    results = run_matrix("matrices/models.toml")
    for model, balance in results.ranking("model", "parallel_efficiency_pct"):
        assert balance > 70, f"{model} serves its agents one after the other"
