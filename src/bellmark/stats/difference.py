"""Tests of a difference between two arms over one or several tasks: stratified Welch, exact stratified permutation.

Values are passed as one array per task, scaled by c_m and oriented so that more is better.
Sources: Welch 1947; Satterthwaite 1946; Colas 2019 (arXiv 1904.06979); Fisher's exact permutation test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bellmark.stats.claim import FloatArray

ENUMERATE_PER_TASK = 1_000_000  # C(22, 11) = 705,432: eleven seeds per arm
ENUMERATE_HALF = 1_000_000  # sums kept in memory for each half of the tasks
DRAWS = 20_000


@dataclass(frozen=True)
class Welch:
    """Estimate D, its variance V and degrees of freedom; batch axes of the input are kept.

    D = (1/T) sum_m (mean x_m - mean b_m), V = (1/T^2) sum_m (s_xm^2/n_xm + s_bm^2/n_bm), and df by Satterthwaite over
    all 2T variance terms. With no spread at all V is 0, df infinite, the bounds fall on the estimate, p is 0, 1/2 or 1.
    """

    estimate: FloatArray
    variance: FloatArray
    df: FloatArray

    def p_greater(self, shift: float = 0.0) -> FloatArray:
        """One-sided p of "the true difference is at most `shift`"."""
        return self._tail(shift, -1.0)

    def p_less(self, shift: float = 0.0) -> FloatArray:
        """One-sided p of "the true difference is at least `shift`"."""
        return self._tail(shift, 1.0)

    def lower(self, level: float) -> FloatArray:
        """The bound that lies above the truth with probability `level`."""
        return self.estimate - self._reach(level)

    def upper(self, level: float) -> FloatArray:
        """The bound that lies below the truth with probability `level`."""
        return self.estimate + self._reach(level)

    def _tail(self, shift: float, sign: float) -> FloatArray:
        from scipy.special import stdtr

        gap = np.asarray(self.estimate) - shift
        still = np.asarray(self.variance) == 0.0
        t = gap / np.sqrt(np.where(still, 1.0, self.variance))
        certain = np.where(gap == 0.0, 0.5, np.where(sign * gap > 0, 1.0, 0.0))
        return np.where(still, certain, stdtr(np.where(still, 1.0, self.df), sign * t))

    def _reach(self, level: float) -> FloatArray:
        from scipy.special import stdtrit

        quantile = stdtrit(np.where(np.isfinite(self.df), self.df, 1.0), 1.0 - level)
        return np.where(np.asarray(self.variance) == 0.0, 0.0, quantile * np.sqrt(self.variance))


def stratified_welch(arm: Sequence[FloatArray], baseline: Sequence[FloatArray]) -> Welch:
    """Welch's test averaged over tasks. arm[m] (..., n_xm), baseline[m] (..., n_bm), every n at least 2."""
    tasks = len(arm)
    estimate = sum(x.mean(axis=-1) - b.mean(axis=-1) for x, b in zip(arm, baseline, strict=True)) / tasks
    terms = [part.var(axis=-1, ddof=1) / part.shape[-1] / tasks**2 for part in (*arm, *baseline)]
    freedom = [part.shape[-1] - 1 for part in (*arm, *baseline)]
    variance = np.asarray(sum(terms), dtype=np.float64)
    below = np.asarray(sum(term**2 / nu for term, nu in zip(terms, freedom, strict=True)), dtype=np.float64)
    # A spread of rounding errors squares to below the smallest float; it is no spread.
    still = below == 0.0
    df = np.where(still, np.inf, variance**2 / np.where(still, 1.0, below))
    return Welch(np.asarray(estimate, dtype=np.float64), np.where(still, 0.0, variance), df)


@dataclass(frozen=True)
class Permutation:
    """One-sided p values of the stratified permutation test; `exact` is False when they were sampled."""

    p_greater: float
    p_less: float
    exact: bool


def smallest_p(sizes: Sequence[tuple[int, int]]) -> float:
    """The smallest one-sided p the exact test can reach: the product over tasks of 1/C(n_x + n_b, n_x)."""
    return math.prod(1.0 / math.comb(n_x + n_b, n_x) for n_x, n_b in sizes)


