"""The report for people, looked at in a real browser."""

import json
import re
import time
from dataclasses import replace
from importlib import util
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from pytest_llmperf.errors import MissingExtraError
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Agent, AgentRun, Bound, GpuSample, Manifest, RequestTiming, Round, Scenario, Settings
from pytest_llmperf.report import html
from pytest_llmperf.report.document import Run, as_text, document
from pytest_llmperf.report.files.output_formats import check_outputs
from tests.judge.build import MS, gate, graph_measurement, graph_round, observed, sample
from tests.report.browser import ARGUMENTS, BROWSER
from tests.report.conftest import run_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH: the report was not looked at"),
]

HOSTILE = """<img src=x onerror="hacked=1"></script><script>hacked=2</script>{{ 7 * 7 }}'&amp;"""
UNEVEN = ((100, 60), (100, 58), (100, 61), (100, 59.5), (100, 62))
DESK, TABLET, PHONE, SMALLEST = (1100, 900), (800, 900), (375, 800), (320, 640)


def read_back(run: Run) -> dict:
    return json.loads(as_text(document(run)))


def failing() -> dict:
    """The document of uneven agents, compared with stored sessions of even agents."""
    stored = gate(
        marker="regression",
        limit=98.0,
        delta=2.0,
        reference=((98.0, 97.5, 98.5), (98.2, 97.9)),
        source="baseline main, 9 sessions, newest saved at 2026-11-24T12:06:57+00:00",
    )
    return read_back(run_of(together_ms=UNEVEN, gates=(gate(marker="efficiency"), stored, CONTENTION)))


CONTENTION = gate("contention_rate_ttft", 0.01, Bound.MAX, marker="contention")


