"""The differences between a baseline's manifest and the current manifest, and the consequences of each difference.

If an identity key differs, machine-bound figures (tok/s, ms) are not comparable. If a key differs that the baseline's
own `invalidated_by` rows name, the baseline is void according to its authors: its limits still apply to ratios, and the
report says that it is void. A difference in any other key is only noted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.judge.baselines.lookup import Key, entry_of
from pytest_llmperf.model import IDENTITY, KEYS, Baseline, Boundary, Gate
from pytest_llmperf.model.manifest import same_fact

UNKNOWN = "not known"
_READABLE, _AROUND = 100, 20
"""Characters of a pair of facts that are shown whole, and of the context of what differs in longer ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One fact that differs.

    Attributes:
        baseline: the name of the baseline.
        key: the fact's key in the manifest.
        old: the fact in the baseline.
        new: the fact here.
        machine_bound: whether the difference makes tok/s and ms not comparable.
        voids: the baseline's condition that the difference breaks, in the baseline's words; empty: none.
    """

    baseline: str
    key: str
    old: str
    new: str
    machine_bound: bool
    voids: str = ""

    def __str__(self) -> str:
        if settings := _changed_settings(self.old, self.new):
            return f"{self.key}: {settings}"
        old, new = _shortened(self.old, self.new)
        return f"{self.key}: {old} -> {new}"


def differences_for(
    gates: Sequence[Gate], baseline: Baseline, stored: Baseline | None, key: Key, here: Mapping[str, str]
) -> tuple[Difference, ...]:
    """The facts that differ from the baselines that the limits of these gates come from.

    Args:
        gates: the gates of the measurement.
        baseline: the baseline in force; its manifest is compared if one of its limits is used.
        stored: the baseline of `--llmperf-compare`; None: the baseline in force. If there is a regression gate, the
            manifest of the measurement's newest session is compared.
        key: the key of the measurement.
        here: the facts of the current manifest.
    """
    differences: tuple[Difference, ...] = ()
    gates = [gate for gate in gates if not gate.incumbent]
    if any(gate.delta is None and gate.baseline == baseline.name for gate in gates):
        differences = differences_of(
            baseline.name, baseline.manifest, here, invalidated_by=baseline.invalidated_by, whole=False
        )
    if any(gate.delta is not None for gate in gates):
        stored = baseline if stored is None else stored
        differences += differences_of(stored.name, entry_of(stored, key).session[-1].manifest, here, whole=True)
    return differences


def differences_of(
    baseline: str,
    stated: Mapping[str, str],
    here: Mapping[str, str],
    *,
    invalidated_by: Sequence[Boundary] = (),
    whole: bool,
) -> tuple[Difference, ...]:
    """Each fact that differs, in the order of `model.KEYS`.

    Args:
        baseline: the name of the baseline.
        stated: the manifest of the baseline.
        here: the facts of the current manifest.
        invalidated_by: the conditions that the baseline states; the first condition that names a key is cited.
        whole: whether `stated` is a complete manifest, as a stored session has: then a fact that only one side knows
            is a difference, too. Otherwise (the head of a file of limits) only the stated facts are compared.
    """
    differences = []
    for key in KEYS:
        old, new = stated.get(key, UNKNOWN), here.get(key, UNKNOWN)
        if same_fact(key, old, new) or (key not in stated and not whole):
            continue
        voids = next((boundary.text for boundary in invalidated_by if key in boundary.keys), "")
        differences.append(
            Difference(baseline=baseline, key=key, old=old, new=new, machine_bound=key in IDENTITY, voids=voids)
        )
    return tuple(differences)


def _changed_settings(old: str, new: str) -> str:
    """The settings that differ between two facts that list settings (`num_ctx=512; slots=1`); empty for other facts."""
    before, after = _by_instance(old), _by_instance(new)
    if not before or not after:
        return ""
    instances = [name for name in dict.fromkeys((*before, *after)) if name] or [""]
    changes: dict[str, list[str]] = {}
    for instance in instances:
        was, now = (side.get(instance, side.get("", {})) for side in (before, after))
        for name in dict.fromkeys((*was, *now)):
            if was.get(name) != now.get(name):
                words = f"{name} {was.get(name, UNKNOWN)} -> {now.get(name, UNKNOWN)}"
                changes.setdefault(words, []).append(instance)
    return ", ".join(
        words if changed == instances else f"{words} (instance {', '.join(changed)})"
        for words, changed in changes.items()
    )


def _by_instance(text: str) -> dict[str, dict[str, str]]:
    """Settings by name, by instance (`a: num_ctx=512, b: num_ctx=256`; the empty name: all of them)."""
    settings: dict[str, dict[str, str]] = {}
    for part in re.split(r", (?=\w+: )", text):
        instance, pairs = match.groups() if (match := re.fullmatch(r"(\w+): (.*)", part)) else ("", part)
        for pair in pairs.split("; "):
            name, equals, value = pair.partition("=")
            if not equals:
                return {}
            settings.setdefault(instance, {})[name] = value
    return settings


def _shortened(old: str, new: str) -> tuple[str, str]:
    """Two long texts without most of what they begin and end with alike (settings of servers, digests)."""
    if len(old) + len(new) <= _READABLE:
        return old, new
    start = _alike(old, new)
    end = _alike(old[start:][::-1], new[start:][::-1])
    cut = max(start - _AROUND, 0)

    def shown(text: str) -> str:
        stop = min(len(text) - end + _AROUND, len(text))
        return f"{'...' if cut else ''}{text[cut:stop]}{'...' if stop < len(text) else ''}"

    return shown(old), shown(new)


def _alike(old: str, new: str) -> int:
    """How many characters two texts begin with alike."""
    pairs = zip(old, new, strict=False)
    return next((index for index, (before, after) in enumerate(pairs) if before != after), min(len(old), len(new)))