def permutation_test(
    arm: Sequence[FloatArray],
    baseline: Sequence[FloatArray],
    *,
    shift: float = 0.0,
    seed: int = 0,
    draws: int = DRAWS,
    per_task: int = ENUMERATE_PER_TASK,
) -> Permutation:
    """Permute arm labels within each task; the statistic is the stratified difference of means.

    Tests "the arm is the baseline plus `shift`". arm[m] (n_xm,), baseline[m] (n_bm,). All labellings are enumerated
    task by task; over several tasks the sums are counted by sorting one half of the tasks against the other, so the
    test stays exact for 10^12 labellings. Past that, `draws` labellings are sampled from `seed`, and
    p = (1 + hits)/(1 + draws).
    """
    centres = [float(b.mean()) for b in baseline]
    moved = [x - shift - centre for x, centre in zip(arm, centres, strict=True)]
    baseline = [b - centre for b, centre in zip(baseline, centres, strict=True)]
    observed = float(sum(x.mean() - b.mean() for x, b in zip(moved, baseline, strict=True)))
    # Labellings that tie in exact arithmetic differ by rounding; count them as ties.
    slack = 1e-9 * max(float(np.abs(part).max()) for part in (*moved, *baseline)) + 1e-14 * max(map(abs, centres))
    counts = [math.comb(x.size + b.size, x.size) for x, b in zip(moved, baseline, strict=True)]
    halves = _split(counts) if max(counts) <= per_task else None
    if halves is None:
        rng = np.random.default_rng(seed)
        parts = [_drawn(x, b, draws, rng, per_task) for x, b in zip(moved, baseline, strict=True)]
        labelled = np.sum(parts, axis=0)
        greater, less = (labelled >= observed - slack).sum(), (labelled <= observed + slack).sum()
        return Permutation((1 + int(greater)) / (1 + draws), (1 + int(less)) / (1 + draws), exact=False)
    first, second = (_sums([_differences(moved[m], baseline[m]) for m in half]) for half in halves)
    few, many = sorted((first, second), key=np.size)
    few = np.sort(few)
    greater = few.size * many.size - int(np.searchsorted(few, observed - slack - many, side="left").sum())
    less = int(np.searchsorted(few, observed + slack - many, side="right").sum())
    total = math.prod(counts)
    return Permutation(greater / total, less / total, exact=True)


def _drawn(x: FloatArray, b: FloatArray, draws: int, rng: np.random.Generator, per_task: int) -> FloatArray:
    """The difference of means of one task under random labellings, (draws,)."""
    if math.comb(x.size + b.size, x.size) <= per_task:
        return rng.choice(_differences(x, b), size=draws)
    pooled = rng.permuted(np.tile(np.concatenate([x, b]), (draws, 1)), axis=1)
    return np.asarray(pooled[:, : x.size].mean(axis=1) - pooled[:, x.size :].mean(axis=1), dtype=np.float64)


def _split(counts: Sequence[int]) -> tuple[list[int], list[int]] | None:
    """Share the tasks out over two halves of about equal size; None when a half would be too large to hold."""
    halves: tuple[list[int], list[int]] = ([], [])
    sizes = [1, 1]
    for task in sorted(range(len(counts)), key=lambda m: -counts[m]):
        smaller = 0 if sizes[0] <= sizes[1] else 1
        halves[smaller].append(task)
        sizes[smaller] *= counts[task]
    return halves if max(sizes) <= ENUMERATE_HALF else None


def _sums(parts: Sequence[FloatArray]) -> FloatArray:
    """All sums of one entry from each part, in one vector; the sum over no part is 0."""
    total = np.zeros(1)
    for part in parts:
        total = (total[:, None] + part[None, :]).ravel()
    return total


def _differences(x: FloatArray, b: FloatArray) -> FloatArray:
    """The difference of means under each labelling of one task, C(n_x + n_b, n_x) of them.

    The seeds are cut into two halves; a labelling is a choice of j from one and of n_x - j from the other.
    """
    pooled = np.concatenate([x, b])
    cut = pooled.size // 2
    first, second = _choices(pooled[:cut]), _choices(pooled[cut:])
    sums = [
        (first[j][:, None] + second[x.size - j][None, :]).ravel()
        for j in range(max(0, x.size - len(second) + 1), min(len(first) - 1, x.size) + 1)
    ]
    chosen = np.concatenate(sums)
    return np.asarray(chosen / x.size - (pooled.sum() - chosen) / b.size, dtype=np.float64)


def _choices(values: FloatArray) -> list[FloatArray]:
    """Sums of all choices of j values, for j = 0 to all of them."""
    members, order, ends = _subsets(values.size)
    return np.split((members @ values)[order], ends)


@lru_cache(maxsize=32)
def _subsets(size: int) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    """All subsets of `size` values as rows of 0 and 1, an order by how many they hold, and where each number ends."""
    members = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
    held = members.sum(axis=1)
    order = np.argsort(held, kind="stable")
    return members.astype(np.float64), order, np.cumsum(np.bincount(held))[:-1]
