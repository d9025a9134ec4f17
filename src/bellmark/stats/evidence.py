"""One arm against the baseline on one summary: the numbers a verdict weighs, and the kind they come to.

Values are scaled by c_m and oriented so that more is better; `delta` is the minimum interesting effect in those units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bellmark.stats.claim import FloatArray
from bellmark.stats.difference import Welch, permutation_test, smallest_p, stratified_welch
from bellmark.stats.failures import against_the_arm
from bellmark.stats.intervals import pairs_won, probability_of_improvement
from bellmark.stats.multiplicity import reaches

Kind = Literal["invalid", "pending", "anecdote", "directional", "supported", "refuted", "inconclusive"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Finished seeds' numbers per task and how many seeds failed there; every array has at least one value."""

    arm: Sequence[FloatArray]
    baseline: Sequence[FloatArray]
    arm_failed: Sequence[int]
    baseline_failed: Sequence[int]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Finished seeds per task, (arm, baseline)."""
        return [(x.size, b.size) for x, b in zip(self.arm, self.baseline, strict=True)]

    @property
    def fewest(self) -> int:
        """The thinnest cell: finished seeds of one arm on one task."""
        return min(min(pair) for pair in self.sizes)

    @property
    def any_failed(self) -> bool:
        """Whether a seed of either arm failed on any task."""
        return any(self.arm_failed) or any(self.baseline_failed)

    def moved(self, shift: float) -> Sample:
        """The sample with `shift` taken off every value of the arm."""
        return Sample(
            arm=[x - shift for x in self.arm],
            baseline=self.baseline,
            arm_failed=self.arm_failed,
            baseline_failed=self.baseline_failed,
        )


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One-sided p values of one statement: both tests on finished seeds, and under the worst reading of failures.

    `worst_*` are None when no seed failed; `worst_estimate` is the difference then. The statement holds only where
    every test does, so `p` is the largest.
    """

    p_welch: float
    p_permutation: float
    worst_welch: float | None = None
    worst_permutation: float | None = None
    worst_estimate: float | None = None

    @property
    def p(self) -> float:
        """The largest p of all tests made."""
        return max(self.p_welch, self.p_permutation, self.worst_welch or 0.0, self.worst_permutation or 0.0)


def prove(sample: Sample) -> tuple[Proof, Proof]:
    """Test "the arm is better" and "the arm is worse" on a sample with at least two finished seeds in each cell."""
    welch = stratified_welch(sample.arm, sample.baseline)
    permuted = permutation_test(sample.arm, sample.baseline)
    better = Proof(p_welch=float(welch.p_greater()), p_permutation=permuted.p_greater)
    worse = Proof(p_welch=float(welch.p_less()), p_permutation=permuted.p_less)
    if not sample.any_failed:
        return better, worse
    arm, baseline = against_the_arm(sample.arm, sample.baseline, sample.arm_failed, sample.baseline_failed)
    low, low_permuted = stratified_welch(arm, baseline), permutation_test(arm, baseline)
    # Read against "the arm is worse", the roles are exchanged.
    baseline, arm = against_the_arm(sample.baseline, sample.arm, sample.baseline_failed, sample.arm_failed)
    high, high_permuted = stratified_welch(arm, baseline), permutation_test(arm, baseline)
    return (
        replace(
            better,
            worst_welch=float(low.p_greater()),
            worst_permutation=low_permuted.p_greater,
            worst_estimate=float(low.estimate),
        ),
        replace(
            worse,
            worst_welch=float(high.p_less()),
            worst_permutation=high_permuted.p_less,
            worst_estimate=float(high.estimate),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one summary says. `better`: above 0; `smaller`: below delta; `worse`: below 0. None where not testable."""

    sample: Sample
    delta: float
    estimate: float
    pairs_won: float
    pairs: int
    probability_of_improvement: float
    smallest_p: float
    welch: Welch | None = None
    better: Proof | None = None
    smaller: Proof | None = None
    worse: Proof | None = None

    @property
    def p_better(self) -> float:
        """For Holm: 1 where nothing was testable."""
        return 1.0 if self.better is None else self.better.p

    @property
    def p_smaller(self) -> float:
        """For Holm: 1 where nothing was testable."""
        return 1.0 if self.smaller is None else self.smaller.p


def weigh(sample: Sample, delta: float) -> Evidence:
    """Everything one summary of one arm says, before levels are known."""
    means = [float(x.mean() - b.mean()) for x, b in zip(sample.arm, sample.baseline, strict=True)]
    testable = sample.fewest >= 2
    better, worse = prove(sample) if testable else (None, None)
    smaller = prove(sample.moved(delta))[1] if testable and delta > 0.0 else worse
    return Evidence(
        sample=sample,
        delta=delta,
        estimate=math.fsum(means) / len(means),
        pairs_won=sum(pairs_won(x, b) for x, b in zip(sample.arm, sample.baseline, strict=True)),
        pairs=sum(n_x * n_b for n_x, n_b in sample.sizes),
        probability_of_improvement=probability_of_improvement(sample.arm, sample.baseline),
        smallest_p=smallest_p(sample.sizes),
        welch=stratified_welch(sample.arm, sample.baseline) if testable else None,
        better=better,
        smaller=smaller,
        worse=worse,
    )


def decide(evidence: Evidence, level_better: float, level_smaller: float) -> tuple[Kind, bool]:
    """The kind of verdict at the levels Holm left for this arm, and whether a refuted claim came out opposite.

    "Directional" is asked at those very levels: where the exact test cannot reach what Holm and the looks leave, no
    outcome of the experiment could have been called supported, so calling it inconclusive would blame the data.
    """
    if evidence.better is None or evidence.smaller is None or evidence.worse is None:
        return "anecdote", False
    if not reaches(evidence.smallest_p, max(level_better, level_smaller)):
        return "directional", False
    if reaches(evidence.better.p, level_better) and evidence.estimate >= evidence.delta:
        return "supported", False
    if reaches(evidence.smaller.p, level_smaller):
        return "refuted", reaches(evidence.worse.p, level_smaller)
    return "inconclusive", False