@pytest.fixture(scope="module")
def browser():
    """One for all tests of this module."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=list(ARGUMENTS))
        yield started
        started.close()


@pytest.fixture
def show(browser, tmp_path: Path):
    """`show(document)`: the page; the test fails where anything was requested, logged or raised."""
    said, pages = [], []

    def opened(content: dict, size: tuple[int, int] = DESK, **options):
        path = tmp_path / f"report{len(pages)}.html"
        path.write_text(html.page(content), encoding="utf-8")
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, **options)
        pages.append(page)
        page.on("console", lambda message: said.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("request", lambda request: request.url == path.as_uri() or said.append(f"request: {request.url}"))
        page.goto(path.as_uri())
        return page

    yield opened
    for page in pages:
        page.close()
    assert said == []


def values(page, selector: str) -> list[float]:
    """The numbers that the page holds there."""
    return [float(data.get_attribute("value")) for data in page.query_selector_all(f"{selector} data")]


def chart_of(page, title: str):
    """The figure of a chart whose heading begins so."""
    return page.locator("figure", has=page.get_by_role("heading", name=re.compile(f"^{re.escape(title)}")))


def opened(page, title: str):
    """The same, with its table to be seen."""
    chart = chart_of(page, title)
    chart.locator("summary").click()
    return chart


def test_the_verdicts_come_first(show) -> None:
    """The headline says what a session came to; the first table every gate, its value, interval and limit."""
    content = failing()
    page = show(content)
    assert page.inner_text("h1") == "1 of 1 test failed (SIMULATED)"
    assert "SIMULATED" in page.inner_text(".simulated")
    rows = page.query_selector_all("#verdicts tbody tr")
    (record,) = content["records"]
    by_gate = {(verdict["gate"]["marker"], verdict["gate"]["metric"]): verdict for verdict in record["verdicts"]}
    assert len(rows) == len(by_gate) == 3
    for row in rows:
        cells = row.query_selector_all("td")
        verdict = by_gate[tuple(cells[1].inner_text().split())]
        assert cells[0].inner_text().split()[1] == verdict["outcome"]
        shown = [float(data.get_attribute("value")) for data in row.query_selector_all("td data")]
        old = [] if verdict["gate"]["delta"] is None else [verdict["gate"]["limit"]]
        assert shown == [*old, verdict["value"], verdict["low"], verdict["high"]]
    assert "fail" in rows[0].inner_text()
    both = [float(data.get_attribute("value")) for data in rows[0].query_selector_all("th data")]
    assert both == [record["figures"][name] for name in ("efficiency_pct", "scaling_efficiency_pct")]
    page.click("#verdicts a")
    assert page.url.endswith("#m1")
    by_name = {verdict["gate"]: verdict["text"] for verdict in record["judged"] if verdict["outcome"] != "pass"}
    names = [row.query_selector_all("td")[1].inner_text().split()[0] for row in rows]
    texts = [by_name[name] for name in names if name in by_name]  # the worst first
    shown = [block.inner_text() for block in page.query_selector_all("pre")]
    assert [text[: len(pre)] for text, pre in zip(texts, shown, strict=True)] == shown
    assert [pre.count("next:") for pre in shown] == [0, 1]  # the common part is printed once
    assert shown[-1] == texts[-1]
    assert [note for note in record["notes"] if note.capitalize() not in page.inner_text("body").capitalize()] == []


def test_the_first_screen_says_what_failed(show) -> None:
    """The test, its metrics and by how much, the causes, what to do; a click leads to the rest."""
    content = failing()
    (record,) = content["records"]
    page = show(content, (1280, 800))
    summary = page.locator("#summary li")
    text = summary.inner_text()
    assert re.search(r"efficiency \d\d\.\d %, allowed is at least 95.0 %", text)
    assert re.search(r"efficiency_pct -\d+\.\d pp, 98.0 % to \d\d\.\d %", text)
    failing_texts = [verdict["text"] for verdict in record["judged"] if verdict["outcome"] == "fail"]
    causes = re.findall(r"^  cause: (.*)$", "\n".join(failing_texts), re.MULTILINE)
    next_steps = re.findall(r"^  next: (.*)$", "\n".join(failing_texts), re.MULTILINE)
    assert causes
    assert all(cause in text for cause in causes)
    assert any(step in text for step in next_steps)
    box = page.locator("#summary").bounding_box()
    assert box["y"] + box["height"] <= 800  # nobody has to scroll
    summary.locator("a").click()
    assert page.url.endswith("#m1")


def test_a_row_has_old_new_change_and_allowed(show) -> None:
    """The worst verdict first; a limit has no old value; where each comes from."""
    content = failing()
    page = show(content)
    header = page.locator("#verdicts thead th").all_inner_texts()
    assert header == ["test", "verdict", "gate", "old", "new", "95 % CI", "change", "allowed", "by"]
    rows = {
        cells[1].split()[0]: cells[2:]
        for row in page.locator("#verdicts tbody tr").all()
        if (cells := row.locator("td").all_inner_texts())
    }
    old, new, _, change, allowed, source = rows["regression"]
    assert (old, source) == ("98.0 %", "baseline main")
    assert change == f"{float(new.split()[0]) - 98:+.1f} pp"
    assert allowed == "-2 pp"
    assert rows["efficiency"][0] == rows["efficiency"][3] == "-"
    assert rows["efficiency"][4] == "at least 95.0 %"
    assert "baseline main, 9 sessions, newest saved at" in page.inner_text("#verdicts")


def test_many_passes_are_folded(show) -> None:
    """What failed stays in sight."""
    run = run_of(
        together_ms=UNEVEN,
        tests=tuple(f"t.py::test_{number}" for number in range(6)),
        gates=(gate(limit=1.0), CONTENTION),
    )
    page = show(read_back(run))
    assert page.locator("#verdicts > table tbody tr").count() == 0
    page.click("#verdicts > details summary")
    assert page.locator("#verdicts > details tbody tr").count() == 12


def test_a_session_of_hundreds_of_tests_has_a_page_of_bounded_size(show) -> None:
    """Twenty measurements have charts, failed tests first; each other measurement has its figures."""
    run = run_of(together_ms=UNEVEN, tests=tuple(f"t.py::test_{number}" for number in range(60)))
    content = read_back(run)
    for number, record in enumerate(content["records"]):
        record["passed"] = number < 50
    few = {**content, "records": content["records"][:20]}
    size, most = (len(html.page(each)) for each in (content, few))
    assert size < 1.7 * most  # a third of the sections has nearly all of the bytes
    page = show(content)
    assert page.locator("figure.timeline").count() == 20
    for number in (1, 10, 51, 60):
        assert page.locator(f"#m{number} figure.timeline").count() == 1
    assert page.locator("#m11 figure").count() == 0
    assert page.locator("#m11 h3 + table").count() == 1
    assert "40 of 60 measurements have no charts" in page.inner_text("#verdicts")
    page.locator("#m60 select.round").select_option("1")  # each timeline draws its own measurement
    assert page.locator("#m60 .said").inner_text().startswith("Round 2")


AXE = Axe()


@pytest.mark.parametrize("size", [(1280, 900), (390, 800)], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(show, size: tuple[int, int], scheme: str) -> None:
    """The rules of axe, with everything unfolded: no violation."""
    page = show(failing(), size, color_scheme=scheme)
    for summary in page.query_selector_all("summary"):
        summary.click()
    results = AXE.run(page)
    assert results.violations_count == 0, results.generate_report()


def test_numbers_are_those_of_the_json(show) -> None:
    """Figures, the points and lines of the charts, and the tables behind them."""
    content = failing()
    page = show(content)
    (record,) = content["records"]
    figures = {
        row.query_selector("th .quiet").inner_text(): row for row in page.query_selector_all("h3 + table tbody tr")
    }
    assert {name: float(row.query_selector("data").get_attribute("value")) for name, row in figures.items()} == {
        name: value
        for name, value in record["figures"].items()
        if name in record["series"] or name.startswith("contention_rate")
    }
    labels = page.eval_on_selector_all(".wide [aria-label]", "all => all.map(one => one.ariaLabel)")
    titles = {"efficiency_pct": "Balance efficiency", "ttft_ratio": "TTFT together over TTFT alone, worst request"}
    for metric, unit in (("efficiency_pct", "%"), ("ttft_ratio", "x")):
        for number, value in enumerate(record["series"][metric], 1):
            assert f"round {number}: {value:.4f} {unit}" in labels
        chart = chart_of(page, f"{titles[metric]} by round")
        inside = [float(data.get_attribute("value")) for data in chart.locator("data").element_handles()]
        assert [value for value in record["series"][metric] if value not in inside] == []
    assert "minimum of gate efficiency: 95.0000 %" in labels
    assert "stored session 2: 98.2000 %" in labels
    assert "contended above this ratio: 3.0000 x" in labels
    ttft = chart_of(page, "Time to first token")
    assert ttft.locator("tbody tr").count() == 4  # two agents, alone and together


def test_what_together_costs_adds_up(show) -> None:
    """The phases of each agent make up its duration, alone and together; what is more of each, what it takes longer."""
    content = failing()
    page = show(content)
    (record,) = content["records"]
    chart = opened(page, "Phases, alone")
    rows = {
        tuple(row.locator("td").all_inner_texts()[:2]): [
            float(data.get_attribute("value")) for data in row.locator("data").all()
        ]
        for row in chart.locator("tbody tr").all()
    }
    assert len(rows) == 6
    for *phases, total in rows.values():
        assert sum(phases) == pytest.approx(total)
    rounds = record["measurement"]["rounds"]
    for place, agent in enumerate("xy"):
        for part, name in (("alone", "solo"), ("together", "together")):
            runs = [round_[name][place] for round_ in rounds]
            durations_ms = [(run["requests"][-1]["done_ns"] - run["start_ns"]) / 1e6 for run in runs]
            assert rows[agent, part][-1] == pytest.approx(sum(durations_ms) / len(rounds))
        longer = rows[agent, "together"][-1] - rows[agent, "alone"][-1]
        assert rows[agent, "together minus alone"][-1] == pytest.approx(longer)
    labels = page.eval_on_selector_all(".wide [aria-label]", "all => all.map(one => one.ariaLabel)")
    assert f"x together, decode: {rows['x', 'together'][2]:.4f} ms" in labels


def test_the_shares_of_the_loss(show) -> None:
    """The shares equal the JSON's, largest first; the last row is the whole loss."""
    content = failing()
    page = show(content)
    (record,) = content["records"]
    chart = opened(page, "Shares of the loss: ")
    rows = [(row.locator("td").first.inner_text(), row.locator("data")) for row in chart.locator("tbody tr").all()]
    values = {name: float(cell.get_attribute("value")) for name, cell in rows}
    assert values.pop("total") == pytest.approx(record["loss"]["loss_pp"])
    assert values == record["loss"]["shares_pp"]
    assert next(iter(values)) == max(values, key=lambda name: values[name])


