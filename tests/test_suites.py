"""The suites that users copy, run as they are on the scripted engine; and the card's own limits, met and missed."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from pytest_llmperf.model import TopologyKind
from pytest_llmperf.session.server_lease import ServerLease

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
QUICK = ("--llmperf-script=decode_tok_s=400,ttft_ms=10,load_ms=1,jitter_pct=0.2", "--llmperf-baseline=embedded")
QUICKER = QUICK[0].replace("=400", "=800")
FEW = ("--llmperf-calibrate=off", "--llmperf-rounds=3")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """`suite(*options)`: runs the suites, as a user has who copied them."""
    monkeypatch.setenv("COLUMNS", "1000")  # no line is broken
    shutil.copytree(ROOT / "perf_suites", pytester.path / "perf_suites", ignore=shutil.ignore_patterns("__pycache__"))
    pytester.makeini("[pytest]\naddopts = --strict-markers -p no:cacheprovider\n")

    def run(*options: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("perf_suites", "--llmperf-backend=simulated", *options)

    return run


def outcomes(result: pytest.RunResult) -> dict[str, int]:
    """What became of the tests of the suite that was selected."""
    return {kind: count for kind, count in result.parseoutcomes().items() if kind not in ("deselected", "warnings")}


PRICES = """
[prices]
usd_per_hour = 0.5
requests_per_month = 1000000
migration_usd = 100
max_usd_per_1m_tokens = {limit}
"""


@pytest.mark.parametrize(("limit", "counts"), [("", {"passed": 1, "skipped": 1}), ("0.1", {"passed": 1, "failed": 1})])
def test_what_it_costs(suite, pytester: pytest.Pytester, limit: str, counts: dict[str, int]) -> None:
    """Lines of both deployments and what is saved; a stated limit is a gate; without prices there is none."""
    if limit:
        (pytester.path / "llmperf.toml").write_text(PRICES.format(limit=limit), encoding="utf-8")
    result = suite("-m", "economics", *FEW, *QUICK)
    assert outcomes(result) == counts
    even = "the migration (100 USD) breaks even after *.? months"
    paid = f"; +*.?? USD saved per month, {even}; * USD saved in 5 years" if limit else ""
    result.stdout.fnmatch_lines(
        [
            "economics: prices: 0.5 USD per hour*" if limit else "economics: no prices given*",
            "  SIMULATED: *",
            "  deployment * system tok/s *",
            "  economics on single * 1 *" if limit else "  economics on single * - *-",
            "  economics on dual *",
            f"  economics on dual: +*.? % requests per hour over economics on single{paid}",
        ]
    )
    if limit:
        result.stdout.fnmatch_lines(
            ["gate cost (system_tok_s): * tok/s * is below the minimum 1388.9 tok/s (0.1 USD for a million *"]
        )


@pytest.mark.alone
def test_the_checklist_before_production(suite, pytester: pytest.Pytester) -> None:
    """Ten items; those that need a GPU are skipped, with the reason; a validation record is filled, as simulated."""
    result = suite("-m", "predeploy", "-rs", "--llmperf-calibrate=off", QUICKER)
    assert outcomes(result) == {"passed": 8, "skipped": 2}
    result.stdout.fnmatch_lines(["SKIPPED * no GPU here: num_gpu *", "SKIPPED * no GPU here: VRAM *"])
    result.stdout.fnmatch_lines_random(["wrote llmperf-results/validation-record.md"])
    text = (pytester.path / "llmperf-results" / "validation-record.md").read_text(encoding="utf-8")
    assert re.search(r"^\| Runs completed \| ([5-9]|\d\d) \(simulated\) \|$", text, re.MULTILINE)
    for words in (
        "**SIMULATED",
        "## predeploy on dual, simulated",
        "| Configuration | num\\_gpu 80, num\\_ctx 2048, temperature 1.0 |",
        " (CV below 5 %, efficiency above 95 %) |",
        "| The session's gates | contention pass, efficiency pass |",
        "Model digest: ",
    ):
        assert words in text


def test_the_checklist_can_fail(suite) -> None:
    """On one instance: there is one address, agents contend, efficiency falls, alerts would sound; and so on."""
    result = suite("-m", "predeploy", "--llmperf-topology=single", *FEW, QUICKER)
    assert result.parseoutcomes()["failed"] >= 5
    result.stdout.fnmatch_lines_random(["FAILED *::test_0[1-9]*"])


@pytest.mark.long
@pytest.mark.parametrize(("altered", "verdict"), [("", "reproduced"), ("--llmperf-script=load_ms=0", "not reproduced")])
def test_the_reports_claims(suite, pytester: pytest.Pytester, altered: str, verdict: str) -> None:
    """As the report has it, all that can be tested is reproduced; where a load takes no time, C6 is not."""
    result = suite("-m", "claims", "--llmperf-calibrate=off", *filter(None, [altered]))
    assert outcomes(result) == {"passed": 1}
    result.stdout.fnmatch_lines(
        [
            "claims: * not reproduced, 1 not testable here",
            "  C1 not testable here, *",
            "  C2 reproduced, *",
            "  C3 reproduced in part (1 of 2 parts *",
            "    not testable here: tokio*",
            "  C4 reproduced in part (1 of 3 parts *",
            "  C5 reproduced, *",
            f"  C6 {verdict}, *",
        ]
    )
    text = (pytester.path / "llmperf-results" / "decision-record.md").read_text(encoding="utf-8")
    assert text.startswith("# Decision record")
    assert "| C2: an instance an agent is mandatory | reproduced |" in text


def test_the_ordering_of_topologies(suite) -> None:
    """The table has all topologies (in turn, with slots, on two instances), and the suite's own assertions pass."""
    result = suite("-m", "topology", *QUICK)
    assert outcomes(result) == {"passed": 1}
    result.stdout.re_match_lines_random(
        [
            r"chimera_homo on single  *7\d\.\d  *[45]\d\.\d  *5 of 5 .* no gate",
            r"chimera_homo on single_parallel  *(9\d|10\d)\.\d  *(9\d|10\d)\.\d .* no gate",
            r"chimera_homo on dual  *(9\d|10\d)\.\d  *(9\d|10\d)\.\d .* no gate",
        ]
    )


