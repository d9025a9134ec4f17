"""How failed seeds enter a verdict: beside the mean, never in it, and never to the claim's advantage.

The estimate and its interval are over finished seeds. A mean over survivors can be high because the bad seeds died, so
a claim must hold a second time under the *least favourable* reading of the failures. For "the arm is better":

- a failed seed of the arm scores the worst value that any finished seed of either arm reached on that task;
- a failed seed of the baseline scores the best value that a finished seed of the baseline reached on that task.

"Supported" needs both tests, Welch and permutation, on finished seeds *and* under this reading. "Refuted" needs the
same with the roles swapped, so an arm is not refuted because its good seeds died either. Swapping labels and
direction mirrors the verdict.

What this buys. Suppose every failed seed would have ended somewhere, for reasons of any kind that may depend on how
well it was going. The permutation p falls when a value of the arm rises or one of the baseline drops. So as long as
those lost values lie within the readings above, the p under the reading is at least the p of the complete experiment,
and "supported" stays within its error rate whatever decided which seeds died. If, instead, failing is equally likely
in both arms and tells nothing else apart, the test on finished seeds is exact by itself.

What it costs. Large effects at small n with a failure become "inconclusive"; the remedy is to repair and repeat the
run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bellmark.stats.claim import FloatArray


def against_the_arm(
    arm: Sequence[FloatArray],
    baseline: Sequence[FloatArray],
    arm_failed: Sequence[int],
    baseline_failed: Sequence[int],
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Finished values per task with the failed seeds added as worst for the claim "the arm is better".

    arm[m] (n_xm,), baseline[m] (n_bm,), more is better; the failed counts per task. To read the failures against the
    baseline, swap the arms.
    """
    arms, baselines = [], []
    for x, b, lost_x, lost_b in zip(arm, baseline, arm_failed, baseline_failed, strict=True):
        arms.append(np.concatenate([x, np.full(lost_x, min(x.min(), b.min()))]))
        baselines.append(np.concatenate([b, np.full(lost_b, b.max())]))
    return arms, baselines
