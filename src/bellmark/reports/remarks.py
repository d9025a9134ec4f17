"""Notes that write themselves: facts a reader would look up in the records, with their numbers, not interpreted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from bellmark.reports.dossier import ArmRecord, Dossier
from bellmark.reports.effects import effect_unit
from bellmark.reports.numbers import episodes_interval, mean_of, spread
from bellmark.reports.words import Unit, count, duration, some
from bellmark.stats import Verdict

FELL = 0.05  # share of the range between start and peak by which a curve has come down before that is worth a note
SAMPLED = "_sampled"


def remarks(dossier: Dossier, verdicts: Sequence[Verdict]) -> list[str]:
    """One line each; the order is that of the page."""
    found: list[str] = []
    for verdict in verdicts:
        found += _of_verdict(dossier, verdict)
    found += _start(dossier)
    for arm in dossier.arms:
        found += [*_came_down(dossier, arm), *_sampled_gap(dossier, arm), *_work(arm)]
    return found


def _of_verdict(dossier: Dossier, verdict: Verdict) -> Iterator[str]:
    unit = effect_unit(dossier)
    if verdict.noise_floor is not None and verdict.estimate is not None:
        inside = "inside" if verdict.noise_explains else "outside"
        floor = unit.difference(verdict.noise_floor).lstrip("+")
        yield (
            f"{verdict.arm}: two equal policies would differ by up to {floor} from evaluation episodes alone "
            f"(95%); the effect of {unit.difference(verdict.estimate)} lies {inside} that"
        )
    if verdict.kind not in ("invalid", "pending"):
        yield from (f"{verdict.arm}: {problem}" for problem in verdict.problems)


def _start(dossier: Dossier) -> Iterator[str]:
    unit = Unit(dossier.metric)
    for task in dossier.tasks:
        runs = [r for r in dossier.runs if r.task == task and len(r.trace.step) and r.trace.step[0] == 0]
        if not runs:
            continue
        values = [float(run.trace.value[0]) for run in runs]
        where = f" on {task}" if len(dossier.tasks) > 1 else ""
        if max(values) - min(values) < 1e-9:
            interval = episodes_interval(runs[0], 0) if unit.is_share else None
            within = f", {interval[1]} episodes, 95% interval {unit.interval(*interval[0][1:])}" if interval else ""
            yield f"all {some(len(runs), 'run')}{where} start at {unit.value(values[0])}{within}"
        else:
            yield f"runs{where} start between {unit.value(min(values))} and {unit.value(max(values))}"


def _came_down(dossier: Dossier, arm: ArmRecord) -> Iterator[str]:
    """Where the last evaluation lies well below the best: a peak alone would flatter it."""
    unit = Unit(dossier.metric)
    direction = dossier.sweep.expect.direction if dossier.sweep else "increase"
    for task in dossier.tasks:
        best, last = (spread(arm.on(task), s, dossier.last, direction) for s in ("peak", "final"))
        if not best.n:
            continue
        start = mean_of([float(r.run.trace.value[0]) for r in best.readings]).estimate
        gained, lost = best.interval.estimate - start, best.interval.estimate - last.interval.estimate
        if abs(lost) > FELL * abs(gained) and abs(gained) > 0:
            where = f" on {task}" if len(dossier.tasks) > 1 else ""
            yield (
                f"{arm.name}{where}: ends at {unit.value(last.interval.estimate)} after a peak of "
                f"{unit.value(best.interval.estimate)} (means of {some(best.n, 'seed')})"
            )


def _sampled_gap(dossier: Dossier, arm: ArmRecord) -> Iterator[str]:
    """The same policy with its own action noise: a deterministic evaluation does not show what that costs."""
    unit, name = Unit(dossier.metric), dossier.metric + SAMPLED
    done = [r for r in arm.runs if r.finished and name in r.others and len(r.others[name].value)]
    if done:
        plain = float(np.mean([r.trace.value[-1] for r in done]))
        sampled = float(np.mean([r.others[name].value[-1] for r in done]))
        ends = f"{unit.value(plain)} with deterministic actions, {unit.value(sampled)} with sampled ones"
        yield f"{arm.name}: ends at {ends}"


def _work(arm: ArmRecord) -> Iterator[str]:
    done = [run for run in arm.runs if run.finished]
    branch = [run.cost.branch / run.cost.real for run in done if run.cost.branch and run.cost.real]
    gathered = [run.cost.gathered for run in done if run.cost.gathered]
    wall = [run.cost.wall for run in done if run.cost.wall]
    if gathered:
        yield f"{arm.name}: {count(float(np.mean(gathered)))} steps of stored policies, beside its real ones"
    if branch:
        yield f"{arm.name}: {count(float(np.mean(branch)))} branch simulator steps per real step"
    if wall and math.isfinite(sum(wall)):
        yield f"{arm.name}: {duration(float(np.mean(wall)))} per run, mean of {some(len(wall), 'finished run')}"
