"""Evaluation curves to one number per seed: alignment on one schedule, then final, last-K mean or peak at equal k."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bellmark.stats.claim import FloatArray, SeedResult, Summary

# Loops that collect in batches stop a few steps past the budget; beyond this share it is another budget.
BUDGET_TOLERANCE = 0.02


class ScheduleError(ValueError):
    """Curves that cannot be compared: other budgets, or evaluations at other times. The message is for the report."""


@dataclass(frozen=True)
class Aligned:
    """Curves on one schedule: `steps` (k,), `values` (n, k) in the order given, `notes` on what aligning took."""

    steps: NDArray[np.int64]
    values: FloatArray
    notes: tuple[str, ...] = ()


def evaluation_counts(seeds: Sequence[SeedResult]) -> tuple[int, ...]:
    """The numbers of evaluations found, ascending; with more than one, peaks are not comparable as they are."""
    return tuple(sorted({seed.values.size for seed in seeds}))


def align(seeds: Sequence[SeedResult]) -> Aligned:
    """Bring finished seeds onto the sparsest schedule among them, taking each curve's nearest evaluation.

    So every seed enters with the same number of evaluations k over the same stretch of training: a peak over more
    evaluations is higher by luck alone, and a mean of the last K would reach back further on the sparser schedule.

    Raises ScheduleError when last evaluations differ by more than 2% (another budget), or when some evaluation of the
    sparsest schedule has no partner of its own within half a spacing.
    """
    last = [int(seed.steps[-1]) for seed in seeds]
    if max(last) - min(last) > BUDGET_TOLERANCE * max(last):
        raise ScheduleError(f"unequal budgets: the last evaluation lies between step {min(last):,} and {max(last):,}")
    sparsest = min(seeds, key=lambda seed: seed.values.size).steps
    rows = [seed.values[_nearest(seed.steps, sparsest)] for seed in seeds]
    counts = evaluation_counts(seeds)
    notes: tuple[str, ...] = ()
    if len(counts) > 1:
        listed = ", ".join(str(k) for k in counts)
        notes = (f"unequal numbers of evaluations ({listed}): all curves thinned to {counts[0]} before any summary",)
    return Aligned(sparsest, np.stack(rows), notes)


def _nearest(steps: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices into `steps` of the evaluations nearest to `wanted`, each used once."""
    if np.array_equal(steps, wanted):
        return np.arange(steps.size)
    indices = np.abs(steps[None, :] - wanted[:, None]).argmin(axis=1)
    spacing = np.diff(wanted).min() if wanted.size > 1 else max(int(wanted[0]), 1)
    distance = np.abs(steps[indices] - wanted)
    if np.unique(indices).size < indices.size or np.any(distance > spacing / 2):
        worst = int(wanted[distance.argmax()])
        raise ScheduleError(f"unequal schedules: no evaluation near step {worst:,} in one of the runs")
    return np.asarray(indices, dtype=np.int64)


def final(values: FloatArray, last: int) -> FloatArray:
    """The last evaluation. values (..., k) -> (...)."""
    return np.asarray(values[..., -1], dtype=np.float64)


def last_mean(values: FloatArray, last: int) -> FloatArray:
    """The mean of the last `last` evaluations, or of all when there are fewer. values (..., k) -> (...)."""
    return np.asarray(values[..., -last:].mean(axis=-1), dtype=np.float64)


def peak(values: FloatArray, last: int) -> FloatArray:
    """The best evaluation; only comparable at equal k, see `power.peak_bias`. values (..., k) -> (...)."""
    return np.asarray(values.max(axis=-1), dtype=np.float64)


SUMMARISE: Mapping[Summary, Callable[[FloatArray, int], FloatArray]] = {
    "final": final,
    "last_mean": last_mean,
    "peak": peak,
}


def evaluations_used(summary: Summary, last: int, k: int) -> int:
    """How many evaluations' episodes stand behind one seed's number."""
    return min(last, k) if summary == "last_mean" else 1


def spread_over_time(arm: FloatArray, baseline: FloatArray) -> FloatArray:
    """Seed standard deviation at each evaluation, both arms pooled. arm (n_x, k), baseline (n_b, k) -> (k,)."""
    squares = sum(((part - part.mean(axis=0)) ** 2).sum(axis=0) for part in (arm, baseline))
    return np.asarray(np.sqrt(squares / (arm.shape[0] + baseline.shape[0] - 2)), dtype=np.float64)