def test_a_triage_is_a_table(show) -> None:
    """A row a question, with its state and words, whatever these hold."""
    content = failing()
    answers = [
        {"question": "versions", "state": "found", "said": HOSTILE},
        {"question": "loss", "state": "ok", "said": "x"},
    ]
    content["records"][0]["triage"] = answers
    page = show(content)
    table = page.locator("h3:has-text('Triage') + table")
    assert table.locator("td").all_inner_texts() == ["found", HOSTILE, "ok", "x"]
    assert page.evaluate("typeof hacked") == "undefined"


def test_a_chosen_round_is_drawn(show) -> None:
    """By mouse or keyboard: every chunk is a tick, and the table beside it has the round's own numbers."""
    content = failing()
    page = show(content)
    (record,) = content["records"]
    page.focus("select.round")
    page.keyboard.press("ArrowDown")
    assert page.input_value("select.round") == "1"
    page.focus("button.after")
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert page.inner_text(".said").startswith("Round 4, together: x: done after 100.0 ms; y: done after 59.5 ms")
    runs = record["measurement"]["rounds"][3]["together"]
    ticks = [path.get_attribute("d").count("M") for path in page.query_selector_all(".drawing path")]
    assert ticks == [len(run["requests"][0]["arrivals_ns"]) for run in runs]
    page.click(".timeline summary")
    rows = [
        [cell.inner_text() for cell in row.query_selector_all("td")]
        for row in page.query_selector_all(".timeline tbody tr")
    ]
    assert [(row[0], float(row[8]), int(row[9])) for row in rows] == [("x", 100.0, 10), ("y", 59.5, 10)]
    page.select_option("select.part", "alone")
    assert page.get_attribute(".drawing svg", "aria-label").startswith("Round 4, alone: x: done after 95.0 ms")
    page.click("button.before")
    page.click("button.before")
    page.click("button.before")
    page.click("button.before")
    assert page.input_value("select.round") == "4"  # from the first to the last


