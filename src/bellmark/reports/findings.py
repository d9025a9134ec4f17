"""What a diagnosis says about a run, as plain data: whoever finds something hands it in, the page only shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from bellmark.records import Curve, Run
from bellmark.reports.words import Mark

Severity = Literal["info", "warning", "critical"]
SEVERITIES: dict[Severity, Mark] = {
    "critical": Mark("critical", "■"),
    "warning": Mark("warning", "▲"),
    "info": Mark("note", "•"),
}  # the gravest first


class Finding(NamedTuple):
    """One thing that is wrong, or worth knowing, about a run."""

    id: str  # of the rule, such as "peak_then_collapse"
    severity: Severity
    step: int | None  # real environment steps at which it first held; None: the run as a whole
    sentence: str
    advice: str = ""  # the likeliest cause and what to try


Diagnose = Callable[[Run, Mapping[str, Curve]], Sequence[Finding]]  # a run and all its curves, as read just now


def undiagnosed(run: Run, curves: Mapping[str, Curve]) -> Sequence[Finding]:
    """Nothing: what pages show where nobody diagnoses."""
    return ()


def gravest(findings: Sequence[Finding]) -> str:
    """The worst severity among findings; "" where there are none."""
    return next((s for s in SEVERITIES if any(f.severity == s for f in findings)), "")


def order(finding: Finding) -> int:
    """By step, those about the run as a whole first."""
    return -1 if finding.step is None else finding.step
