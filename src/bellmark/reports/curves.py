"""Panels of learning curves: where axes, means and bands stand, and the seeds' points as data.

Each panel shows one arm against the baseline on one task: every seed a thin line through its evaluations, the mean of
finished seeds a thick one, and from three seeds on a band, the pointwise 95% t interval of that mean. Means and bands
are SVG, so that they are there without a script; the seeds are painted from data once their panel comes into sight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bellmark.reports.dossier import ArmRecord, Dossier, RunRecord
from bellmark.reports.findings import SEVERITIES, Finding, gravest
from bellmark.reports.numbers import BAND_SEEDS, MeanCurve, mean_curve
from bellmark.reports.pack import plain
from bellmark.reports.scales import Axis, Floats, cost_axis, linear, outline, text_of
from bellmark.reports.words import Unit, clock_unit, short, signed, some

SIZE = 1000  # a plot's own width and height; y grows downwards
PAGE_POINTS = 120_000  # of seeds over all lines of a page, shared out evenly: a page of a thousand runs must still open
MEAN_POINTS = 20_000  # the same of means and bands
FEWEST_POINTS, MOST_POINTS = 24, 1000  # per line; longer curves keep the extremes of every stretch
MOST_WITH_SEEDS = 8  # panels of a task up to which each shows the baseline's seeds, not its mean alone

Ticks = list[tuple[float, str]]


@dataclass(frozen=True)
class Mean:
    """The mean of one arm's finished seeds in one layer; `band` is "" below three seeds."""

    role: str
    path: str
    band: str
    single: bool  # of one seed: the seed's own curve


@dataclass(frozen=True)
class Sign:
    """A finding's place on the strip below a curve."""

    at: float
    severity: str
    words: str


@dataclass(frozen=True)
class Layer:
    """The panel's curves over one measure of cost."""

    axis: str  # "real", "simulator" or "wall"
    scale: Axis
    ticks: Ticks
    means: tuple[Mean, ...]
    strip: tuple[Sign, ...]


@dataclass(frozen=True)
class Panel:
    """One small multiple."""

    task: str
    arm: str
    baseline: str  # "" where there is none beside the arm
    counts: dict[str, str]  # role -> "3 seeds"
    y: Axis
    y_ticks: Ticks
    start: tuple[float, str] | None  # where the untouched start stands
    layers: tuple[Layer, ...]
    lines: dict[str, str]  # role -> id of the data of its seeds
    health: str  # the gravest finding about a run of the arm; "" where there is none
    findings: tuple[tuple[str, Finding], ...]  # (run, finding) of the arm's runs
    about: str  # the picture in words


@dataclass(frozen=True)
class _Drawing:
    """What the panels of a task have in common."""

    task: str
    y: Axis
    scales: dict[str, Axis]
    base: MeanCurve | None  # of the baseline's finished seeds
    base_seeds: bool  # whether the baseline's seeds are drawn beside its mean
    detail: int  # points of a mean


@dataclass(frozen=True)
class AxisChoice:
    """One measure of cost that the page can show."""

    key: str
    label: str
    title: str


AXES = {
    "real": AxisChoice("real", "real steps", "real environment steps"),
    "simulator": AxisChoice("simulator", "simulator steps", "simulator steps: real, branch and gathered together"),
    "wall": AxisChoice("wall", "wall time", "time spent in all phases of the run"),
}


def axes_of(dossier: Dossier) -> list[AxisChoice]:
    """The measures of cost that at least one run recorded; simulator steps only where they are not the real ones."""
    runs = dossier.runs
    shown = ["real"]
    if any(run.cost.branch or run.cost.gathered for run in runs):
        shown.append("simulator")
    if any(run.cost.wall for run in runs):
        shown.append("wall")
    return [AXES[key] for key in shown]


