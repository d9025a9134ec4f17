"""From the dossier to the verdict rule and back: the claim as declared, arms as plain data, one verdict per arm."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from bellmark.reports.dossier import ArmRecord, Dossier, RunRecord
from bellmark.stats import Arm, Claim, SeedResult, Verdict, judge
from bellmark.sweeps.schema import Sweep


def claim_of(sweep: Sweep) -> Claim:
    """What the sweep file expects, as the verdict rule reads it."""
    expect = sweep.expect
    return Claim(
        metric=expect.metric,
        summary=expect.summary,
        last=expect.last,
        direction=expect.direction,
        minimum_effect=expect.minimum_effect,
        alpha=expect.alpha,
        looks=expect.looks or 1,
        scales=expect.scales,
    )


def look_number(sweep: Sweep) -> int:
    """Which of the declared looks this is, by the seeds planned; a number between two looks counts as the later one."""
    looks = sweep.expect.looks
    return bisect_left(looks, len(sweep.seeds)) + 1 if looks else 1


def judged(dossier: Dossier) -> list[Verdict]:
    """A verdict for every arm that is compared with the baseline; none without a declared question."""
    baseline = dossier.baseline
    if dossier.sweep is None or baseline is None or not dossier.compared:
        return []
    arms = [_arm(arm, dossier) for arm in dossier.compared]
    return judge(claim_of(dossier.sweep), _arm(baseline, dossier), arms, look_number(dossier.sweep))


def _arm(arm: ArmRecord, dossier: Dossier) -> Arm:
    results = {task: [_seed(run) for run in arm.on(task)] for task in dossier.tasks}
    return Arm(name=arm.name, results=results)


def _seed(run: RunRecord) -> SeedResult:
    episodes = run.trace.episodes[np.isfinite(run.trace.episodes)]
    return SeedResult(
        seed=run.seed,
        state="not started" if run.state == "new" else run.state,
        steps=run.trace.step,
        values=run.trace.value,
        episodes=int(episodes[0]) if len(episodes) and (episodes == episodes[0]).all() else None,
        problems=run.problems,
    )
