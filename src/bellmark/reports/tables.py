"""The tables of a report, as data: each cell's text with the runs and steps it was read from."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bellmark.config import flatten
from bellmark.reports.dossier import ArmRecord, Dossier, RunRecord
from bellmark.reports.numbers import Reading, Spread, episodes_interval, mean_of, spread
from bellmark.reports.scales import thin
from bellmark.reports.words import DASH, Unit, count, duration
from bellmark.stats import Verdict
from bellmark.stats.claim import SUMMARIES
from bellmark.stats.intervals import Interval, wilson
from bellmark.sweeps.names import value_text

STEPS = {"real": "real", "branch": "branch", "gathered": "gathered", "evaluated": "evaluation"}  # kind -> as written
MOST_EVALUATIONS = 40  # columns of the table of evaluations; longer runs are thinned, first and last kept


class Cell(NamedTuple):
    """A number as written, and where it comes from."""

    text: str
    detail: str = ""  # interval and n
    runs: str = ""  # names, for `data-run`
    steps: str = ""  # for `data-step`
    best: bool = False


@dataclass(frozen=True)
class SummaryRow:
    """One arm on one task: the three summaries, each with its seeds."""

    arm: ArmRecord
    task: str
    done: int
    spreads: dict[str, Spread]
    cells: dict[str, Cell]
    seeds: dict[str, list[Cell]]  # one number per seed, Wilson's interval of its episodes where there is one


@dataclass(frozen=True)
class EvaluationRow:
    """One run, or the mean of an arm, at every evaluation."""

    label: str
    is_mean: bool
    run: RunRecord | None
    runs: str  # names, for `data-run` of the whole row
    cells: tuple[Cell, ...]
    peak: Cell


@dataclass(frozen=True)
class EvaluationTable:
    """Every evaluation of a task's runs."""

    task: str
    steps: tuple[int, ...]
    rows: tuple[EvaluationRow, ...]
    left_out: int  # evaluations between those shown


def summaries(dossier: Dossier) -> list[SummaryRow]:
    """Final, peak and last-K mean of every arm on every task."""
    direction = dossier.sweep.expect.direction if dossier.sweep else "increase"
    rows = []
    for task in dossier.tasks:
        for arm in dossier.arms:
            runs = arm.on(task)
            spreads: dict[str, Spread] = {name: spread(runs, name, dossier.last, direction) for name in SUMMARIES}
            rows.append(
                SummaryRow(
                    arm=arm,
                    task=task,
                    done=sum(run.finished for run in runs),
                    spreads=spreads,
                    cells={name: _mean_cell(found, Unit(dossier.metric)) for name, found in spreads.items()},
                    seeds={name: [_seed_cell(r, dossier, name) for r in s.readings] for name, s in spreads.items()},
                )
            )
    return rows


def _mean_cell(found: Spread, unit: Unit) -> Cell:
    if not found.n:
        return Cell(DASH, "no finished seed")
    detail = f"n = {found.n}"
    if found.n > 1:
        detail = f"{unit.interval(found.interval.low, found.interval.high)} t, n = {found.n}"
    return Cell(unit.value(found.interval.estimate), detail, found.runs, found.steps)


def _seed_cell(reading: Reading, dossier: Dossier, summary: str) -> Cell:
    unit = Unit(dossier.metric)
    detail = f"seed {reading.run.seed}, {_evaluations(reading)}"
    if unit.is_share and summary == "final":
        found = episodes_interval(reading.run)
        detail += f"; Wilson {unit.interval(*found[0][1:])}, n = {found[1]} episodes" if found else ""
    return Cell(unit.value(reading.value), detail, reading.run.name, reading.at)


def _evaluations(reading: Reading) -> str:
    if len(reading.steps) == 1:
        return f"step {reading.steps[0]:,}"
    return f"steps {reading.steps[0]:,} to {reading.steps[-1]:,}"


def evaluations(dossier: Dossier, *, most: int = MOST_EVALUATIONS, seeds: bool = True) -> list[EvaluationTable]:
    """Per task a row for every run that was evaluated, below the mean of its arm where several seeds are done.

    Without `seeds`, of an arm with several finished seeds the mean alone.
    """
    tables = []
    for task in dossier.tasks:
        runs = [run for run in dossier.runs if run.task == task and len(run.trace.step)]
        if not runs:
            continue
        every = np.unique(np.concatenate([run.trace.step for run in runs])).tolist()
        steps = tuple(every[i] for i in thin(len(every), most))
        rows = tuple(row for arm in dossier.arms for row in _arm_rows(arm, task, steps, dossier, seeds))
        tables.append(EvaluationTable(task, steps, rows, len(every) - len(steps)))
    return tables


