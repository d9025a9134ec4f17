"""From a sweep to its runs: what there is to do, what exists already, and what should be looked at before launching."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bellmark.config import diff, flatten, knobs
from bellmark.errors import UserError
from bellmark.records.index import Index, Row
from bellmark.sweeps.cells import Variant, outline
from bellmark.sweeps.cost import Speeds
from bellmark.sweeps.design import refuse_metric, remarks, undeclared
from bellmark.sweeps.names import run_name, value_text
from bellmark.sweeps.overrides import Resolve, Resolved, as_text, in_order, without_dead
from bellmark.sweeps.schema import Settings, Sweep
from bellmark.sweeps.work import Cell, Plan, PlannedRun, some

NAMING = ("name", "task")  # the knob by which a kind of task says which of its tasks is meant
PER_RUN = ("seed", "task")  # keys that differ between the runs of a cell by design


def plan(sweep: Sweep, resolve: Resolve, runs_root: str | Path) -> Plan:
    """Work out every run of a sweep and which of them exist below `runs_root`.

    Raises:
        UserError: a wrong recipe, key or value, with the cell it stands in.
    """
    return _Planner(sweep, resolve, Path(runs_root)).plan()


class _Planner:
    def __init__(self, sweep: Sweep, resolve: Resolve, root: Path) -> None:
        self._sweep, self._resolve, self._root = sweep, resolve, root
        index = Index(root)
        damaged, rows = (index.refresh(), index.rows()) if root.is_dir() else ([], [])
        self._existing, self._speeds = by_fingerprint(rows), Speeds(rows)
        self._warnings = {f"not looked at: {damage.problem}": None for damage in damaged}  # in order, each once
        self._bases: dict[str, Resolved] = {}
        self._dead: Counter[tuple[str, str]] = Counter()
        self._outline = outline(sweep, self._prune)

    def plan(self) -> Plan:
        for (key, choice), times in self._dead.items():
            self._warn(f"{key} has no effect in {some(times, 'cell')}, it belongs to {choice}; left out there")
        baseline, variants = self._outline.baseline, self._outline.variants
        ordered = variants if baseline in variants else (baseline, *variants)
        runs = {v.arm: self._runs(v) for v in ordered}
        self._check_fixed(ordered)
        kept = self._merge(ordered, runs)
        work = [run.fingerprint for run in runs[baseline.arm]]
        base = next(v for v in kept if [run.fingerprint for run in runs[v.arm]] == work)
        if self._dead and kept == [base]:
            missing = "; ".join(f"{key} belongs to {choice}" for key, choice in self._dead)
            raise UserError(f"sweep {self._sweep.name} compares nothing: {missing}, which no cell chooses; set it too")
        cells = tuple(self._cell(v, runs[v.arm], runs[base.arm], v is base) for v in kept)
        planned = tuple(run for v in kept for run in runs[v.arm])
        refuse_metric(self._sweep, planned)
        for remark in remarks(self._sweep, cells, runs):
            self._warn(remark)
        return Plan(self._sweep, cells, planned, tuple(self._warnings), self._root / self._sweep.name)

    def _warn(self, text: str) -> None:
        self._warnings[text] = None

    def _prune(self, variant: Variant) -> Variant:
        base = self._base(variant)
        words = base.config.translate
        live, dead = without_dead(base, words(variant.settings))
        self._dead.update(dead.items())
        return replace(variant, settings=live, swept={k: v for k, v in words(variant.swept).items() if k not in dead})

    def _runs(self, variant: Variant) -> tuple[PlannedRun, ...]:
        base = self._base(variant)
        own = {"steps": variant.swept["steps"]} if "steps" in variant.swept else {}
        settings = {**variant.settings, **({} if self._sweep.steps is None else {"steps": self._sweep.steps}), **own}
        tasks = [_task_settings(task, base) for task in self._outline.tasks] or [{}]
        return tuple(
            self._run(variant, {**settings, **task, "seed": seed}) for task in tasks for seed in self._sweep.seeds
        )

    def _run(self, variant: Variant, settings: Mapping[str, Any]) -> PlannedRun:
        overrides = tuple(as_text(key, value) for key, value in in_order(settings))
        try:
            resolved = self._resolve(variant.recipe, overrides)
        except UserError as error:
            raise UserError(f"sweep {self._sweep.name}, cell {variant.arm}: {error}") from None
        row = self._existing.get(resolved.fingerprint)
        seed = int(settings["seed"])
        name = run_name(resolved.recipe, self._telling(variant, settings), seed, resolved.fingerprint)
        step, task = row.status.step if row else 0, task_name(resolved.tree)
        left = int(resolved.tree.get("steps", 0)) - step
        return PlannedRun(
            name=row.meta.name if row else name,
            dir=row.path if row else self._root / self._sweep.name / name,
            arm=variant.arm,
            task=task,
            seed=seed,
            overrides=overrides,
            resolved=resolved,
            exists=row is not None,
            state=row.status.state if row else "new",
            step=step,
            sweep=(row.meta.sweep or row.meta.group) if row else "",
            seconds=self._speeds.seconds(resolved.tree, resolved.recipe, task, left),
        )

    def _telling(self, variant: Variant, settings: Mapping[str, Any]) -> list[str]:
        """The overrides that a name should show: those that depart from the recipe, the swept ones first."""
        recipe = flatten(self._base(variant).tree)
        ordered = {**{k: settings[k] for k in variant.swept if k in settings}, **settings}
        return [as_text(key, value) for key, value in ordered.items() if recipe.get(key) != value]

    def _base(self, variant: Variant) -> Resolved:
        if variant.recipe not in self._bases:
            try:
                self._bases[variant.recipe] = self._resolve(variant.recipe, ())
            except UserError as error:
                where = f", cell {variant.arm}" if variant.arm else ""
                raise UserError(f"sweep {self._sweep.name}{where}: {error}") from None
        return self._bases[variant.recipe]

    def _merge(self, variants: Sequence[Variant], runs: Mapping[str, tuple[PlannedRun, ...]]) -> list[Variant]:
        """The variants without those whose runs another one has already; a cell is kept before an unlisted baseline."""
        listed = [v for v in variants if v in self._outline.variants]
        first: dict[tuple[str, ...], Variant] = {}
        for variant in (*listed, *variants):
            first.setdefault(tuple(run.fingerprint for run in runs[variant.arm]), variant)
        kept = [v for v in variants if v in first.values()]
        for variant in variants:
            twin = first[tuple(run.fingerprint for run in runs[variant.arm])]
            if variant in listed and twin is not variant:
                self._warn(f"cells {twin.arm} and {variant.arm} are the same configuration; run once")
            elif twin is not variant:
                self._warn(f"cell {twin.arm} is the baseline: its runs are run once and count as both")
        return kept

    def _cell(
        self, variant: Variant, runs: Sequence[PlannedRun], baseline: Sequence[PlannedRun], is_base: bool
    ) -> Cell:
        changed = diff(baseline[0].resolved.tree, runs[0].resolved.tree)
        differs = {k: v for k, v in changed.items() if k != "seed"}
        declared = {*variant.swept, *self._base(variant).config.translate(self._sweep.set)}
        own = [o for o in runs[0].overrides if o.partition("=")[0].split(".")[0] not in PER_RUN]
        return Cell(
            arm=variant.arm,
            recipe=variant.recipe,
            overrides=tuple(own),
            is_baseline=is_base,
            listed=variant in self._outline.variants,
            swept=variant.swept,
            differs=differs,
            whole=variant.whole,
            undeclared=undeclared(differs, declared, whole=variant.whole),
        )

    def _check_fixed(self, variants: Sequence[Variant]) -> None:
        """Warn about a key under `set` that changes nothing in any cell."""
        changes: dict[tuple[str, str], bool] = {}
        for variant in variants:
            live = variant.settings
            full = self._resolve_or_none(variant.recipe, live)
            for key in self._base(variant).config.translate(self._sweep.set).keys() & live.keys():
                less = self._resolve_or_none(variant.recipe, {k: v for k, v in live.items() if k != key})
                changed = full is None or less is None or full.fingerprint != less.fingerprint
                setting = key, value_text(live[key])
                changes[setting] = changes.get(setting, False) or changed
        recipes = " and ".join(dict.fromkeys(variant.recipe for variant in variants))
        for (key, value), changed in changes.items():
            if not changed:
                self._warn(f"set {key}={value} changes nothing: recipe {recipes} has that value already")

    def _resolve_or_none(self, recipe: str, settings: Mapping[str, Any]) -> Resolved | None:
        try:
            return self._resolve(recipe, [as_text(k, v) for k, v in in_order(settings)])
        except UserError:
            return None


def task_name(tree: Mapping[str, Any]) -> str:
    """What a run's task is called: its name where the kind has several, else the kind."""
    task = tree.get("task", "")
    if not isinstance(task, Mapping):
        return str(task)
    return next((str(task[key]) for key in NAMING if task.get(key)), str(task.get("kind", "")))


def _task_settings(task: str | Settings, base: Resolved) -> dict[str, Any]:
    """The settings that choose a task: nothing where the recipe has it, else its kind, or its name within the kind."""
    own = base.tree.get("task", {})
    if isinstance(task, Mapping):
        kind = {"task": task["kind"]} if task.get("kind", own.get("kind")) != own.get("kind") else {}
        return {**kind, **{f"task.{key}": value for key, value in task.items() if key != "kind"}}
    naming = next((key for key in NAMING if key in own), "")
    if task in (own.get("kind"), own.get(naming)):
        return {}
    kinds = next((k.options for k in knobs(type(base.config)) if k.path == "task"), ())
    return {f"task.{naming}": task} if naming and task not in kinds else {"task": task}


def by_fingerprint(rows: Sequence[Row]) -> dict[str, Row]:
    """The run to share for each fingerprint: a finished one before a living one, then the one that got furthest."""
    order = {"done": 2, "running": 1}
    found: dict[str, Row] = {}
    for row in sorted(rows, key=lambda r: (order.get(r.status.state, 0), r.status.step)):
        found[row.meta.fingerprint] = row
    return found
