"""The forest plot: each arm's effect over the baseline with its bounds, on one axis with lines for zero and delta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bellmark.reports.curves import Ticks
from bellmark.reports.dossier import Dossier
from bellmark.reports.scales import Axis, linear, text_of
from bellmark.reports.words import Unit
from bellmark.stats import Verdict
from bellmark.stats.claim import SUMMARIES


@dataclass(frozen=True)
class Bar:
    """One effect: positions between 0 and 1 on the axis; without bounds only the estimate stands."""

    arm: str
    kind: str
    label: str  # of the row: the arm, or the summary below it
    at: float | None
    low: float | None
    high: float | None
    text: str
    primary: bool
    opposite: bool = False


@dataclass(frozen=True)
class Forest:
    """All bars on one axis."""

    bars: tuple[Bar, ...]
    ticks: Ticks
    zero: float
    delta: float | None
    delta_text: str
    unit: str


def effect_unit(dossier: Dossier) -> Unit:
    """Effects are written like the metric where they are in its units, else as plain numbers."""
    scaled = dossier.sweep is not None and bool(dossier.sweep.expect.scales)
    return Unit("scaled" if scaled else dossier.metric)


def forest(dossier: Dossier, verdicts: Sequence[Verdict]) -> Forest | None:
    """The effects as declared, each with those of the other two summaries below; None while nothing was estimated."""
    assert dossier.sweep is not None
    unit, delta = effect_unit(dossier), dossier.sweep.expect.minimum_effect
    numbers = [0.0, delta]
    for verdict in verdicts:
        for r in verdict.by_summary.values():
            numbers += [x for x in (r.estimate, r.low, r.high) if x is not None]
    if not any(verdict.estimate is not None for verdict in verdicts):
        return None
    margin = 0.06 * (max(numbers) - min(numbers)) or 0.1
    axis = linear(min(numbers) - margin, max(numbers) + margin, most=6)
    bars = tuple(bar for verdict in verdicts for bar in _bars(verdict, axis, unit, dossier))
    return Forest(
        bars=bars,
        ticks=text_of(axis, lambda v: "0" if abs(v) < 1e-12 else bare(unit, v).removesuffix(".0")),
        zero=axis.at(0.0),
        delta=axis.at(delta) if delta else None,
        delta_text=unit.difference(delta),
        unit="percentage points" if unit.is_share else "scaled units" if unit.metric == "scaled" else dossier.metric,
    )


def summary_name(summary: str, last: int) -> str:
    """`mean of last 3`, `final`, `peak`."""
    return {"last_mean": f"mean of last {last}", "final": "final", "peak": "peak"}[summary]


def effect_text(unit: Unit, estimate: float | None, low: float | None, high: float | None) -> str:
    """`+12.3 pp [+4.0, +20.6]`."""
    if estimate is None:
        return ""
    bounds = "" if low is None or high is None else f" [{bare(unit, low)}, {bare(unit, high)}]"
    return unit.difference(estimate) + bounds


def bare(unit: Unit, x: float) -> str:
    """A difference without its unit, for where that stands beside it already."""
    return unit.difference(x).removesuffix(" pp")


def _bars(verdict: Verdict, axis: Axis, unit: Unit, dossier: Dossier) -> list[Bar]:
    def place(x: float | None) -> float | None:
        return None if x is None else axis.at(x)

    shown = effect_text(unit, verdict.estimate, verdict.low, verdict.high)
    bars = [
        Bar(
            arm=verdict.arm,
            kind=verdict.kind,
            label=verdict.arm,
            at=place(verdict.estimate),
            low=place(verdict.low),
            high=place(verdict.high),
            text=shown,
            primary=True,
            opposite=verdict.opposite,
        )
    ]
    for summary in SUMMARIES:
        result = verdict.by_summary.get(summary)
        if result is None or summary == verdict.claim.summary:
            continue
        bars.append(
            Bar(
                arm=verdict.arm,
                kind=result.kind,
                label=summary_name(summary, verdict.claim.last),
                at=place(result.estimate),
                low=place(result.low),
                high=place(result.high),
                text=effect_text(unit, result.estimate, result.low, result.high),
                primary=False,
                opposite=result.opposite,
            )
        )
    return bars
