"""What differs between manifests, and what follows: machine-bound, void, or noted."""

from collections.abc import Mapping

import pytest

from pytest_llmperf.judge.baselines.baseline_files import load_named
from pytest_llmperf.judge.baselines.comparability import other_machine
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.baselines.manifest_diff import Difference, differences_for, differences_of
from pytest_llmperf.model import IDENTITY, KEYS, Baseline, Boundary, Stored, StoredSession
from tests.judge.build import gate

WHOLE = {key: f"old {key}" for key in KEYS}


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_compared_and_has_its_consequence(key: str) -> None:
    """A change of one fact is one difference, old against new; identity keys make tok/s and ms not comparable."""
    (difference,) = differences_of("main", WHOLE, {**WHOLE, key: "new"}, whole=True)
    assert (difference.key, difference.old, difference.new, difference.voids) == (key, f"old {key}", "new", "")
    assert difference.machine_bound is (key in IDENTITY)
    assert str(difference) == f"{key}: old {key} -> new"


def test_names_of_one_model_are_one_fact() -> None:
    """A model has several names; they void nothing, and stored figures are compared."""
    for name in ("gemma3", "library/gemma3", "registry.ollama.ai/library/gemma3:latest", "Gemma3:latest"):
        old, new = {**WHOLE, "model": "gemma3:latest"}, {**WHOLE, "model": name}
        assert differences_of("main", old, new, whole=True) == ()
        assert not other_machine(old, new)
    assert other_machine({**WHOLE, "model": "gemma3"}, {**WHOLE, "model": "gemma3:1b"})


def test_what_only_one_side_knows_differs_in_whole_manifests() -> None:
    """A GPU that was added, or taken out; the head of a file of limits is asked only for what it states."""
    bare = {key: value for key, value in WHOLE.items() if key != "gpu"}
    assert [str(difference) for difference in differences_of("main", bare, WHOLE, whole=True)] == [
        "gpu: not known -> old gpu"
    ]
    assert [str(difference) for difference in differences_of("main", WHOLE, bare, whole=True)] == [
        "gpu: old gpu -> not known"
    ]
    assert differences_of("main", bare, WHOLE, whole=False) == ()
    assert differences_of("main", WHOLE, WHOLE, whole=True) == ()


def voided(**changes: str) -> Mapping[str, str]:
    """What the decision card says of a machine like its own but for these facts."""
    card = load_named("decision_card", ())
    differences = differences_of(
        card.name, card.manifest, {**card.manifest, **changes}, invalidated_by=card.invalidated_by, whole=False
    )
    return {difference.key: difference.voids for difference in differences}


def test_the_decision_card_is_voided_by_its_own_list() -> None:
    """Its `Invalidates this report` rows void it, in its words; all other keys but the machine's have no effect."""
    assert voided() == {}
    assert voided(gpu="NVIDIA A100") == {"gpu": "GPU changed: other VRAM, other architecture"}
    assert voided(engine_version="0.5.0")["engine_version"].startswith("Ollama major version upgraded")
    assert voided(model="llama3.1:8b") == {"model": "Model weights updated"}
    assert voided(os="Linux x86_64")["os"].startswith("An operating system other than Windows 11")
    assert voided(memory_gib="64") == {"memory_gib": ""}


KEY = Key(test="t", scenario="s", topology="dual", workload="w")


def stored(*manifests: Mapping[str, str]) -> Baseline:
    sessions = tuple(
        StoredSession(saved_at="now", manifest=manifest, rounds={"speedup": (1.0,)}) for manifest in manifests
    )
    entry = Stored(test="t", scenario="s", topology="dual", workload="w", session=sessions)
    return Baseline(schema=2, name="main", stored=(entry,))


def test_only_baselines_that_gave_a_limit_are_compared() -> None:
    """A test whose markers have their own values gets no note about a card that it does not use."""
    boundary = Boundary(text="CPU changed", source="card", keys=("cpu",))
    card = Baseline(schema=1, name="card", manifest={"cpu": "i9"}, invalidated_by=(boundary,))
    here = {"cpu": "i7"}
    of_card = Difference(baseline="card", key="cpu", old="i9", new="i7", machine_bound=True, voids="CPU changed")
    of_main = Difference(baseline="main", key="cpu", old="i8", new="i7", machine_bound=True)
    main = stored({"cpu": "older"}, {"cpu": "i8"})
    typed, ours, regression = gate(), gate(baseline="card"), gate(delta=5.0, baseline="main")
    assert differences_for((typed,), card, main, KEY, here) == ()
    assert differences_for((ours,), card, main, KEY, here) == (of_card,)
    assert differences_for((regression,), card, main, KEY, here) == (of_main,)
    assert differences_for((ours, regression), card, main, KEY, here) == (of_card, of_main)
    assert differences_for((regression,), main, None, KEY, here) == (of_main,)


def test_long_facts_are_shown_where_they_differ() -> None:
    """Settings of servers are long; what they begin and end with alike is left out."""
    old, new = ("x" * 80 + word + "y" * 80 for word in ("one", "two"))
    (difference,) = differences_of("main", {"server_settings": old}, {"server_settings": new}, whole=True)
    assert str(difference) == f"server_settings: ...{'x' * 20}one{'y' * 20}... -> ...{'x' * 20}two{'y' * 20}..."
    (longer,) = differences_of("main", {"server_settings": old}, {"server_settings": old + "z"}, whole=True)
    assert str(longer) == f"server_settings: ...{'y' * 20} -> ...{'y' * 20}z"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("num_ctx=512; slots=1; x=y", "num_ctx=2048; slots=1; x=y", "num_ctx 512 -> 2048"),
        ("num_ctx=512", "num_ctx=512; slots=1", "slots not known -> 1"),
        ("a: num_ctx=512; slots=1, b: num_ctx=256; slots=1", "num_ctx=256; slots=1", "num_ctx 512 -> 256 (instance a)"),
        ("slots=1", "a: slots=2, b: slots=2", "slots 1 -> 2"),
        ("slots=1", "the default", "slots=1 -> the default"),
    ],
)
def test_of_settings_those_that_differ_are_shown(old: str, new: str, words: str) -> None:
    """Settings are listed by name, and by instance if instances differ; other text is shown unchanged."""
    (difference,) = differences_of("main", {"server_settings": old}, {"server_settings": new}, whole=True)
    assert str(difference) == f"server_settings: {words}"