def panels(dossier: Dossier) -> list[list[Panel]]:
    """The panels of each task; axes are shared within a task, so that panels can be compared by eye."""
    shown = dossier.compared or dossier.arms
    means = 2 * len(shown) * len(dossier.tasks) * len(axes_of(dossier))
    found = []
    for task in dossier.tasks:
        runs = [run for run in dossier.runs if run.task == task and len(run.trace.step)]
        if not runs:
            continue
        drawing = _Drawing(
            task=task,
            y=_y_axis(runs, Unit(dossier.metric)),
            scales={choice.key: _x_axis(runs, choice.key) for choice in axes_of(dossier)},
            base=mean_curve(dossier.baseline.on(task)) if dossier.baseline else None,
            base_seeds=len(shown) <= MOST_WITH_SEEDS,
            detail=_shared(MEAN_POINTS, means),
        )
        found.append([_panel(dossier, arm, drawing) for arm in shown])
    return found


def lines(dossier: Dossier) -> dict[str, list[dict[str, Any]]]:
    """Id -> the seeds of one arm on one task: each with its run and, per point, step, value and what it had cost."""
    detail = _shared(PAGE_POINTS, len(dossier.runs))
    axes = [choice.key for choice in axes_of(dossier) if choice.key != "real"]
    found = {}
    for task in dossier.tasks:
        for arm in dossier.arms:
            drawn = [_line(run, axes, detail) for run in _drawn(arm, task)]
            if drawn:
                found[_lines_id(dossier, arm, task)] = drawn
    return found


def x_of(run: RunRecord, axis: str) -> Floats:
    """Where the evaluations of a run stand on an axis."""
    return {"real": run.trace.step.astype(np.float64), "simulator": run.trace.simulator, "wall": run.trace.wall}[axis]


