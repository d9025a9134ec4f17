"""Stratified Welch and the exact permutation test, by hand, against scipy and against plain loops."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bellmark.stats.claim import FloatArray
from bellmark.stats.difference import permutation_test, smallest_p, stratified_welch

seeds = st.lists(st.floats(-100, 100).map(lambda v: round(v, 2)), min_size=2, max_size=4).map(np.array)
tasks = st.lists(st.tuples(seeds, seeds), min_size=1, max_size=3)


def test_welch_is_scipys_for_one_task() -> None:
    rng = np.random.default_rng(0)
    x, b = rng.normal(1.0, 1.0, 5), rng.normal(0.0, 3.0, 4)
    expected = stats.ttest_ind(x, b, equal_var=False, alternative="greater")
    welch = stratified_welch([x], [b])
    assert float(welch.p_greater()) == pytest.approx(expected.pvalue)
    assert float(welch.df) == pytest.approx(expected.df)
    assert float(welch.lower(0.05)) == pytest.approx(expected.confidence_interval(0.95).low)
    less = stats.ttest_ind(x, b + 2.0, equal_var=False, alternative="less")
    assert float(welch.p_less(2.0)) == pytest.approx(less.pvalue)


def test_satterthwaite_by_hand() -> None:
    # Task 1: x = (1, 3): s^2 = 2, term 2/2 = 1, df 1.   b = (0, 2, 4): s^2 = 4, term 4/3, df 2.   difference 2 - 2 = 0
    # Task 2: x = (0, 2): s^2 = 2, term 1, df 1.         b = (1, 1, 4): s^2 = 3, term 1, df 2.     difference 1 - 2 = -1
    # D = -1/2; V = (1 + 4/3 + 1 + 1)/4 = 13/12;
    # df = (13/3)^2 / (1/1 + (16/9)/2 + 1/1 + 1/2) = (169/9) / (61/18) = 338/61 (the factor 1/4 cancels).
    welch = stratified_welch([np.array([1.0, 3]), np.array([0.0, 2])], [np.array([0.0, 2, 4]), np.array([1.0, 1, 4])])
    assert float(welch.estimate) == pytest.approx(-0.5)
    assert float(welch.variance) == pytest.approx(13 / 12)
    assert float(welch.df) == pytest.approx(338 / 61)


def test_welch_without_spread_stands_on_the_estimate() -> None:
    welch = stratified_welch([np.ones(3)], [np.zeros(3)])
    assert (float(welch.lower(0.05)), float(welch.upper(0.05))) == (1.0, 1.0)
    assert (float(welch.p_greater()), float(welch.p_less())) == (0.0, 1.0)
    assert float(welch.p_greater(1.0)) == 0.5


def test_welch_keeps_batch_axes() -> None:
    rng = np.random.default_rng(1)
    x, b = rng.normal(size=(7, 3)), rng.normal(size=(7, 4))
    batch = stratified_welch([x], [b]).p_greater()
    assert batch.shape == (7,)
    assert batch[4] == pytest.approx(float(stratified_welch([x[4]], [b[4]]).p_greater()))


def test_smallest_p() -> None:
    assert smallest_p([(2, 2)]) == pytest.approx(1 / 6)
    assert smallest_p([(2, 2)] * 3) == pytest.approx(1 / 216)
    assert smallest_p([(3, 3)]) == 0.05


def test_permutation_of_a_clean_win_reaches_the_smallest_p() -> None:
    low, high = np.array([0.0, 1.0]), np.array([5.0, 6.0])
    assert permutation_test([high], [low]).p_greater == pytest.approx(1 / 6)
    three = permutation_test([high] * 3, [low] * 3)
    assert three.p_greater == pytest.approx(1 / 216)
    assert three.p_less == 1.0
    assert three.exact


def looped(arm: list[FloatArray], baseline: list[FloatArray]) -> tuple[float, float]:
    """The slow reference: every labelling of every task, the mean difference of each."""
    per_task = []
    for x, b in zip(arm, baseline, strict=True):
        pooled = np.concatenate([x, b])
        indices = range(pooled.size)
        chosen = [list(c) for c in combinations(indices, x.size)]
        per_task.append([pooled[c].mean() - np.delete(pooled, c).mean() for c in chosen])
    sums = np.array([sum(parts) for parts in product(*per_task)])
    observed = sum(x.mean() - b.mean() for x, b in zip(arm, baseline, strict=True))
    return float((sums >= observed - 1e-7).mean()), float((sums <= observed + 1e-7).mean())


@settings(max_examples=60, deadline=None)
@given(tasks)
def test_permutation_equals_the_loop(pairs: list[tuple[FloatArray, FloatArray]]) -> None:
    arm, baseline = [x for x, _ in pairs], [b for _, b in pairs]
    found = permutation_test(arm, baseline)
    assert (found.p_greater, found.p_less) == pytest.approx(looped(arm, baseline))


def test_permutation_shift_is_a_shift_of_the_arm() -> None:
    x, b = np.array([3.0, 4, 6]), np.array([1.0, 2, 5])
    assert permutation_test([x], [b], shift=2.0) == permutation_test([x - 2.0], [b])


def test_ten_seeds_are_enumerated_and_agree_with_scipy() -> None:
    rng = np.random.default_rng(2)
    x, b = rng.normal(0.5, 1, 10), rng.normal(0, 1, 10)
    found = permutation_test([x], [b])
    assert found.exact
    sampled = stats.permutation_test(
        (x, b), lambda u, v, axis: u.mean(axis) - v.mean(axis), n_resamples=40_000, alternative="greater", rng=rng
    )
    # 40,000 draws: standard error at most sqrt(.25/40000) = .0025; four of them.
    assert found.p_greater == pytest.approx(sampled.pvalue, abs=0.01)


@pytest.mark.parametrize("per_task", [1_000_000, 10])
def test_sampling_takes_over_seeded_and_close(per_task: int) -> None:
    rng = np.random.default_rng(3)
    arm, baseline = [rng.normal(0.3, 1, 6) for _ in range(2)], [rng.normal(0, 1, 6) for _ in range(2)]
    exact = permutation_test(arm, baseline)
    wide = [rng.normal(0.3, 1, 10) for _ in range(3)], [rng.normal(0, 1, 10) for _ in range(3)]
    many = permutation_test(*wide, per_task=per_task)
    assert exact.exact
    assert not many.exact
    assert many == permutation_test(*wide, per_task=per_task)
    sampled = permutation_test(arm, baseline, per_task=10)
    assert not sampled.exact
    assert sampled.p_greater == pytest.approx(exact.p_greater, abs=0.015)


@settings(max_examples=60, deadline=None)
@given(tasks, st.floats(-50, 50))
def test_symmetry_and_shift(pairs: list[tuple[FloatArray, FloatArray]], shift: float) -> None:
    """Exchanging the arms mirrors everything; moving both arms together changes nothing."""
    arm, baseline = [x for x, _ in pairs], [b for _, b in pairs]
    welch, mirrored = stratified_welch(arm, baseline), stratified_welch(baseline, arm)
    moved = stratified_welch([x + shift for x in arm], [b + shift for b in baseline])
    assert float(welch.estimate) == pytest.approx(-float(mirrored.estimate), abs=1e-9)
    assert float(welch.p_greater()) == pytest.approx(float(mirrored.p_less()), abs=1e-9)
    assert float(moved.estimate) == pytest.approx(float(welch.estimate), abs=1e-9)
    assert float(moved.variance) == pytest.approx(float(welch.variance), abs=1e-6)
    permuted, mirrored_too = permutation_test(arm, baseline), permutation_test(baseline, arm)
    assert permuted.p_greater == pytest.approx(mirrored_too.p_less)
    together = permutation_test([x + shift for x in arm], [b + shift for b in baseline])
    assert together.p_greater == pytest.approx(permuted.p_greater)


@settings(max_examples=60, deadline=None)
@given(tasks, st.data())
def test_permutation_p_falls_when_the_arm_gains(
    pairs: list[tuple[FloatArray, FloatArray]], data: st.DataObject
) -> None:
    """The monotonicity on which the reading of failed seeds rests."""
    arm, baseline = [x.copy() for x, _ in pairs], [b.copy() for _, b in pairs]
    before = permutation_test(arm, baseline)
    task = data.draw(st.integers(0, len(arm) - 1))
    side = data.draw(st.sampled_from(["arm", "baseline"]))
    gain = data.draw(st.integers(1, 50))
    if side == "arm":
        arm[task][0] += gain
    else:
        baseline[task][0] -= gain
    after = permutation_test(arm, baseline)
    assert after.p_greater <= before.p_greater + 1e-12