def test_waiting_and_prefill_are_the_server_s(show) -> None:
    """Prefill is the server's word, what is left before the first token is waiting; where it says nothing, all is."""
    request = RequestTiming(
        sent_ns=10 * MS, done_ns=200 * MS, arrivals_ns=(110 * MS, 150 * MS, 200 * MS), eval_count=3,
        total_duration_ns=190 * MS, load_duration_ns=5 * MS, prompt_eval_duration_ns=25 * MS, eval_duration_ns=90 * MS,
    )  # fmt: skip
    silent = replace(request, total_duration_ns=0, load_duration_ns=0, prompt_eval_duration_ns=0)
    runs = tuple(
        AgentRun(agent=name, instance="a", start_ns=0, requests=(request_,))
        for name, request_ in (("x", request), ("y", silent))
    )
    run = run_of()
    measured = replace(
        run.records[0].measurement, rounds=(Round(index=0, order=("together",), solo=runs, together=runs),)
    )
    page = show(read_back(Run(records=[replace(run.records[0], measurement=measured)], settings=Settings())))
    page.click(".timeline summary")
    rows = [
        [cell.inner_text() for cell in row.query_selector_all("td")]
        for row in page.query_selector_all(".timeline tbody tr")
    ]
    assert rows[0][3:] == ["10.000", "70.000", "30.000", "100.000", "90.000", "200.000", "3"]
    assert rows[1][4:7] == ["unknown", "unknown", "100.000"]


def test_hostile_text_stays_text(show) -> None:
    """Names, facts and notes that hold markup, scripts or templates are shown, not run."""
    run = run_of(together_ms=UNEVEN, scenario=HOSTILE, facts={"cpu": HOSTILE, "backend": "simulated"})
    record = run.records[0]
    agents = tuple(Agent(name=f"{name}{HOSTILE}", prompts=(HOSTILE,)) for name in "xy")
    rounds = tuple(
        replace(
            round_,
            together=tuple(replace(r, agent=a.name) for r, a in zip(round_.together, agents, strict=True)),
            solo=tuple(replace(r, agent=a.name) for r, a in zip(round_.solo, agents, strict=True)),
        )
        for round_ in record.measurement.rounds
    )
    measured = replace(
        record.measurement,
        scenario=Scenario(name=HOSTILE, agents=agents),
        topology=replace(record.measurement.topology, model=HOSTILE),
        rounds=rounds,
        manifest=Manifest(facts={"cpu": HOSTILE}),
        notes=(HOSTILE,),
    )
    content = read_back(replace(run, records=[replace(record, test=f"t.py::{HOSTILE}", measurement=measured)]))
    page = show(content)
    page.wait_for_timeout(50)
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.query_selector("img") is None
    assert page.inner_text("#m1 h2").endswith(HOSTILE)
    assert f"x{HOSTILE} (a)" in [text.text_content() for text in page.query_selector_all(".drawing text")]
    page.click("#m1 > details summary")
    assert page.inner_text("td[data-label=here]") == HOSTILE