@pytest.mark.parametrize("forced", ["single", "dual"])
def test_the_ordering_is_really_asserted(suite, forced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times the same deployment, whichever, is no ordering: the suite fails by its own assertions."""
    opens = ServerLease.open
    monkeypatch.setattr(ServerLease, "open", lambda lease, _, agents: opens(lease, TopologyKind(forced), agents))
    result = suite("-m", "topology", "--llmperf-rounds=1", *QUICK)
    assert outcomes(result) == {"failed": 1}
    result.stdout.fnmatch_lines(["E *assert *"])


@pytest.mark.usefixtures("judged_client")
def test_how_throughput_grows(suite, pytester: pytest.Pytester) -> None:
    """A table for each topology, files, and no law of two numbers of agents."""
    result = suite("-m", "scale", "--llmperf-max-agents=2", "--llmperf-calibrate=off", QUICKER)
    assert outcomes(result) == {"passed": 1}
    result.stdout.fnmatch_lines(
        [
            "  not measured: agents 3: --llmperf-max-agents is 2",
            "scaling of single:",
            "  no scaling law: *2 numbers of agents, a law needs 4",
            "scaling of fleet:",
            "  wrote llmperf-results/scale.scaling.csv, llmperf-results/scale.scaling.svg, *",
        ]
    )
    assert pytester.path.joinpath("llmperf-results", "scale.scaling.html").exists()


EXPERIMENTS = {
    "single": ("decode_tok_s=50", {"ranking", "q4_over_q8", "gemma_over_llama", "gemma_rate", "small_gemma_rate"}),
    "workflow": ("load_ms=0,decode_tok_s=50", {"transfer", "transfer_size", "reload", "rate", "ttft"}),
    "sweep": ("imbalance_pct=60", {"homo", "context", "hetero", "baseline", "speedup", "too_many_layers"}),
    "topology": ("imbalance_pct=60", {"dual_gain", "dual_mean"}),
    "runtime": ("imbalance_pct=60", {"default_mean"}),
    "models": ("imbalance_pct=60", {"gemma", "llama", "qwen"}),
}
"""Each suite, how its played figures are altered, and claims that must then fail."""


def statuses(folder: Path) -> dict[str, set[str]]:
    """What became of each claim of the suite's matrices, by its id."""
    statuses_of: dict[str, set[str]] = {}
    for path in folder.glob("llmperf-results/*.findings.csv"):
        for line in csv.DictReader(path.read_text("utf-8").splitlines()):
            statuses_of.setdefault(line["id"], set()).add(line["status"])
    return statuses_of


@pytest.mark.long
@pytest.mark.usefixtures("judged_client")
@pytest.mark.parametrize("mark", EXPERIMENTS)
def test_the_reports_own_figures_are_reproduced(suite, pytester: pytest.Pytester, mark: str) -> None:
    """Played by the scripted server as the matrices say, every claim that can be tested comes out so."""
    result = suite("-m", mark)
    assert set(outcomes(result)) == {"passed"}
    by_claim = statuses(pytester.path)
    assert "reproduced" in set().union(*by_claim.values())
    assert not [claim for claim, became in by_claim.items() if "not reproduced" in became]


@pytest.mark.long
@pytest.mark.usefixtures("judged_client")
@pytest.mark.parametrize(("mark", "altered"), EXPERIMENTS.items(), ids=EXPERIMENTS)
def test_other_figures_are_not(suite, pytester: pytest.Pytester, mark: str, altered: tuple[str, set[str]]) -> None:
    """With the figures altered, the claims that rest on them are not reproduced."""
    script, claims = altered
    suite("-m", mark, f"--llmperf-script={script}")
    by_claim = statuses(pytester.path)
    assert {claim for claim, became in by_claim.items() if "not reproduced" in became} >= claims
