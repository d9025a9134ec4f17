"""From run folders to a dossier: by a sweep's plan or, where no question was declared, by what runs have in common."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bellmark.config import diff, fingerprint
from bellmark.errors import UserError, unknown
from bellmark.records import Run
from bellmark.reports import fairness
from bellmark.reports.dossier import ArmRecord, Dossier, RunRecord
from bellmark.reports.shelf import Shelf
from bellmark.sweeps.work import Cell, Plan, PlannedRun

HEADLINES = ("eval/success", "eval/return")  # what runs without a declared metric are looked at by, in this order
DEFAULT_LAST = 3


def collect_plan(plan: Plan, runs: Sequence[Run], source: str = "", shelf: Shelf | None = None) -> Dossier:
    """The dossier of a sweep: every planned run, joined to its record by fingerprint.

    Runs that the plan does not know are named in a caution: the sweep file or a recipe has changed since. With a
    `shelf` of one's own, runs that it holds are not read again.
    """
    sweep, shelf = plan.sweep, shelf or Shelf()
    recorded = {run.meta.fingerprint: run for run in reversed(runs)}  # of two records of one run the first given
    cells = sorted(plan.cells, key=lambda cell: not cell.is_baseline)
    arms = [_planned_arm(cell, plan, recorded, shelf) for cell in cells]
    planned = {run.fingerprint for run in plan.runs}
    strays = sorted({run.name for run in runs if run.meta.fingerprint not in planned})
    dossier = Dossier(
        name=sweep.name,
        sweep=sweep,
        source=source,
        metric=sweep.expect.metric,
        last=sweep.expect.last,
        tasks=plan.tasks,
        arms=tuple(_with_problems(arms)),
    )
    notes = [f"run {name} is not planned by the sweep as its file stands now; left out" for name in strays]
    return replace(dossier, cautions=(*plan.warnings, *notes, *_cautions(dossier)))


def collect_runs(
    runs: Sequence[Run], *, name: str, source: str = "", metric: str | None = None, shelf: Shelf | None = None
) -> Dossier:
    """The dossier of runs without a declared question: grouped by all of their configuration but seed and task.

    Raises:
        UserError: no runs, or none has the metric asked for.
    """
    if not runs:
        raise UserError(f"{source or 'no run named'}: no runs to report on")
    metric, shelf = _headline(runs, metric), shelf or Shelf()
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_likeness(run), []).append(run)
    names = _group_names(list(groups.values()))
    arms = []
    for arm, members in zip(names, groups.values(), strict=True):
        first = members[0].meta
        found = tuple(shelf.record(run, arm, metric) for run in members)
        ordered = tuple(sorted(found, key=lambda r: (r.task, r.seed, r.name)))
        arms.append(ArmRecord(name=arm, recipe=first.recipe, overrides=_general(first.overrides), runs=ordered))
    dossier = Dossier(
        name=name,
        sweep=None,
        source=source,
        metric=metric,
        last=DEFAULT_LAST,
        tasks=tuple(dict.fromkeys(run.task for arm in arms for run in arm.runs)),
        arms=tuple(_against_first(arms)),
    )
    return replace(dossier, cautions=tuple(_cautions(dossier)))


def _planned_arm(cell: Cell, plan: Plan, recorded: Mapping[str, Run], shelf: Shelf) -> ArmRecord:
    metric = plan.sweep.expect.metric
    return ArmRecord(
        name=cell.arm,
        recipe=cell.recipe,
        overrides=cell.overrides,
        is_baseline=cell.is_baseline,
        differs=cell.differs,
        undeclared=cell.undeclared,
        runs=tuple(_planned(run, recorded.get(run.fingerprint), metric, shelf) for run in plan.of(cell)),
    )


def _planned(planned: PlannedRun, run: Run | None, metric: str, shelf: Shelf) -> RunRecord:
    if run is not None:
        return replace(shelf.record(run, planned.arm, metric), task=planned.task, seed=planned.seed)
    return RunRecord(
        name=planned.name,
        arm=planned.arm,
        task=planned.task,
        seed=planned.seed,
        state="new",
        total=planned.steps,
        path=planned.dir,
        fingerprint=planned.fingerprint,
        recipe=planned.resolved.recipe,
        overrides=planned.overrides,
    )


def _with_problems(arms: Sequence[ArmRecord]) -> Iterable[ArmRecord]:
    """Each arm with the undeclared differences of its runs filled in."""
    baseline = next(arm for arm in arms if arm.is_baseline)
    for arm in arms:
        shared = [*fairness.arm_problems(arm), *fairness.within_arm(arm.runs)]
        runs = []
        for run in arm.runs:
            reference = [r for r in baseline.on(run.task) if r.meta]
            runs.append(replace(run, problems=(*shared, *fairness.run_problems(run, reference))))
        yield replace(arm, runs=tuple(runs))


def _cautions(dossier: Dossier) -> list[str]:
    damage = [f"{run.name}: {note}" for run in dossier.runs for note in run.notes]
    return [*fairness.cautions(dossier.runs), *damage]


def _headline(runs: Sequence[Run], metric: str | None) -> str:
    """The metric to look at: the one asked for, else the first headline that most runs have."""
    names: Counter[str] = Counter(name for run in runs for name in run.metric_names())
    if metric is not None:
        if metric not in names and names:
            raise unknown("metric", metric, [n for n in names if n.startswith("eval/")] or list(names))
        return metric
    return max(HEADLINES, key=lambda name: (names[name], -HEADLINES.index(name)))


def _likeness(run: Run) -> str:
    """Equal for runs that repeat one another: the same arm, and the same configuration but for seed and task."""
    rest = {k: v for k, v in run.meta.config.items() if k not in ("seed", "task")}
    return json.dumps([run.meta.arm, run.meta.recipe, fingerprint(rest)])


def _general(overrides: Iterable[str]) -> tuple[str, ...]:
    """Overrides without those that make one run of an arm differ from the next."""
    return tuple(o for o in overrides if o.partition("=")[0].split(".")[0] not in ("seed", "task"))


def _group_names(groups: Sequence[Sequence[Run]]) -> list[str]:
    """A name per group: its arm, else recipe and the overrides that not all have; a number where that is alike."""
    metas = [members[0].meta for members in groups]
    shared = set.intersection(*({*meta.overrides} for meta in metas)) if len(metas) > 1 else set()
    names = [
        meta.arm or " ".join([meta.recipe, *(o for o in _general(meta.overrides) if o not in shared)]) for meta in metas
    ]
    return [f"{n} ({names[:i].count(n) + 1})" if names.count(n) > 1 else n for i, n in enumerate(names)]


def _against_first(arms: Sequence[ArmRecord]) -> Iterable[ArmRecord]:
    """Differences of configuration to the first group, for the table: there is no baseline, so none is undeclared."""
    first: dict[str, Any] = arms[0].runs[0].config
    for arm in arms:
        differs = diff(first, arm.runs[0].config)
        yield replace(arm, differs={k: v for k, v in differs.items() if k.split(".")[0] not in ("seed", "task")})
