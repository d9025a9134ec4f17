"""dm_control's soft indicators as functions of one float, with their constants worked out once.

Each is 1 where lower <= x <= upper and falls to `at_margin` at a distance of `margin`.
Source: dm_control 1.0.50, `utils/rewards.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from bellmark.envs.engine import Floats

Indicator = Callable[[float], float]
INFINITY = math.inf


def linear(lower: float, upper: float, margin: float, at_margin: float) -> Indicator:
    """Falls along a straight line and stays at 0."""
    slope = 1 - at_margin

    def indicator(x: float) -> float:
        if lower <= x <= upper:
            return 1.0
        scaled = (lower - x if x < lower else x - upper) / margin * slope
        return 1.0 - scaled if scaled < 1 else 0.0

    return indicator


def gaussian(lower: float, upper: float, margin: float, at_margin: float = 0.1) -> Indicator:
    """Falls along a bell curve."""
    scale, exp = math.sqrt(-2 * math.log(at_margin)), math.exp

    def indicator(x: float) -> float:
        if lower <= x <= upper:
            return 1.0
        scaled = (lower - x if x < lower else x - upper) / margin * scale
        return exp(-0.5 * scaled * scaled)

    return indicator


def inside(lower: float, upper: float) -> Indicator:
    """Falls at once: 0 outside."""
    return lambda x: 1.0 if lower <= x <= upper else 0.0


def small_control(ctrl: Floats) -> Callable[[], float]:
    """4/5 plus a fifth of the mean of 1 - control^2, for controls in [-1, 1]."""
    count = len(ctrl)
    return lambda: (4 + (1 - float(ctrl.dot(ctrl)) / count)) / 5
