"""Decides claims from the findings of their parts, with evidence and grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge.gates.evidence_grade import grade
from pytest_llmperf.study.claims.claim_findings import Finding, Status

NO_GRADE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A claim of a report with the findings of its parts.

    Attributes:
        id: e.g. `C2`; its findings have ids such as `C2.contention`.
        claim: the claim in words.
        findings: at least one finding.
    """

    id: str
    claim: str
    findings: tuple[Finding, ...]

    @property
    def tested(self) -> tuple[Finding, ...]:
        """The findings that could be tested here."""
        return tuple(finding for finding in self.findings if finding.status is not Status.NOT_TESTABLE)

    @property
    def untested(self) -> tuple[Finding, ...]:
        """The other findings, if some could be tested: the status does not cover them."""
        return tuple(finding for finding in self.findings if finding not in self.tested) if self.tested else ()

    @property
    def status(self) -> Status:
        """Not reproduced if a part is not, reproduced if all tested parts are."""
        if not self.tested:
            return Status.NOT_TESTABLE
        failed = any(finding.status is Status.NOT_REPRODUCED for finding in self.tested)
        return Status.NOT_REPRODUCED if failed else Status.REPRODUCED

    @property
    def verdict(self) -> str:
        """The status, and how many parts it does not cover."""
        if not self.untested:
            return str(self.status)
        part = " in part" if self.status is Status.REPRODUCED else ""
        return f"{self.status}{part} ({len(self.untested)} of {len(self.findings)} parts not testable here)"

    @property
    def grade(self) -> str:
        """The grade of the part with the fewest rounds; `simulated` if a part is; `none` if nothing was tested."""
        rounds = [finding.rounds for finding in self.tested]
        return grade(min(rounds), simulated=any(finding.simulated for finding in self.tested)) if rounds else NO_GRADE


def decide(findings: Sequence[Finding], claims: Mapping[str, str]) -> tuple[Decided, ...]:
    """All claims with their findings, in the order of the claims.

    Args:
        findings: the findings of any experiments; the part of an id before the dot names the claim.
        claims: words by id.

    Raises:
        UsageError: a claim without a finding, or a finding without a claim.
    """
    findings_of: dict[str, list[Finding]] = {id_: [] for id_ in claims}
    odd = []
    for finding in findings:
        owner = finding.claim.id.partition(".")[0]
        if owner in findings_of:
            findings_of[owner].append(finding)
        else:
            odd.append(finding.claim.id)
    if odd or (empty := [id_ for id_, ones in findings_of.items() if not ones]):
        subject, ids = ("findings without a claim", odd) if odd else ("claims without a finding", empty)
        raise UsageError(
            f"{subject}: {', '.join(ids)}", next_step="name the matrix's claims CLAIM.PART, e.g. C2.contention"
        )
    return tuple(Decided(id=id_, claim=words, findings=tuple(findings_of[id_])) for id_, words in claims.items())


def lines(decided: Sequence[Decided]) -> tuple[str, ...]:
    """For the terminal: a line per claim, and one per part that its verdict does not cover."""
    said = []
    for claim in decided:
        said.append(f"  {claim.id} {claim.verdict}, evidence {claim.grade}: {claim.claim}")
        said += [f"    {part.status}: {part.claim.claim}: {part.why}" for part in claim.untested]
    counts = {status: [claim for claim in decided if claim.status is status] for status in Status}
    partly = sum(bool(claim.untested) for claim in counts[Status.REPRODUCED])
    words = {status: str(status) for status in Status}
    words[Status.REPRODUCED] += f" ({partly} of them in part)" if partly else ""
    return (f"claims: {', '.join(f'{len(counts[status])} {words[status]}' for status in Status)}", *said)


def markdown(decided: Sequence[Decided]) -> str:
    """A Markdown table: claim, verdict, grade, and the evidence of each part."""
    rows = ["## Claims", "", "| claim | verdict | grade | evidence |", "| --- | --- | --- | --- |"]
    for claim in decided:
        evidence = "<br>".join(_cell(f"{part.status}: {part.claim.claim}: {part.why}") for part in claim.findings)
        rows.append(f"| {claim.id}: {_cell(claim.claim)} | {claim.verdict} | {claim.grade} | {evidence} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    """A table cell on one line, with markup escaped."""
    for mark in ("\\", "|", "<", "`", "*", "_"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
