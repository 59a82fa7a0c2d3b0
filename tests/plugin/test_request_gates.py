"""Percentiles and goodput in a pytest run: terminal, JSON, JUnit, Markdown, HTML, xdist."""

import json
from xml.etree import ElementTree

import pytest

TEST = """
    import pytest
    from pair import PAIR

    @pytest.mark.multiagent
    @pytest.mark.ttft(max_ms=0.001, percentile=95)
    @pytest.mark.itl(max_ms=60000, percentile=50)
    @pytest.mark.e2e(max_s=60, percentile=95)
    @pytest.mark.goodput(min_share=0.9, ttft_ms=0.001, e2e_s=60)
    def test_pair(dual_ollama, run_agents):
        run_agents(PAIR, on=dual_ollama)
"""
FILES = ("--llmperf-json=out.json", "--junitxml=junit.xml", "--llmperf-markdown=out.md", "--llmperf-html=out.html")


@pytest.mark.parametrize("workers", [(), pytest.param(("-n1",), marks=pytest.mark.slow)], ids=["alone", "xdist"])
def test_every_output_has_them(simulated, pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    """A P50 passes, a P95 of a few rounds has no value, a P95 and a goodput that no request keeps fail."""
    pytester.makepyfile(TEST)
    result = simulated(*FILES, *workers, "--llmperf-max-rounds=5", own_process=bool(workers))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines_random(
        [
            "gate goodput: 0 % (95 % CI 0 to *) is below the minimum 90 % (marker goodput(min_share=0.9, "
            "ttft_ms=0.001, e2e_s=60))",
            "gate ttft (ttft_p95_ms) fails: no value against the maximum 0.001 ms (marker ttft(max_ms=0.001, "
            "percentile=95)): 10 of 10 requests above 0.001 ms*; at least * % are bad, 5 % may be (*)",
            "gate e2e (e2e_p95_s) is inconclusive: no value against the maximum 60.000 s (marker e2e(max_s=60, "
            "percentile=95)): 0 of 10 requests above 60 s; 0 to * % are bad, 5 % may be (*); about * rounds *",
        ]
    )
    (record,) = json.loads((pytester.path / "out.json").read_text())["records"]
    verdicts = {verdict["gate"]["metric"]: verdict for verdict in record["verdicts"]}
    assert {name: verdict["outcome"] for name, verdict in verdicts.items()} == {
        "itl_p50_ms": "pass",
        "ttft_p95_ms": "fail",
        "e2e_p95_s": "inconclusive",
        "goodput_share": "fail",
    }
    assert verdicts["e2e_p95_s"]["value"] is None
    assert verdicts["goodput_share"]["reason"].startswith("0 of 10 requests keep ttft_ms 0.001 and e2e_s 60, 0.0 of ")
    limits = verdicts["goodput_share"]["gate"]["request_limits"]
    assert limits == [{"metric": "ttft_ms", "most": 0.001}, {"metric": "e2e_s", "most": 60}]
    junit = ElementTree.parse(pytester.path / "junit.xml").getroot()
    properties = {row.get("name"): row.get("value") for row in junit.iter("property")}
    for name in ("goodput.goodput_share", "ttft.ttft_p95_ms", "e2e.e2e_p95_s"):
        assert any(name in str(key) for key in properties), properties
    for page in ("out.md", "out.html"):
        text = (pytester.path / page).read_text(encoding="utf-8")
        assert "e2e_p95_s" in text
        assert "no value" in text


def test_the_markers_are_listed(simulated, pytester: pytest.Pytester) -> None:
    """`--markers` has their keywords."""
    result = simulated("--markers")
    result.stdout.fnmatch_lines(
        [
            "@pytest.mark.ttft(max_ms=None, max_ratio=None, percentile=None, robust=False): fails if *",
            "@pytest.mark.itl(max_ms=None, percentile=None, robust=False): fails if *",
            "@pytest.mark.goodput(min_share=None, ttft_ms=None, tpot_ms=None, e2e_s=None, robust=False): fails if *",
        ]
    )


def test_a_projects_own_e2e_marker_is_no_gate(pytester: pytest.Pytester) -> None:
    """Bare, on a test that does not use the plugin; with a limit it is a gate, and the test must measure."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.e2e
        def test_shop(): pass

        class TestShop:
            pytestmark = pytest.mark.e2e
            def test_basket(self): pass
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*llmperf: *")
    pytester.makepyfile("import pytest\n@pytest.mark.e2e(max_s=1)\ndef test_it(): pass\n")
    result = pytester.runpytest_inprocess("--llmperf-backend=simulated")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["gate e2e: the test recorded no run, so there is nothing to judge"])
