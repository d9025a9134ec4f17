"""One number per run, each with the evaluations it was read from, and their spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bellmark.reports.dossier import RunRecord
from bellmark.stats.claim import Direction
from bellmark.stats.intervals import Interval, t_interval, wilson


class Reading(NamedTuple):
    """A number and where it stands: the run, and the step (or steps) of its evaluation."""

    run: RunRecord
    value: float
    steps: tuple[int, ...]

    @property
    def at(self) -> str:
        """The steps as the page writes them into `data-step`."""
        return " ".join(map(str, self.steps))


class Spread(NamedTuple):
    """Readings of the finished seeds of an arm on a task, and their mean with Student's 95% interval."""

    readings: tuple[Reading, ...]
    interval: Interval

    @property
    def n(self) -> int:
        """Seeds in the mean."""
        return len(self.readings)

    @property
    def runs(self) -> str:
        """The runs' names as the page writes them into `data-run`."""
        return " ".join(reading.run.name for reading in self.readings)

    @property
    def steps(self) -> str:
        """Every step that was read, as the page writes them into `data-step`."""
        return " ".join(map(str, sorted({step for reading in self.readings for step in reading.steps})))


def final(run: RunRecord, last: int, direction: Direction) -> Reading:
    """The last evaluation."""
    return Reading(run, float(run.trace.value[-1]), (int(run.trace.step[-1]),))


def last_mean(run: RunRecord, last: int, direction: Direction) -> Reading:
    """The mean of the last evaluations."""
    return Reading(run, float(run.trace.value[-last:].mean()), tuple(map(int, run.trace.step[-last:])))


def peak(run: RunRecord, last: int, direction: Direction) -> Reading:
    """The best evaluation, the first of equals; the lowest where less is better."""
    values = run.trace.value if direction == "increase" else -run.trace.value
    best = int(np.argmax(np.where(np.isnan(values), -np.inf, values)))
    return Reading(run, float(run.trace.value[best]), (int(run.trace.step[best]),))


READ: Mapping[str, Callable[[RunRecord, int, Direction], Reading]] = {
    "last_mean": last_mean,
    "final": final,
    "peak": peak,
}


def spread(runs: Sequence[RunRecord], summary: str, last: int, direction: Direction = "increase") -> Spread:
    """The finished runs' readings, in order of seed; the mean is NaN when there are none."""
    found = tuple(READ[summary](run, last, direction) for run in runs if run.finished)
    return Spread(found, mean_of([r.value for r in found]))


def mean_of(values: Sequence[float]) -> Interval:
    """Mean with Student's 95% interval over seeds; unbounded for a single seed."""
    if not values:
        return Interval(math.nan, -math.inf, math.inf)
    return t_interval(np.asarray(values, dtype=np.float64))


def episodes_interval(run: RunRecord, index: int = -1) -> tuple[Interval, int] | None:
    """Wilson's interval of a success rate from the episodes of one evaluation; None where they are not recorded."""
    value, episodes = float(run.trace.value[index]), float(run.trace.episodes[index])
    if not (math.isfinite(value) and math.isfinite(episodes) and episodes >= 1 and 0 <= value <= 1):
        return None
    return wilson(round(value * episodes), round(episodes)), round(episodes)


class MeanCurve(NamedTuple):
    """The mean over finished seeds at the evaluations they share, with a pointwise band from three seeds on."""

    step: np.ndarray[tuple[int], np.dtype[np.int64]]
    mean: np.ndarray[tuple[int], np.dtype[np.float64]]
    low: np.ndarray[tuple[int], np.dtype[np.float64]]
    high: np.ndarray[tuple[int], np.dtype[np.float64]]
    n: int


BAND_SEEDS = 3  # two seeds give a t interval of 9 standard errors: no picture worth drawing


def mean_curve(runs: Sequence[RunRecord]) -> MeanCurve | None:
    """Mean and 95% t interval at each step at which every finished run was evaluated; None without such a step."""
    done = [run.trace for run in runs if run.finished]
    if not done:
        return None
    steps = done[0].step
    for trace in done[1:]:
        steps = np.intersect1d(steps, trace.step)
    if not len(steps):
        return None
    values = np.stack([trace.value[np.searchsorted(trace.step, steps)] for trace in done])
    n, mean = len(done), values.mean(axis=0)
    if n < BAND_SEEDS:
        return MeanCurve(steps, mean, mean, mean, n)
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.975)) * values.std(axis=0, ddof=1) / math.sqrt(n)
    return MeanCurve(steps, mean, mean - half, mean + half, n)
