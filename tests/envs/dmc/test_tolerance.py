"""Soft indicators against dm_control's, over inside, edge, slope and far outside."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dm_control.utils import rewards

from bellmark.envs.dmc.tolerance import INFINITY, gaussian, inside, linear, small_control

POINTS = [*np.linspace(-3, 3, 121), -1e9, 1e9, 0.5, 2.0]


@pytest.mark.parametrize("bounds", [(0.5, INFINITY), (0.0, 0.0), (0.5, 2.0), (-INFINITY, 1.0)])
@pytest.mark.parametrize("margin", [0.25, 1.0])
@pytest.mark.parametrize("at_margin", [0.1, 0.5])
def test_equal_dm_control(bounds: tuple[float, float], margin: float, at_margin: float) -> None:
    for kind, ours in (("linear", linear), ("gaussian", gaussian)):
        indicator = ours(*bounds, margin, at_margin)
        for x in POINTS:
            expected = rewards.tolerance(float(x), bounds, margin, kind, at_margin)
            assert math.isclose(indicator(float(x)), expected, rel_tol=1e-15, abs_tol=2e-16), (kind, x)
    for x in POINTS:
        assert inside(*bounds)(float(x)) == rewards.tolerance(float(x), bounds)


def test_linear_may_end_at_zero() -> None:
    assert linear(1.0, INFINITY, 1.0, 0.0)(0.25) == 0.25
    assert linear(1.0, INFINITY, 1.0, 0.0)(-0.25) == 0.0


def test_small_control_equals_dm_control() -> None:
    ctrl = np.random.default_rng(0).uniform(-1, 1, 21)
    quadratic = rewards.tolerance(ctrl, margin=1, value_at_margin=0, sigmoid="quadratic").mean()
    assert math.isclose(small_control(ctrl)(), (4 + quadratic) / 5, rel_tol=1e-15)
    ctrl[:] = 1
    assert small_control(ctrl)() == 0.8
