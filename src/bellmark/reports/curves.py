"""Panels of learning curves: geometry only, in units that stretch with the page (the template draws them).

Each panel shows one arm against the baseline on one task: every seed a thin line through its evaluations, the mean of
finished seeds a thick one, and from three seeds on a band, the pointwise 95% t interval of that mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bellmark.reports.dossier import ArmRecord, Dossier, RunRecord
from bellmark.reports.numbers import BAND_SEEDS, mean_curve
from bellmark.reports.scales import Axis, Floats, cost_axis, linear, outline, text_of
from bellmark.reports.words import Unit, clock_unit, short, signed, some

SIZE = 1000  # a plot's own width and height; y grows downwards
PAGE_POINTS = 40_000  # over all lines of a page, shared out evenly: a page of a thousand runs must still open
FEWEST_POINTS, MOST_POINTS = 24, 400  # per line; longer curves keep the extremes of every stretch
MOST_DOTS = 60  # evaluations per line up to which each is shown as a dot
MOST_WITH_SEEDS = 8  # panels of a task up to which each shows the baseline's seeds, not its mean alone

Ticks = list[tuple[float, str]]


@dataclass(frozen=True)
class Line:
    """One seed in one layer."""

    run: str
    seed: int
    role: str  # "arm" or "base"
    state: str  # "done", "failed" or "open"
    path: str
    dots: str
    steps: str  # the evaluations of the path's points, as `data-step`
    values: str
    end: tuple[float, float] | None  # where a failed run's curve breaks off, as shares of width and height


@dataclass(frozen=True)
class Mean:
    """The mean of one arm's finished seeds in one layer; `band` is "" below three seeds."""

    role: str
    path: str
    band: str


@dataclass(frozen=True)
class Layer:
    """The panel's curves over one measure of cost."""

    axis: str  # "real", "simulator" or "wall"
    log: bool
    ticks: Ticks
    lines: tuple[Line, ...]
    means: tuple[Mean, ...]


@dataclass(frozen=True)
class Panel:
    """One small multiple."""

    task: str
    arm: str
    baseline: str  # "" where there is none beside the arm
    counts: dict[str, str]  # role -> "3 seeds"
    y_ticks: Ticks
    start: tuple[float, str] | None  # where the untouched start stands
    layers: tuple[Layer, ...]
    about: str  # the picture in words


@dataclass(frozen=True)
class _Drawing:
    """What the panels of a task have in common."""

    y: Axis
    scales: dict[str, Axis]
    detail: int  # points per line
    base_seeds: bool  # whether the baseline's seeds are drawn beside its mean


@dataclass(frozen=True)
class AxisChoice:
    """One measure of cost that the page can show."""

    key: str
    label: str
    title: str


AXES = {
    "real": AxisChoice("real", "real steps", "real environment steps"),
    "simulator": AxisChoice("simulator", "real + branch steps", "simulator steps, real and branch together"),
    "wall": AxisChoice("wall", "wall time", "time spent in all phases of the run"),
}


def axes_of(dossier: Dossier) -> list[AxisChoice]:
    """The measures of cost that at least one run recorded; branch steps only where some were taken."""
    runs = dossier.runs
    shown = ["real"]
    if any(run.cost.branch for run in runs):
        shown.append("simulator")
    if any(run.cost.wall for run in runs):
        shown.append("wall")
    return [AXES[key] for key in shown]


