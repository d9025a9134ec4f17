"""What a report is made of: runs as their records tell them, grouped in arms, with every number traceable to a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bellmark.records import Attempt, Curve, RunMeta
from bellmark.reports.findings import Finding
from bellmark.sweeps.schema import Sweep

FAILED = ("failed", "stopped")  # as the verdict counts them: every other unfinished state can still be continued


class Trace(NamedTuple):
    """The primary metric of one run at its k evaluations, along three measures of what it cost to get there."""

    step: NDArray[np.int64]  # (k,) real environment steps
    value: NDArray[np.float64]  # (k,)
    simulator: NDArray[np.float64]  # (k,) real, branch and gathered steps together; NaN where unknown
    wall: NDArray[np.float64]  # (k,) seconds of work until the evaluation was over; NaN where unknown
    episodes: NDArray[np.float64]  # (k,) episodes behind the value; NaN where unknown


EMPTY = Trace(np.zeros(0, dtype=np.int64), *(np.zeros(0) for _ in range(4)))


@dataclass(frozen=True)
class Cost:
    """What a run has spent so far; a counter that its record does not hold is None."""

    real: float | None = None
    branch: float | None = None  # re-rollouts
    gathered: float | None = None  # stored policies: offline data, what critics learn from
    evaluated: float | None = None  # all evaluations together
    seconds: Mapping[str, float] = field(default_factory=dict)  # phase -> seconds, superseded work left out

    @property
    def wall(self) -> float | None:
        """Seconds in all phases."""
        return sum(self.seconds.values()) if self.seconds else None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run: planned, on its way, finished or failed."""

    name: str
    arm: str
    task: str
    seed: int
    state: str  # "new" where there is no record yet, else the record's state
    step: int = 0
    total: int = 0
    reason: str = ""
    path: Path
    fingerprint: str
    recipe: str
    overrides: tuple[str, ...]
    meta: RunMeta | None = None
    attempts: tuple[Attempt, ...] = ()  # those whose work stands; none in records from before they signed
    codes: tuple[str, ...] = ()  # commits, each with the checksum of changes that matter; several: it was carried on
    trace: Trace = EMPTY
    others: Mapping[str, Curve] = field(default_factory=dict)  # evaluation metrics besides the primary one
    cost: Cost = Cost()
    learning: Mapping[str, float] = field(default_factory=dict)  # what updates report, means over all rows
    notes: tuple[str, ...] = ()  # damage of the record that was read around
    problems: tuple[str, ...] = ()  # undeclared differences to the baseline
    findings: tuple[Finding, ...] = ()  # what a diagnosis says, in order of step

    @property
    def finished(self) -> bool:
        """Done, with at least one evaluation, all of them numbers."""
        return self.state == "done" and len(self.trace.step) > 0 and not self.failed

    @property
    def failed(self) -> bool:
        """Ended without its result, or with an evaluation that is not a number."""
        return self.state in FAILED or (self.state == "done" and not np.all(np.isfinite(self.trace.value)))

    @property
    def makers(self) -> tuple[Attempt | RunMeta, ...]:
        """What has host, device and libraries: attempts, and the plan for work from before these signed."""
        planned = (self.meta,) if self.meta else ()
        return self.attempts if self.attempts and self.attempts[0].resumed_from is None else (*planned, *self.attempts)

    @property
    def code(self) -> str:
        """All the code that made it, in a few words."""
        return " then ".join(self.codes)

    @property
    def config(self) -> dict[str, Any]:
        """The resolved tree; empty where there is no record."""
        return self.meta.config if self.meta else {}


@dataclass(frozen=True, kw_only=True)
class ArmRecord:
    """One cell of a sweep, or one group of runs that differ in seed and task only."""

    name: str
    recipe: str
    overrides: tuple[str, ...]
    runs: tuple[RunRecord, ...]
    is_baseline: bool = False
    differs: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)  # dotted key -> (baseline, here)
    undeclared: tuple[str, ...] = ()  # keys of `differs` that nobody declared

    def on(self, task: str) -> tuple[RunRecord, ...]:
        """The runs on one task, in order of seed."""
        return tuple(run for run in self.runs if run.task == task)


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """All that a report says comes from here."""

    name: str
    sweep: Sweep | None  # None: runs without a declared question
    source: str  # the sweep file or folder as the user named it
    metric: str
    last: int  # evaluations in the last-K mean
    tasks: tuple[str, ...]
    arms: tuple[ArmRecord, ...]
    cautions: tuple[str, ...] = ()  # what a reader should know though it makes no comparison invalid

    @property
    def baseline(self) -> ArmRecord | None:
        """The arm the others are compared with, where one was declared."""
        return next((arm for arm in self.arms if arm.is_baseline), None)

    @property
    def compared(self) -> tuple[ArmRecord, ...]:
        """The arms that are not the baseline."""
        return tuple(arm for arm in self.arms if not arm.is_baseline)

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """Every run, by arm."""
        return tuple(run for arm in self.arms for run in arm.runs)
