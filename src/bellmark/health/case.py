"""What the doctor looks at and what it says: the recorded curves of one run, and findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bellmark.config import flatten
from bellmark.records import Curve, Run

Severity = Literal["info", "warning", "critical"]
Kind = Literal["cause", "symptom", "note"]
Flags = NDArray[np.bool_]
Values = NDArray[np.float64]

NOTHING = Curve(np.zeros(0, dtype=np.int64), np.zeros(0))


@dataclass(frozen=True)
class Case:
    """One run as the rules see it; rules read nothing else."""

    family: str
    config: Mapping[str, Any]  # dotted key -> value
    curves: Mapping[str, Curve]
    state: str = "running"

    def curve(self, name: str) -> Curve:
        """A metric; empty where it was not recorded."""
        return self.curves.get(name, NOTHING)

    def first(self, name: str) -> float:
        """A metric's first value; nan where it was not recorded."""
        values = self.curve(name).value
        return float(values[0]) if len(values) else float("nan")

    def knob(self, key: str, default: Any = None) -> Any:
        """A configuration value by its dotted key."""
        return self.config.get(key, default)


def case_of(run: Run) -> Case:
    """A run's record as a case."""
    return Case(run.meta.family, flatten(run.meta.config), run.curves(), run.status.state)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a run, or worth knowing."""

    rule: str  # the rule's stable id
    severity: Severity
    step: int | None  # real environment steps at which it first held; None: the run as a whole
    sentence: str  # what was seen, with its numbers
    cause: str  # the likeliest one
    advice: str  # what to try, where possible as a command; RUN stands for the run's recipe
    evidence: Mapping[str, float] = field(default_factory=dict)  # name -> number that the sentence rests on
    plot: tuple[str, ...] = ()  # metrics to look at


@dataclass(frozen=True)
class Rule:
    """One detector: a pure function of a case, with what it needs to have been recorded."""

    id: str
    severity: Severity  # the gravest it gives
    needs: tuple[str, ...]  # metrics without which it says nothing
    find: Callable[[Case], Finding | None]
    families: tuple[str, ...] = ("tdmpc", "dreamer", "finetune")  # in which it means something
    kind: Kind = "cause"  # a mechanism that is wrong; a symptom that many mechanisms have; a note on the plan

    @property
    def about(self) -> str:
        """Symptom, likely causes and what to try."""
        return (self.find.__doc__ or "").strip()


def onset(condition: Flags, checks: int = 3) -> int | None:
    """The index at which a condition that has held for `checks` in a row, and not cleared since, began.

    It clears when it has been false for twice as many checks in a row, so that one good value does not hide an illness.
    """
    began, held, clear, fired = 0, 0, 0, False
    for index, true in enumerate(condition.tolist()):
        if true:
            if held == 0 and not fired:
                began = index
            held, clear = held + 1, 0
            fired = fired or held >= checks
        else:
            held, clear = 0, clear + 1
            fired = fired and clear < 2 * checks
    return began if fired else None


def running_median(values: Values, width: int) -> Values:
    """Median of each value and the `width - 1` before it (fewer at the start)."""
    return np.array([np.median(values[max(0, i - width + 1) : i + 1]) for i in range(len(values))])


def robust_z(values: Values, against: Values) -> Values:
    """(value - median) / (1.4826 MAD) of a reference; the factor makes it a standard deviation for a Gaussian."""
    middle = float(np.median(against))
    spread = 1.4826 * float(np.median(np.abs(against - middle)))
    return (values - middle) / max(spread, 1e-12 + 1e-6 * abs(middle))


def together(a: Curve, b: Curve) -> tuple[NDArray[np.int64], Values, Values]:
    """The steps at which both metrics were recorded, and their values there."""
    steps, at_a, at_b = np.intersect1d(a.step, b.step, return_indices=True)
    return steps, a.value[at_a], b.value[at_b]


def updates_at(case: Case, steps: NDArray[np.int64]) -> Values:
    """Updates made by then; infinite where they are not recorded."""
    updates = case.curve("steps/updates")
    if not len(updates.value):
        return np.full(len(steps), np.inf)
    return np.interp(steps, updates.step, updates.value)