def _arm_rows(
    arm: ArmRecord, task: str, steps: Sequence[int], dossier: Dossier, seeds: bool
) -> Iterator[EvaluationRow]:
    unit = Unit(dossier.metric)
    direction = dossier.sweep.expect.direction if dossier.sweep else "increase"
    runs = [run for run in arm.on(task) if len(run.trace.step)]
    done = [run for run in runs if run.finished]
    if len(done) > 1:
        best = spread(done, "peak", dossier.last, direction)
        cells = tuple(_mean_at(done, step, unit) for step in steps)
        yield EvaluationRow(f"{arm.name}, mean of {len(done)}", True, None, best.runs, cells, _mean_cell(best, unit))
    for run in runs if seeds or len(done) <= 1 else ():
        values = dict(zip(map(int, run.trace.step), map(float, run.trace.value), strict=True))
        finite = [v for v in values.values() if math.isfinite(v)]
        extreme = (max(finite) if direction == "increase" else min(finite)) if finite else math.nan
        at = next((s for s, v in values.items() if v == extreme), 0)
        yield EvaluationRow(
            label=f"{arm.name}, seed {run.seed}",
            is_mean=False,
            run=run,
            runs=run.name,
            cells=tuple(
                Cell(unit.value(values[s]), "", run.name, str(s), best=s == at) if s in values else Cell("")
                for s in steps
            ),
            peak=Cell(unit.value(extreme), f"step {at:,}", run.name, str(at)),
        )


def _mean_at(runs: Sequence[RunRecord], step: int, unit: Unit) -> Cell:
    """The mean at a step at which every run was evaluated; empty elsewhere, as a mean of fewer would mislead."""
    found = [float(run.trace.value[run.trace.step == step][0]) for run in runs if (run.trace.step == step).any()]
    if len(found) < len(runs):
        return Cell("")
    return Cell(unit.value(mean_of(found).estimate), "", " ".join(run.name for run in runs), str(step))


@dataclass(frozen=True)
class OtherRow:
    """Evaluation metrics besides the primary one, at the end of training."""

    arm: str
    task: str
    cells: tuple[Cell, ...]


def others(dossier: Dossier) -> tuple[list[str], list[OtherRow]]:
    """(metrics, rows): the last values of all other evaluation metrics, means over finished seeds; not judged."""
    names = sorted({name for run in dossier.runs if run.finished for name in run.others})
    rows = []
    for task in dossier.tasks:
        for arm in dossier.arms:
            done = [run for run in arm.on(task) if run.finished]
            if done:
                rows.append(OtherRow(arm.name, task, tuple(_last_of(done, name) for name in names)))
    return names, rows


def _last_of(runs: Sequence[RunRecord], name: str) -> Cell:
    found = [run for run in runs if name in run.others and len(run.others[name].value)]
    if not found:
        return Cell(DASH)
    mean = float(np.mean([run.others[name].value[-1] for run in found]))
    last = " ".join(dict.fromkeys(str(int(run.others[name].step[-1])) for run in found))
    return Cell(Unit(name).value(mean), f"n = {len(found)}", " ".join(run.name for run in found), last)


@dataclass(frozen=True)
class CostRow:
    """What an arm's runs have spent, per run."""

    arm: str
    runs: int
    steps: dict[str, Cell]  # control steps by what they were for; the same kinds in every row
    phases: dict[str, Cell]
    wall: Cell
    whole: Cell  # all runs of the arm together


