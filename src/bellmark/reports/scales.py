"""Axes: the range that holds the data, round tick marks, and where on the axis a value lies (0 to 1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LOG_FROM = 20.0  # where one run costs so many times another's, a linear axis would squash the cheap one
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`; on a logarithmic one all that lies at or below `low` stands at its beginning."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def __call__(self, values: Floats) -> Floats:
        """Positions between 0 and 1; values outside are cut to the ends."""
        if self.log:
            shown = np.log(np.maximum(values, self.low) / self.low) / math.log(self.high / self.low)
        else:
            shown = (values - self.low) / (self.high - self.low)
        return np.asarray(np.clip(shown, 0.0, 1.0), dtype=np.float64)

    def at(self, value: float) -> float:
        """The position of one value."""
        return float(self(np.asarray([value], dtype=np.float64))[0])


def nice_step(span: float, most: int) -> float:
    """A round distance of ticks that divides `span` into at most `most` parts."""
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    return next(step * power for step in STEPS if step * power >= raw * (1 - 1e-9))


def linear(low: float, high: float, *, most: int = 5, loose: bool = False) -> Axis:
    """An axis over [low, high]; `loose` moves its ends out to the next ticks."""
    if not high > low:
        low, high = (low - 0.5, high + 0.5) if low == high else (0.0, 1.0)
    step = nice_step(high - low, most)
    if loose:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(low, high, tuple(round(k * step, 12) for k in range(first, last + 1)))


def cost_axis(ends: Sequence[float], starts: Sequence[float], *, unit: float = 1.0, most: int = 5) -> Axis:
    """An axis of what runs have spent: from 0, or logarithmic where the dearest cost many times the cheapest.

    Args:
        ends: the last value of each run.
        starts: the first value above 0 of each run.
        unit: ticks of a linear axis are round in this many.
    """
    if not ends:
        return linear(0.0, 1.0, most=most)
    if max(ends) < LOG_FROM * min(ends):
        in_units = linear(0.0, max(ends) / unit, most=most)
        return Axis(0.0, max(ends), tuple(tick * unit for tick in in_units.ticks))
    low = min(starts) / 2
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(max(ends))) + 1)
    return Axis(low, max(ends), tuple(10.0**p for p in powers), log=True)


def thin(count: int, most: int) -> list[int]:
    """At most `most` of `count` indices, evenly, first and last included."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def outline(values: Floats, most: int) -> list[int]:
    """Indices of at most about `most` points of a long curve that keep the highest and lowest of every stretch."""
    count, parts = len(values), most // 2
    if count <= most:
        return list(range(count))
    length = -(-count // parts)
    # what is padded repeats the last value, so that an index found there stands for it
    table = np.pad(np.nan_to_num(values), (0, parts * length - count), mode="edge").reshape(parts, length)
    first = np.arange(parts) * length
    found = np.concatenate([[0, count - 1], first + table.argmin(axis=1), first + table.argmax(axis=1)])
    return np.unique(np.minimum(found, count - 1)).tolist()


def text_of(axis: Axis, write: Callable[[float], str]) -> list[tuple[float, str]]:
    """(position, label) of each tick."""
    return [(axis.at(tick), write(tick)) for tick in axis.ticks]
