"""What a sweep comes to: its cells, its runs, and how many of them are still to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bellmark.records import Run
from bellmark.sweeps.overrides import Resolved
from bellmark.sweeps.schema import Sweep

OPEN = ("new", "pending", "preempted", "lost")  # states that a launch carries on with
ENDED = ("failed", "stopped")  # results too, if sad ones: carried on with only when asked


@dataclass(frozen=True)
class Cell:
    """One arm of the sweep."""

    arm: str
    recipe: str
    overrides: tuple[str, ...]  # on the recipe, without task and seed
    is_baseline: bool
    listed: bool  # written in the sweep file; False for a baseline that is no cell of it
    swept: dict[str, Any]
    differs: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # dotted key -> (baseline, here)
    undeclared: tuple[str, ...] = ()  # keys of `differs` that are neither swept nor under `set`
    whole: bool = False  # a recipe of its own: all of `differs` is declared

    @property
    def place(self) -> dict[str, Any]:
        """What a record stores under `cell`: the swept keys, and the recipe where the cell is one of its own."""
        return {"recipe": self.recipe, **self.swept} if self.whole else dict(self.swept)


@dataclass(frozen=True)
class PlannedRun:
    """One run: a cell on a task with a seed."""

    name: str
    dir: Path  # where it is, or will be
    arm: str
    task: str
    seed: int
    overrides: tuple[str, ...]
    resolved: Resolved
    exists: bool
    state: str  # "new", or the state of the run that exists
    step: int = 0
    sweep: str = ""  # the sweep whose folder holds it, when it exists
    seconds: float | None = None  # that it will still take, judged by earlier runs

    @property
    def fingerprint(self) -> str:
        """Equal fingerprints are the same work."""
        return self.resolved.fingerprint

    @property
    def steps(self) -> int:
        """Length asked for, in real environment steps."""
        return int(self.resolved.tree.get("steps", 0))


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep, each exactly once."""

    sweep: Sweep
    cells: tuple[Cell, ...]  # the baseline first when it is no cell of the file
    runs: tuple[PlannedRun, ...]
    warnings: tuple[str, ...]
    home: Path  # the folder of the sweep's own runs

    @property
    def baseline(self) -> Cell:
        """The cell the others are compared with."""
        return next(cell for cell in self.cells if cell.is_baseline)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names in order."""
        return tuple(dict.fromkeys(run.task for run in self.runs))

    def of(self, cell: Cell) -> tuple[PlannedRun, ...]:
        """The runs of one cell."""
        return tuple(run for run in self.runs if run.arm == cell.arm)

    def results(self) -> list[Run]:
        """The runs that exist, wherever they were made."""
        return [Run(run.dir) for run in self.runs if (run.dir / "run.json").exists()]

    def to_run(self, *, retry_failed: bool = False) -> tuple[PlannedRun, ...]:
        """What is missing; failed runs, and those the doctor stopped, are results: they count only when asked."""
        states = (*OPEN, *ENDED) if retry_failed else OPEN
        return tuple(run for run in self.runs if run.state in states)

    def cost(self, workers: int, *, retry_failed: bool = False) -> str:
        """`about 12 min with 2 workers`, as far as earlier runs allow to say; "" where they do not."""
        missing = self.to_run(retry_failed=retry_failed)
        known = [run.seconds for run in missing if run.seconds is not None]
        if not known:
            return ""
        whole = sum(known) / len(known) * len(missing)
        longest = max(known)
        how = "" if len(known) == len(missing) else f", from {len(known)} of {len(missing)} runs whose speed is known"
        return f"about {duration(max(longest, whole / workers))} with {some(workers, 'worker')}{how}"

    def count(self) -> str:
        """`2 configs x 3 seeds x 1 task = 6 runs`, and what the baseline adds when it is no cell of the sweep."""
        listed = [cell for cell in self.cells if cell.listed]
        seeds, tasks = len(self.sweep.seeds), len(self.tasks)
        factors = f"{some(len(listed), 'config')} x {some(seeds, 'seed')} x {some(tasks, 'task')}"
        extra = len(self.runs) - len(listed) * seeds * tasks
        return f"{factors} = {some(len(listed) * seeds * tasks, 'run')}" + (
            f", and {some(extra, 'run')} of the baseline {self.baseline.arm}" if extra else ""
        )


def duration(seconds: float) -> str:
    """A length of time in the unit that suits it."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def some(n: int, what: str) -> str:
    """A number and a noun: `1 run`, `3 runs`."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
