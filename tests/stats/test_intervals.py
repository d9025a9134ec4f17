"""Wilson, t, IQM and probability of improvement against published and independent values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bellmark.stats.intervals import iqm, iqm_interval, pairs_won, probability_of_improvement, t_interval, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3 (Wilson's score without correction).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_published(successes: int, trials: int, low: float, high: float) -> None:
    share = wilson(successes, trials)
    assert share.estimate == successes / trials
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)


def test_wilson_of_nothing_says_nothing() -> None:
    share = wilson(0, 0)
    assert math.isnan(share.estimate)
    assert (share.low, share.high) == (0.0, 1.0)


def test_wilson_refuses_impossible_counts() -> None:
    with pytest.raises(ValueError, match="4 successes of 3"):
        wilson(4, 3)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_symmetric_and_holds_the_share(counts: tuple[int, int]) -> None:
    k, n = counts
    share, mirrored = wilson(k, n), wilson(n - k, n)
    assert 0.0 <= share.low <= share.estimate <= share.high <= 1.0
    assert share.low == pytest.approx(1.0 - mirrored.high)


def test_t_interval_matches_scipy() -> None:
    values = np.array([3.0, 5.0, 4.0, 9.0])
    expected = stats.t.interval(0.9, 3, loc=values.mean(), scale=stats.sem(values))
    assert t_interval(values, 0.9)[1:] == pytest.approx(expected)
    assert t_interval(values[:1]) == (3.0, -math.inf, math.inf)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30))
def test_iqm_is_scipys_trimmed_mean(values: list[float]) -> None:
    assert float(iqm(np.array(values))) == pytest.approx(float(stats.trim_mean(values, 0.25)), abs=1e-9)


def test_iqm_interval_is_seeded_and_resamples_within_tasks() -> None:
    # Two tasks without spread: a resample within tasks always returns the same runs; across tasks it would not.
    tasks = [np.zeros(4), np.ones(4)]
    assert iqm_interval(tasks, seed=1) == (0.5, 0.5, 0.5)
    spread = [np.arange(5.0), np.arange(5.0) + 1.0]
    first = iqm_interval(spread, seed=3)
    assert first == iqm_interval(spread, seed=3)
    assert first.low < first.estimate < first.high


def test_pairs_and_probability_of_improvement_count_ties_half() -> None:
    # 2 beats {0, 1}, ties 2; 1 beats 0, ties 1, loses to 2: 2.5 + 1.5 = 4 of 6 pairs.
    arm, baseline = np.array([2.0, 1.0]), np.array([0.0, 1.0, 2.0])
    assert pairs_won(arm, baseline) == 4.0
    # The second task is won outright: (4/6 + 1) / 2 = 5/6.
    assert probability_of_improvement([arm, arm + 9], [baseline, baseline]) == pytest.approx(5 / 6)
    u = stats.mannwhitneyu(arm, baseline).statistic
    assert pairs_won(arm, baseline) == u