def _shared(points: int, lines: int) -> int:
    return min(max(points // max(lines, 1), FEWEST_POINTS), MOST_POINTS)


def _drawn(arm: ArmRecord, task: str) -> list[RunRecord]:
    return [run for run in arm.on(task) if len(run.trace.step)]


def _lines_id(dossier: Dossier, arm: ArmRecord, task: str) -> str:
    return f"lines-{dossier.tasks.index(task)}-{dossier.arms.index(arm)}"


def _line(run: RunRecord, axes: Sequence[str], detail: int) -> dict[str, Any]:
    keep = outline(run.trace.value, detail)
    return {
        "run": run.name,
        "seed": run.seed,
        "state": "failed" if run.failed else "done" if run.finished else "open",
        "step": run.trace.step[keep].tolist(),
        "value": plain(run.trace.value[keep]),
        **{axis: plain(x_of(run, axis)[keep], 5) for axis in axes},
    }


def _y_axis(runs: Sequence[RunRecord], unit: Unit) -> Axis:
    if unit.is_share:
        return linear(0.0, 1.0)
    values = np.concatenate([run.trace.value for run in runs])
    values = values[np.isfinite(values)]
    return linear(float(values.min(initial=0.0)), float(values.max(initial=0.0)), loose=True)


def _x_axis(runs: Sequence[RunRecord], axis: str) -> Axis:
    known = [x[np.isfinite(x)] for x in (x_of(run, axis) for run in runs)]
    spent = [x[x > 0] for x in known]
    ends = [float(x.max()) for x in spent if len(x)]
    unit = clock_unit(max(ends, default=0.0))[0] if axis == "wall" else 1.0
    return cost_axis(ends, [float(x.min()) for x in spent if len(x)], unit=unit)


def _x_ticks(axis: Axis, key: str) -> Ticks:
    if key != "wall":
        return text_of(axis, short)
    seconds, name = clock_unit(axis.high)
    return text_of(axis, lambda x: f"{x / seconds:.3g} {name}" if x else "0")


def _panel(dossier: Dossier, arm: ArmRecord, drawing: _Drawing) -> Panel:
    base, task = dossier.baseline if dossier.baseline is not arm else None, drawing.task
    shown = {"base": base.on(task) if base else (), "arm": arm.on(task)}
    starts = [float(run.trace.value[0]) for runs in shown.values() for run in runs if _from_start(run)]
    unit = Unit(dossier.metric)
    level = float(np.mean(starts)) if starts else math.nan
    means = {"base": drawing.base if base else None, "arm": mean_curve(arm.on(task))}
    seeds = {"arm": arm, **({"base": base} if base and (drawing.base_seeds or means["base"] is None) else {})}
    found = tuple((run.name, finding) for run in arm.on(task) for finding in run.findings)
    return Panel(
        task=task,
        arm=arm.name,
        baseline=base.name if base else "",
        counts={role: _count(runs) for role, runs in shown.items()},
        y=drawing.y,
        y_ticks=text_of(drawing.y, lambda v: f"{100 * v:.0f}%" if unit.is_share else signed(short(v))),
        start=(drawing.y.at(level), unit.value(level)) if starts else None,
        layers=tuple(_layer(key, shown, means, drawing) for key in drawing.scales),
        lines={role: _lines_id(dossier, side, task) for role, side in seeds.items() if _drawn(side, task)},
        health=gravest([finding for _, finding in found]),
        findings=found,
        about=_about(dossier, {arm.name: means["arm"], **({base.name: means["base"]} if base else {})}, task),
    )


def _layer(
    key: str, shown: Mapping[str, Sequence[RunRecord]], curves: Mapping[str, MeanCurve | None], drawing: _Drawing
) -> Layer:
    x = drawing.scales[key]
    means = [mean for role, runs in shown.items() for mean in [_mean(runs, curves[role], role, key, drawing)] if mean]
    strip = [_sign(run, finding, key, x) for run in shown["arm"] for finding in run.findings]
    return Layer(key, x, _x_ticks(x, key), tuple(means), tuple(strip))


def _sign(run: RunRecord, finding: Finding, key: str, x: Axis) -> Sign:
    """Where the run stood on this axis when the finding first held; at its end where the finding names no step."""
    steps, spent = run.trace.step.astype(np.float64), x_of(run, key)
    step = run.step if finding.step is None else finding.step
    if key == "real":
        at = float(step)
    else:
        known = np.isfinite(spent)
        at = float(np.interp(step, steps[known], spent[known])) if known.any() else x.low
    words = f"{run.name}, {SEVERITIES[finding.severity].word} at step {step:,}: {finding.sentence}"
    return Sign(x.at(at), finding.severity, words)


def _mean(runs: Sequence[RunRecord], curve: MeanCurve | None, role: str, key: str, drawing: _Drawing) -> Mean | None:
    """The mean at equal real steps, drawn at the mean cost of getting there; None while no seed is finished."""
    if curve is None:
        return None
    done = [run for run in runs if run.finished]
    spent = np.mean([x_of(run, key)[np.searchsorted(run.trace.step, curve.step)] for run in done], axis=0)
    if not np.isfinite(spent).all():
        return None
    keep, y = outline(curve.mean, drawing.detail), drawing.y
    across = drawing.scales[key](spent[keep])
    band = ""
    if curve.n >= BAND_SEEDS:
        there, back = _points(across, y(curve.high[keep])), _points(across, y(curve.low[keep]))
        band = "M" + "L".join([*there, *reversed(back)]) + "Z"
    return Mean(role, "M" + "L".join(_points(across, y(curve.mean[keep]))), band, curve.n == 1)


def _points(across: Floats, up: Floats) -> list[str]:
    return [f"{a * SIZE:.1f} {(1 - u) * SIZE:.1f}" for a, u in zip(across, up, strict=True)]


def _from_start(run: RunRecord) -> bool:
    return bool(len(run.trace.step)) and int(run.trace.step[0]) == 0


def _count(runs: Sequence[RunRecord]) -> str:
    done = sum(run.finished for run in runs)
    return some(done, "seed") if done == len(runs) else f"{done} of {some(len(runs), 'seed')}"


def _about(dossier: Dossier, curves: Mapping[str, MeanCurve | None], task: str) -> str:
    unit = Unit(dossier.metric)
    parts = []
    for name, curve in curves.items():
        if curve:
            ends = f"from {unit.value(float(curve.mean[0]))} to {unit.value(float(curve.mean[-1]))}"
            parts.append(f"{name} goes {ends} at step {int(curve.step[-1]):,}, mean of {some(curve.n, 'seed')}")
    return f"{dossier.metric} on {task}: {'; '.join(parts) or 'no finished seed yet'}"
