"""Error shared out: Holm over arms judged against one baseline, Pocock over looks declared beforehand.

Sources: Holm 1979; Pocock 1977; Armitage, McPherson and Rowe 1969 (the recursive integration).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from bellmark.stats.claim import FloatArray

# A p of exactly 1/20 must count as reaching 0.05 whatever the last bit of either says.
ROUNDING = 1e-12


def reaches(p: float, level: float) -> bool:
    """Whether a p value is at most the level, up to rounding."""
    return p <= level + ROUNDING


def holm_levels(p_values: Sequence[float], alpha: float) -> list[float]:
    """The level each p value is judged at by Holm's step-down, in the order given.

    The j-th smallest of m is judged at alpha/(m - j + 1) as long as all smaller ones were rejected; after the first
    that was not, all others are judged, and not rejected, at the level where it stopped. So p <= level says "rejected".
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    levels = [0.0] * len(p_values)
    remaining = len(p_values)
    stopped = False
    for i in order:
        levels[i] = alpha / remaining
        stopped = stopped or not reaches(p_values[i], levels[i])
        if not stopped:
            remaining -= 1
    return levels


def pocock_level(alpha: float, looks: Sequence[int], *, sides: int = 1) -> float:
    """The constant level per look that spends `alpha` in total over looks at the given seed counts.

    Information grows with the seed count, so looks at 3, 5, 10 are not equally spaced; equal spacing, two-sided 0.05
    and three looks give the published 0.0221. `alpha` itself for one look or none.
    """
    if len(looks) < 2:
        return alpha
    from scipy.optimize import brentq
    from scipy.special import ndtr

    times = np.asarray(looks, dtype=np.float64) / looks[-1]
    bound = brentq(lambda c: _crossing(c, times, sides) - alpha, 0.0, 8.0, xtol=1e-7)
    return float(sides * ndtr(-bound))


def _crossing(bound: float, times: FloatArray, sides: int) -> float:
    """Probability that a Brownian motion exceeds bound * sqrt(t) at one of the times, by recursive quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(128)

    def interval(t: float) -> tuple[FloatArray, FloatArray]:
        high = bound * math.sqrt(t)
        low = -high if sides == 2 else -8.0 * math.sqrt(t)
        half = (high - low) / 2.0
        return low + half * (nodes + 1.0), half * weights

    points, measure = interval(times[0])
    density = _normal(points, times[0])
    for before, now in pairwise(times):
        ahead, ahead_measure = interval(now)
        density = _normal(ahead[:, None] - points[None, :], now - before) @ (density * measure)
        points, measure = ahead, ahead_measure
    return 1.0 - float(density @ measure)


def _normal(x: FloatArray, variance: float) -> FloatArray:
    return np.asarray(np.exp(-(x**2) / (2.0 * variance)) / math.sqrt(2.0 * math.pi * variance), dtype=np.float64)
