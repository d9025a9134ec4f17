"""Holm's steps by hand; Pocock's levels against the published ones and against simulated looks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellmark.stats.multiplicity import holm_levels, pocock_level, reaches


def test_holm_by_hand() -> None:
    # 0.01 <= .05/4; 0.015 <= .05/3 = .0167; 0.03 > .05/2: stop there, the last one is judged at .025 too.
    assert holm_levels([0.03, 0.01, 0.015, 0.04], 0.05) == pytest.approx([0.025, 0.0125, 0.05 / 3, 0.025])


def test_holm_stays_stopped() -> None:
    # 0.02 > .05/3, so 0.024 is not rejected though it is below .05/2.
    levels = holm_levels([0.02, 0.024, 0.9], 0.05)
    assert levels == pytest.approx([0.05 / 3] * 3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_at_least_bonferroni_and_no_more_than_uncorrected(p_values: list[float]) -> None:
    rejected = [reaches(p, level) for p, level in zip(p_values, holm_levels(p_values, 0.05), strict=True)]
    for p, out in zip(p_values, rejected, strict=True):
        assert out or p > 0.05 / len(p_values)
        assert not out or p <= 0.05 + 1e-9


@pytest.mark.parametrize(("looks", "level"), [(2, 0.0294), (3, 0.0221), (4, 0.0182), (5, 0.0158)])
def test_pocock_published(looks: int, level: float) -> None:
    # Pocock 1977, table 1: two-sided 5%, equally spaced looks.
    assert pocock_level(0.05, range(1, looks + 1), sides=2) == pytest.approx(level, abs=5e-5)


def test_one_look_spends_everything() -> None:
    assert pocock_level(0.05, (5,)) == 0.05


def test_pocock_at_uneven_looks_holds_alpha() -> None:
    """One-sided, looks at 3, 5 and 10 seeds, as sums of normal seeds with known variance."""
    from scipy.special import ndtri

    level = pocock_level(0.05, (3, 5, 10))
    walks = np.random.default_rng(0).normal(size=(200_000, 10)).cumsum(axis=1)[:, [2, 4, 9]]
    crossed = (walks / np.sqrt([3, 5, 10]) > -ndtri(level)).any(axis=1).mean()
    assert crossed == pytest.approx(0.05, abs=0.002)  # four standard errors
    assert 0.05 / 3 < level < 0.05