@pytest.mark.parametrize("size", [DESK, TABLET, PHONE, SMALLEST], ids=["desk", "tablet", "phone", "smallest"])
def test_nothing_is_wider_than_the_screen(show, size: tuple[int, int]) -> None:
    """No sideways scrolling; on a phone the charts are the narrow drawings and rows are stacked."""
    page = show(failing(), size)
    for summary in page.query_selector_all("summary"):
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    inside = "[...document.querySelectorAll('section')].every(one => one.scrollWidth <= one.clientWidth)"
    assert page.evaluate(inside)
    shown, hidden = ("wide", "narrow") if size in (DESK, TABLET) else ("narrow", "wide")
    assert page.is_visible(f"figure .{shown} svg")
    assert not page.is_visible(f"figure .{hidden} svg")


def test_colours_follow_the_system_or_the_button(show) -> None:
    """Dark where the system is; the button, by keyboard, overrules it."""
    paper = "getComputedStyle(document.body).backgroundColor"
    assert show(failing(), color_scheme="light").evaluate(paper) == "rgb(255, 255, 255)"
    page = show(failing(), color_scheme="dark")
    dark = page.evaluate(paper)
    assert dark == "rgb(20, 23, 27)"
    page.focus("#theme")
    page.keyboard.press("Enter")
    assert page.inner_text("#theme") == "Colours: light"
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.keyboard.press("Enter")
    assert page.evaluate(paper) == dark


def test_what_a_screen_reader_needs(show) -> None:
    """A language, one first heading, named drawings, tables with headers; no information by color alone."""
    page = show(failing())
    assert page.get_attribute("html", "lang") == "en"
    assert page.locator("h1").count() == 1
    assert page.locator("table").count() == page.locator("table:has(thead th[scope=col])").count()
    assert page.evaluate(
        "[...document.querySelectorAll('figure svg')].every(one => one.closest('[role][aria-label]')?.ariaLabel)"
    )
    named = "one => one.role === 'region' && one.ariaLabel && !one.tabIndex"
    assert page.evaluate(f"[...document.querySelectorAll('.scroll')].every({named})")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdicts"
    assert {outcome.inner_text()[0] for outcome in page.query_selector_all(".outcome")} <= {"✓", "✗", "?"}


def luminance(colour: str) -> float:
    """As WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark by system", "dark by button"])
def test_text_can_be_read_on_its_ground(theme: int) -> None:
    """Every colour of text has a contrast of 4.5 or more, of marks 3 or more (WCAG 2 AA)."""
    style = Path(html.__file__).with_name("page.css").read_text(encoding="utf-8")
    colours = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root[^{]*{([^}]*)}", style)]
    for ground in ("paper", "card"):
        for name, least in (("ink quiet good bad doubt link", 4.5), ("one two three four five six", 3)):
            for colour in name.split():
                light, dark = sorted(
                    (luminance(colours[theme][colour]), luminance(colours[theme][ground])), reverse=True
                )
                assert (light + 0.05) / (dark + 0.05) >= least, f"{colour} on {ground}"
    assert colours[1] == colours[2]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error comes before any measurement, and names the command to type."""
    monkeypatch.setattr(util, "find_spec", lambda _: None)
    monkeypatch.setattr(html, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"needs jinja2, vl-convert-python, .*\n.*pytest-llmperf\[report\]"):
        check_outputs(Settings(html="report.html"), tmp_path)
    check_outputs(Settings(json="report.json"), tmp_path)