def panels(dossier: Dossier) -> list[list[Panel]]:
    """The panels of each task; axes are shared within a task, so that panels can be compared by eye."""
    shown = dossier.compared or dossier.arms
    drawn = len(dossier.runs) + (len(shown) if len(shown) <= MOST_WITH_SEEDS else 0)
    detail = min(max(PAGE_POINTS // max(drawn, 1), FEWEST_POINTS), MOST_POINTS)
    found = []
    for task in dossier.tasks:
        runs = [run for run in dossier.runs if run.task == task and len(run.trace.step)]
        if not runs:
            continue
        drawing = _Drawing(
            y=_y_axis(runs, Unit(dossier.metric)),
            scales={choice.key: _x_axis(runs, choice.key) for choice in axes_of(dossier)},
            detail=detail,
            base_seeds=len(shown) <= MOST_WITH_SEEDS,
        )
        found.append([_panel(dossier, arm, task, drawing) for arm in shown])
    return found


def x_of(run: RunRecord, axis: str) -> Floats:
    """Where the evaluations of a run stand on an axis."""
    return {"real": run.trace.step.astype(np.float64), "simulator": run.trace.simulator, "wall": run.trace.wall}[axis]


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


def _panel(dossier: Dossier, arm: ArmRecord, task: str, drawing: _Drawing) -> Panel:
    base = dossier.baseline if dossier.baseline is not arm else None
    shown = {"base": base.on(task) if base else (), "arm": arm.on(task)}
    starts = [float(run.trace.value[0]) for runs in shown.values() for run in runs if _from_start(run)]
    unit = Unit(dossier.metric)
    level = float(np.mean(starts)) if starts else math.nan
    return Panel(
        task=task,
        arm=arm.name,
        baseline=base.name if base else "",
        counts={role: _count(runs) for role, runs in shown.items()},
        y_ticks=text_of(drawing.y, lambda v: f"{100 * v:.0f}%" if unit.is_share else signed(short(v))),
        start=(drawing.y.at(level), unit.value(level)) if starts else None,
        layers=tuple(_layer(key, shown, drawing) for key in drawing.scales),
        about=_about(dossier, arm, base, task),
    )


def _layer(key: str, shown: dict[str, tuple[RunRecord, ...]], drawing: _Drawing) -> Layer:
    x = drawing.scales[key]
    lines, means = [], []
    for role, runs in shown.items():
        mean = _mean(runs, role, key, drawing)
        means += [mean] if mean else []
        if role == "arm" or drawing.base_seeds or mean is None:
            lines += [line for run in runs for line in [_line(run, role, key, drawing)] if line.path]
    return Layer(key, x.log, _x_ticks(x, key), tuple(lines), tuple(means))


def _line(run: RunRecord, role: str, key: str, drawing: _Drawing) -> Line:
    spent, value = x_of(run, key), run.trace.value
    keep = [i for i in outline(value, drawing.detail) if np.isfinite(value[i]) and np.isfinite(spent[i])]
    across, up = drawing.scales[key](spent[keep]), drawing.y(value[keep])
    state = "failed" if run.failed else "done" if run.finished else "open"
    return Line(
        run=run.name,
        seed=run.seed,
        role=role,
        state=state,
        path=_path(across, up),
        dots="".join(f"M{at}h0" for at in _points(across, up)) if len(keep) <= MOST_DOTS else "",
        steps=" ".join(str(int(run.trace.step[i])) for i in keep),
        values=" ".join(f"{value[i]:.6g}" for i in keep),
        end=(float(across[-1]), float(up[-1])) if state == "failed" and keep else None,
    )


def _mean(runs: Sequence[RunRecord], role: str, key: str, drawing: _Drawing) -> Mean | None:
    """The mean at equal real steps, drawn at the mean cost of getting there; none for a single seed."""
    curve = mean_curve(runs)
    if curve is None or curve.n < 2:
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
    return Mean(role, _path(across, y(curve.mean[keep])), band)


def _points(across: Floats, up: Floats) -> list[str]:
    return [f"{a * SIZE:.1f} {(1 - u) * SIZE:.1f}" for a, u in zip(across, up, strict=True)]


def _path(across: Floats, up: Floats) -> str:
    return "M" + "L".join(_points(across, up)) if len(across) else ""


def _from_start(run: RunRecord) -> bool:
    return bool(len(run.trace.step)) and int(run.trace.step[0]) == 0


def _count(runs: Sequence[RunRecord]) -> str:
    done = sum(run.finished for run in runs)
    return some(done, "seed") if done == len(runs) else f"{done} of {some(len(runs), 'seed')}"


def _about(dossier: Dossier, arm: ArmRecord, base: ArmRecord | None, task: str) -> str:
    unit = Unit(dossier.metric)
    parts = []
    for side in (arm, base):
        curve = mean_curve(side.on(task)) if side else None
        if side and curve:
            ends = f"from {unit.value(float(curve.mean[0]))} to {unit.value(float(curve.mean[-1]))}"
            parts.append(f"{side.name} goes {ends} at step {int(curve.step[-1]):,}, mean of {some(curve.n, 'seed')}")
    return f"{dossier.metric} on {task}: {'; '.join(parts) or 'no finished seed yet'}"
