"""Seeds needed, detectable effects, inflation and peak bias: the tables of the design and published values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellmark.stats.power import (
    least_detectable_effect,
    peak_bias,
    sd_inflation,
    seeds_per_arm,
    seeds_to_reach,
    t_test_power,
)


def test_seeds_per_arm_two_sided_table() -> None:
    # Two-sided 5%, power 80%; 64 and 17 are Cohen's (1988) for d = 0.5 and 1.
    assert [seeds_per_arm(d) for d in (0.5, 1.0, 1.5, 2.0, 3.0)] == [64, 17, 9, 6, 4]
    # The verdict is one-sided and needs fewer.
    assert [seeds_per_arm(d, sides=1) for d in (0.5, 1.0, 1.5, 2.0, 3.0)] == [51, 14, 7, 5, 3]


@given(st.floats(0.2, 4.0), st.sampled_from([1, 2]))
def test_seeds_per_arm_is_the_smallest(effect: float, sides: int) -> None:
    from scipy.special import stdtrit

    def wanted(n: int) -> float:
        quantiles = stdtrit(2 * n - 2, 1 - 0.05 / sides) + stdtrit(2 * n - 2, 0.8)
        return float(2 * (quantiles / effect) ** 2)

    n = seeds_per_arm(effect, sides=sides)
    assert n >= wanted(n)
    assert n == 2 or n - 1 < wanted(n - 1)
    assert seeds_per_arm(effect * 1.1, sides=sides) <= n


def test_seeds_per_arm_has_a_ceiling_and_refuses_no_effect() -> None:
    assert seeds_per_arm(1e-9) == 100_000
    with pytest.raises(ValueError, match="above 0"):
        seeds_per_arm(0.0)


def test_least_detectable_effects() -> None:
    found = [least_detectable_effect(n) for n in (2, 3, 5, 10)]
    assert found == pytest.approx([5.65, 3.07, 2.02, 1.32], abs=0.005)
    assert t_test_power(found[2], 5) == pytest.approx(0.8)


def test_power_matches_simulated_t_tests() -> None:
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(0)
    x, b = rng.normal(1.5, 1, (20_000, 5)), rng.normal(0, 1, (20_000, 5))
    share = (ttest_ind(x, b, axis=1, alternative="greater").pvalue <= 0.05).mean()
    assert share == pytest.approx(t_test_power(1.5, 5, sides=1), abs=0.014)  # four standard errors


@pytest.mark.parametrize(("n", "factor"), [(2, 3.95), (3, 2.12), (5, 1.56)])
def test_inflation_to_the_upper_80_percent_bound(n: int, factor: float) -> None:
    assert sd_inflation(n - 1) == pytest.approx(factor, abs=0.005)


def test_seeds_for_the_exact_test() -> None:
    # One task: 1/C(6,3) = .05, 1/C(8,4) = 1/70, so two arms (.025) need four seeds; three tasks of two seeds: 1/216.
    assert [seeds_to_reach(0.05), seeds_to_reach(0.025), seeds_to_reach(0.05, tasks=3)] == [3, 4, 2]


@pytest.mark.parametrize(("k", "bias"), [(2, 0.564), (10, 1.5388), (15, 1.736), (21, 1.889), (78, 2.418)])
def test_peak_bias(k: int, bias: float) -> None:
    # Expected largest of k standard normals (Harter 1961); 2 has the closed form 1/sqrt(pi).
    assert peak_bias(k) == pytest.approx(bias, abs=1e-3)