def test_a_usual_session_is_small() -> None:
    """Six measurements of twenty rounds stay far below 2 MB."""
    content = read_back(run_of(together_ms=UNEVEN * 4, tests=[f"test_{number}" for number in range(6)]))
    assert len(html.page(content).encode()) < 1_300_000


@pytest.mark.long
def test_a_thousand_rounds_are_written_soon() -> None:
    """In less than 3 seconds, every round in the table, each with 64 chunks."""
    arrivals = tuple(range(20 * MS, 340 * MS, 5 * MS))
    request = RequestTiming(
        sent_ns=0, done_ns=340 * MS, arrivals_ns=arrivals, eval_count=64, total_duration_ns=340 * MS
    )
    runs = tuple(AgentRun(agent=name, instance="a", start_ns=0, requests=(request,)) for name in "xy")
    run = run_of()
    rounds = tuple(Round(index=index, order=("together",), solo=runs, together=runs) for index in range(1000))
    measured = replace(run.records[0].measurement, rounds=rounds)
    html.page(read_back(run))  # the drawing library has been loaded
    begun_s = time.monotonic()
    page = html.page(document(Run(records=[replace(run.records[0], measurement=measured)], settings=Settings())))
    took_s = time.monotonic() - begun_s
    print(f"1000 rounds: {took_s:.2f} s, {len(page) / 1e6:.1f} MB")
    assert took_s < 3


def test_edges_and_the_critical_path_are_drawn(show) -> None:
    """Who waits for whom in the together part, the critical path apart and in the text; alone nobody waits."""
    record = Record(test="t.py::t", measurement=graph_measurement(graph_round(200), graph_round(index=1)))
    page = show(document(Run(records=[record], settings=Settings())))
    assert len(page.query_selector_all(".drawing path.edge")) == 6
    assert len(page.query_selector_all(".drawing path.edge.critical")) == 2
    assert len(page.query_selector_all(".drawing rect.critical")) == 3
    assert page.inner_text(".said").endswith("critical path: planner > w3 > critic.")
    page.click("button.after")
    assert page.inner_text(".said").endswith("critical path: planner > w1 > critic.")
    page.select_option("select.part", "alone")
    assert page.query_selector_all(".drawing .edge, .drawing .critical") == []
    assert "critical path" not in page.inner_text(".said")


def test_the_machine_stands_below_what_is_judged(show) -> None:
    """A chart for each unit that was observed, after what the gates judge; its table holds the JSON's samples."""
    run = run_of()
    gpus = tuple(GpuSample(memory_used_mib=mib, temperature_c=60.0, power_w=100.0) for mib in (1024.0, 2048.0))
    seen = observed(
        sample(0, servers_s={"a": 0.0}, gpus=gpus),
        sample(1, busy_s=1.0, client_s=0.1, servers_s={"a": 0.5}, gpus=gpus),
        sample(3, busy_s=2.0, client_s=0.3, servers_s={"a": 0.7}, gpus=gpus),
        sample(4, index=1, busy_s=2.5, client_s=0.3, servers_s={"a": 0.8}, gpus=gpus),
        notes=("instance b is on another machine, which is not sampled",),
    )
    (record,) = run.records
    measurement = replace(record.measurement, telemetry=replace(seen.telemetry, gpus=("RTX", "RTX")))
    page = show(read_back(replace(run, records=[replace(record, measurement=measurement)])))
    titles = page.eval_on_selector_all("figure h3", "all => all.map(one => one.textContent)")
    place = titles.index("Timeline of a round")
    assert titles[:place] == [title for title in titles if title.endswith("by round")]
    assert titles[titles.index("The machine's processors") :][:4] == [
        "The machine's processors",
        "Resident memory",
        "Temperature",
        "GPU memory in use",
    ]
    figures = page.query_selector_all("figure")[titles.index("The machine's processors") - 1 :]
    assert values_in(figures[1]) == [2, 0.1, 0.1, 0.1, 2, 0.1, 0.3, 0.5, 2, 0.3, 0.35, 0.4]
    assert values_in(figures[4]) == [4, 1024, 1024, 1024, 4, 2048, 2048, 2048]
    assert "Not observed: instance b is on another machine" in page.inner_text("section:last-of-type")


def values_in(figure) -> list[float]:
    """The numbers of a chart's table, to four places."""
    return [round(float(data.get_attribute("value")), 4) for data in figure.query_selector_all("data")]