def costs(dossier: Dossier) -> tuple[list[str], list[CostRow]]:
    """(phases, rows): means over the arm's runs that were started, and the arm's sum of wall time."""
    started = [run for run in dossier.runs if run.cost.real is not None or run.cost.seconds]
    phases = list(dict.fromkeys(phase for run in started for phase in run.cost.seconds))
    order = ("collect", "critic", "estimate", "update", "evaluate")
    kinds = [kind for kind in STEPS if any(getattr(run.cost, kind) for run in started)]
    phases.sort(key=lambda p: (order.index(p) if p in order else len(order), p))
    rows = []
    for arm in dossier.arms:
        runs = [run for run in arm.runs if run in started]
        if not runs:
            continue
        names = " ".join(run.name for run in runs)
        wall = [run.cost.wall for run in runs if run.cost.wall is not None]
        rows.append(
            CostRow(
                arm=arm.name,
                runs=len(runs),
                steps={STEPS[k]: Cell(count(_mean([getattr(r.cost, k) for r in runs])), "", names) for k in kinds},
                phases={p: Cell(duration(_mean([r.cost.seconds.get(p) for r in runs])), "", names) for p in phases},
                wall=Cell(duration(_mean(wall)), "", names),
                whole=Cell(duration(sum(wall)) if wall else DASH, "", names),
            )
        )
    return phases, rows


def learning(dossier: Dossier) -> tuple[list[str], list[tuple[ArmRecord, dict[str, Cell]]]]:
    """(metrics, rows): what the updates of each arm's runs reported, means over rows, then over runs."""
    told = [run for run in dossier.runs if run.learning]
    names = sorted({name for run in told for name in run.learning})
    rows = []
    for arm in dossier.arms:
        runs = [run for run in arm.runs if run in told]
        cells = {name: [run for run in runs if name in run.learning] for name in names}
        texts = {n: f"{_mean([r.learning[n] for r in having]):.3g}" if having else DASH for n, having in cells.items()}
        if runs:
            rows.append((arm, {n: Cell(texts[n], "", " ".join(r.name for r in cells[n])) for n in names}))
    return names, rows


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else math.nan


class Setting(NamedTuple):
    """One key of the configuration table."""

    key: str
    values: tuple[tuple[str, str], ...]  # per arm: (text, "same" | "declared" | "undeclared")


def differing_settings(dossier: Dossier) -> list[Setting]:
    """Keys in which some arm differs from the baseline (without one: from the first arm), with every arm's value."""
    keys = list(dict.fromkeys(key for arm in dossier.arms for key in arm.differs))
    roots = [key.split(".")[0] for key in keys]
    rows = []
    for key in sorted(keys, key=lambda k: roots.index(k.split(".")[0])):
        before = next(arm.differs[key][0] for arm in dossier.arms if key in arm.differs)
        cells = []
        for arm in dossier.arms:
            mark = "same" if key not in arm.differs else "undeclared" if key in arm.undeclared else "declared"
            cells.append((setting_text(arm.differs[key][1] if key in arm.differs else before), mark))
        rows.append(Setting(key, tuple(cells)))
    return rows


def shared_settings(dossier: Dossier) -> list[tuple[str, str]]:
    """Every knob that has one value in all recorded runs, leaving out the seed."""
    trees = [flatten(run.config) for run in dossier.runs if run.meta]
    if not trees:
        return []
    first, rest = trees[0], trees[1:]
    same = {k: v for k, v in first.items() if k != "seed" and all(k in t and t[k] == v for t in rest)}
    return [(key, setting_text(value)) for key, value in same.items()]


def setting_text(value: Any) -> str:
    """A knob's value; an absent one as a dash."""
    return DASH if value is None else f"{value:,}" if type(value) is int else value_text(value)


class FailedArm(NamedTuple):
    """How many of an arm's seeds failed, with Wilson's interval, and which."""

    arm: str
    k: int
    n: int
    interval: Interval
    runs: tuple[RunRecord, ...]


def failures(dossier: Dossier) -> list[FailedArm]:
    """One entry per arm when any arm has a failed seed, so that the shares stand side by side; else none."""
    if not any(run.failed for run in dossier.runs):
        return []
    found = []
    for arm in dossier.arms:
        failed = tuple(run for run in arm.runs if run.failed)
        found.append(FailedArm(arm.name, len(failed), len(arm.runs), wilson(len(failed), len(arm.runs)), failed))
    return found


def train_command(run: RunRecord) -> str:
    """What repeats one run from nothing."""
    return command_of(run.recipe, run.overrides)


def command_of(recipe: str, overrides: Sequence[str]) -> str:
    """The command that trains a recipe with overrides."""
    return shlex.join(["bellmark", "train", recipe, *overrides])


def verdict_of(verdicts: Sequence[Verdict], arm: ArmRecord) -> Verdict | None:
    """The verdict on an arm; None for the baseline and where nothing was declared."""
    return next((verdict for verdict in verdicts if verdict.arm == arm.name), None)
