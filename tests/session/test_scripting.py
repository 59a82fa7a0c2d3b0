"""A script measures without pytest."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmperf import CHIMERA_HOMO, Session, Settings, TopologyKind
from pytest_llmperf.judge.markers import build
from pytest_llmperf.model import Script
from pytest_llmperf.session.measurement.answer_scores import Scorer
from pytest_llmperf.session.progress_listener import SilentListener

PAGE = Path(__file__).parents[2] / "docs" / "scripting.md"
SCRIPTED_TIME = """
from tests.lent import end_all
from tests.scripted_run import take_scripted_time
take_scripted_time()
"""
QUICK = Settings(
    backend="simulated",
    script=Script(ttft_ms=1, load_ms=1, decode_tok_s=2000),
    calibrate=False,
    min_rounds=1,
    max_rounds=1,
)


def test_the_page_holds_a_script_that_runs(tmp_path: Path) -> None:
    """As it is printed, in a Python of its own and in scripted time: a verdict, and the mean of a metric."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10
    ran = subprocess.run(
        [sys.executable, "-c", f"{SCRIPTED_TIME}{code}\nend_all()"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PAGE.parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    verdict, mean = ran.stdout.splitlines()
    assert re.fullmatch(r"efficiency (pass|fail|inconclusive) \d+\.\d+", verdict)
    assert re.fullmatch(r"\d+\.\d+ tok/s", mean)


def test_a_listener_and_a_scorer_are_given(tmp_path: Path) -> None:
    """The listener hears of the phases; the scorer's opinion decides the gate `quality`."""
    said: list[str] = []

    class Told(SilentListener):
        def say(self, text: str) -> None:
            said.append(text)

    scorer = Scorer(name="mine", score=lambda _, response: 0.5 if response else 0.0)
    with Session(QUICK, root=tmp_path, listener=Told()) as session:
        record = session.measure(
            CHIMERA_HOMO, TopologyKind.DUAL, test="t", specs=[build("quality", kwargs={"samples": 3})], scorer=scorer
        )
    assert record.measurement.quality is not None
    assert record.measurement.quality.scorer == "mine"
    assert {answer.together_score for answer in record.measurement.quality.answered} == {0.5}
    assert any("starting dual" in text for text in said)


def test_nothing_is_assigned_from_outside(tmp_path: Path) -> None:
    """What a session works with is given to its constructor, and stays."""
    with Session(QUICK, root=tmp_path) as session:
        for name in ("settings", "root", "listener", "backend", "baseline", "stored"):
            with pytest.raises(AttributeError):
                setattr(session, name, None)
