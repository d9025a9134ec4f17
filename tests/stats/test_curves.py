"""Alignment of evaluation schedules and the three summaries."""

from __future__ import annotations

import numpy as np
import pytest

from bellmark.stats.claim import SeedResult
from bellmark.stats.curves import (
    SUMMARISE,
    ScheduleError,
    align,
    evaluation_counts,
    evaluations_used,
    final,
    last_mean,
    peak,
    spread_over_time,
)


def run(seed: int, steps: list[int], values: list[float]) -> SeedResult:
    return SeedResult(seed=seed, steps=np.array(steps), values=np.array(values))


def test_summaries() -> None:
    values = np.array([[0.0, 4.0, 1.0, 3.0], [9.0, 1.0, 1.0, 1.0]])
    assert final(values, 3).tolist() == [3.0, 1.0]
    assert last_mean(values, 2).tolist() == [2.0, 1.0]
    assert last_mean(values, 9).tolist() == [2.0, 3.0]
    assert peak(values, 3).tolist() == [4.0, 9.0]
    assert list(SUMMARISE) == ["final", "last_mean", "peak"]
    assert [evaluations_used(s, 3, 2) for s in SUMMARISE] == [1, 2, 1]


def test_equal_schedules_pass_through() -> None:
    aligned = align([run(1, [0, 10, 20], [1, 2, 3]), run(2, [0, 10, 20], [4, 5, 6])])
    assert aligned.values.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert aligned.notes == ()


def test_unequal_k_is_found_and_thinned_to_the_sparsest() -> None:
    """Otherwise the peak of the denser run, 9 at step 15, would win by having been looked at more often."""
    dense, sparse = run(1, [5, 10, 15, 20], [1, 2, 9, 3]), run(2, [10, 20], [4, 5])
    assert evaluation_counts([dense, sparse]) == (2, 4)
    aligned = align([dense, sparse])
    assert aligned.steps.tolist() == [10, 20]
    assert aligned.values.tolist() == [[2, 3], [4, 5]]
    assert "unequal numbers of evaluations (2, 4)" in aligned.notes[0]


def test_evaluations_a_little_beside_each_other_still_pair() -> None:
    aligned = align([run(1, [0, 1000, 2000], [1, 2, 3]), run(2, [0, 1024, 2010], [4, 5, 6])])
    assert aligned.values.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("other", "message"),
    [([10, 20, 30], "unequal budgets: the last evaluation lies between step 20 and 30"), ([1, 2, 20], "near step 10")],
)
def test_curves_that_cannot_be_compared(other: list[int], message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        align([run(1, [5, 10, 20], [1, 2, 3]), run(2, other, [1, 2, 3])])


def test_spread_pools_both_arms() -> None:
    # Deviations (-1, 1) and (-2, 0, 2): squares 2 + 8 = 10 over 2 + 3 - 2 = 3.
    spread = spread_over_time(np.array([[0.0], [2.0]]), np.array([[5.0], [7.0], [9.0]]))
    assert spread == pytest.approx([np.sqrt(10 / 3)])


@pytest.mark.parametrize(("steps", "message"), [([10, 10], "grow strictly"), ([10], "equal vectors")])
def test_malformed_curves_are_bugs(steps: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(1, steps, [1.0, 2.0])
