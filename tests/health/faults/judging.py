"""What the doctor said of each run while its record grew, and how that compares with the truth."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bellmark.health import Case, Finding, case_of, diagnose
from bellmark.records import Curve, Run

FIRST = 2  # findings among which the cause must be


@dataclass(frozen=True)
class Verdict:
    """One run, as the doctor saw it grow."""

    found: tuple[str, ...]  # rules at the end, gravest first
    said: tuple[str, ...]  # the same with their severities
    named_at: int | None  # first step at which a right rule was among the first findings; None: never
    rank: int | None  # of the first right rule at the end, from 1; None: not found
    critical_at: dict[str, int]  # rule -> first step at which it was critical
    fell_at: int | None  # step at which evaluations had fallen by 30% of the way to their peak
    last: int
    peak: float
    end: float

    @property
    def hit(self) -> bool:
        """The cause is among the first findings at the end."""
        return self.rank is not None and self.rank <= FIRST

    @property
    def lead(self) -> int | None:
        """Steps between naming the cause and the fall; None where nothing fell, or nothing was named."""
        return self.fell_at - self.named_at if self.fell_at is not None and self.named_at is not None else None


def growing(case: Case) -> Iterator[tuple[int, Case]]:
    """The case as it stood after each evaluation."""
    for step in case.curve("eval/return").step.tolist():
        yield step, replace(case, curves={name: _until(curve, step) for name, curve in case.curves.items()})


def _until(curve: Curve, step: int) -> Curve:
    count = int(np.searchsorted(curve.step, step, side="right"))
    return Curve(curve.step[:count], curve.value[:count])


def told(finding: Finding) -> str:
    """A finding as it is compared with those of healthy runs."""
    return f"{finding.severity} {finding.rule}"


def judge(run: Run, causes: Sequence[str], usual: Collection[str] = ()) -> Verdict:
    """Ask after every evaluation, as a live run does.

    What healthy runs of the family are told too (`usual`) names no cause.
    """

    def names_it(finding: Finding) -> bool:
        return finding.rule in causes and told(finding) not in usual

    named, fell, critical = None, None, {}
    found: list[Finding] = []
    case = case_of(run)
    for step, seen in growing(case):
        found = diagnose(seen)
        if named is None and any(map(names_it, found[:FIRST])):
            named = step
        for finding in found:
            if finding.severity == "critical":
                critical.setdefault(finding.rule, step)
            if finding.rule == "peak_then_collapse" and fell is None:
                fell = finding.step
    scores = case.curve("eval/return")
    ranks = [place for place, finding in enumerate(found, 1) if names_it(finding)]
    return Verdict(
        found=tuple(finding.rule for finding in found),
        said=tuple(told(finding) for finding in found),
        named_at=named,
        rank=ranks[0] if ranks else None,
        critical_at=critical,
        fell_at=fell,
        last=int(scores.step[-1]) if len(scores.step) else 0,
        peak=float(scores.value.max()) if len(scores.value) else float("nan"),
        end=float(scores.value[-1]) if len(scores.value) else float("nan"),
    )
