"""The verdict rule: what a sweep may say, and no more.

0. An undeclared difference -> invalid, with the list. Runs missing or unfinished -> pending.
1. A cell with one finished seed -> anecdote. The exact permutation test cannot reach its level -> directional.
2. Otherwise stratified Welch and the exact stratified permutation test, both one-sided, both required; Holm across
   the arms of the sweep (pending ones count), the level per look by Pocock. The level is alpha on each side, so the
   interval is two one-sided bounds of confidence 1 - level each.
   supported: the lower bound is above 0, and the estimate at least delta.
   refuted: the upper bound is below delta, "opposite" when below 0; the permutation test is made on the shifted values.
   inconclusive: anything else, with the seeds that would settle it.
3. Failed seeds stand beside the mean with a Wilson interval; supported and refuted must also hold under the least
   favourable reading of them (`failures`).
4. The same for final, last-K mean and peak at equal k; where the kinds differ, "depends on the statistic".

Every kind rests on p = the largest p of the tests it needs, so the exact test alone keeps false "supported" at or below
alpha for exchangeable seeds of any distribution; Welch guards arms of unequal spread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bellmark.errors import UserError
from bellmark.stats import noise
from bellmark.stats.claim import SUMMARIES, Arm, Claim, Summary
from bellmark.stats.evidence import Evidence, Proof, decide, weigh
from bellmark.stats.gather import Case, gather
from bellmark.stats.intervals import wilson
from bellmark.stats.multiplicity import holm_levels, pocock_level, reaches
from bellmark.stats.outcome import BySummary, FailedShare, Verdict, WorstCase
from bellmark.stats.power import sd_inflation, seeds_per_arm, seeds_to_reach
from bellmark.stats.sentence import sentence


def judge(claim: Claim, baseline: Arm, arms: Sequence[Arm], looks_done: int = 1) -> list[Verdict]:
    """One verdict per arm, in order. `looks_done` is the number of this look, 1 for the first.

    Raises UserError when two arms share a name. A look beyond those declared makes every verdict invalid.
    """
    names = [baseline.name, *(arm.name for arm in arms)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"two arms of this comparison are called {twice[0]!r}; each arm and the baseline need their own"
        )
    if looks_done < 1:
        raise ValueError(f"looks_done is {looks_done}; the first look is 1")
    cases = [gather(claim, baseline, arm) for arm in arms]
    looks = len(claim.look_plan)
    if looks_done > looks:
        extra = f"look {looks_done} was not declared: expect.looks allows {looks}"
        cases = [replace(case, undeclared=(*case.undeclared, extra)) for case in cases]
    per_look = pocock_level(claim.alpha, claim.look_plan)
    weighed = [_weigh(claim, case) for case in cases]
    levels = {summary: _levels([mine[summary] for mine in weighed], per_look) for summary in SUMMARIES}
    verdicts = []
    for i, (case, arm, mine) in enumerate(zip(cases, arms, weighed, strict=True)):
        my_levels = {summary: levels[summary][i] for summary in SUMMARIES}
        verdict = _verdict(claim, baseline, arm, case, mine, my_levels)
        verdicts.append(replace(verdict, sentence=sentence(verdict)))
    return verdicts


def _weigh(claim: Claim, case: Case) -> dict[Summary, Evidence | None]:
    if case.undeclared or case.missing or not case.curves:
        return dict.fromkeys(SUMMARIES)
    if all(curves.steps.size == 1 for curves in case.curves):
        return dict.fromkeys(SUMMARIES, weigh(case.sample(claim, "final"), claim.minimum_effect))
    return {summary: weigh(case.sample(claim, summary), claim.minimum_effect) for summary in SUMMARIES}


def _levels(evidence: Sequence[Evidence | None], per_look: float) -> list[tuple[float, float]]:
    """Holm's levels for "better" and for "smaller than delta" across all arms; unjudged arms take their share."""
    better = holm_levels([1.0 if e is None else e.p_better for e in evidence], per_look)
    smaller = holm_levels([1.0 if e is None else e.p_smaller for e in evidence], per_look)
    return list(zip(better, smaller, strict=True))


def _verdict(
    claim: Claim,
    baseline: Arm,
    arm: Arm,
    case: Case,
    weighed: Mapping[Summary, Evidence | None],
    levels: Mapping[Summary, tuple[float, float]],
) -> Verdict:
    level, level_high = levels[claim.summary]
    bare = Verdict(
        kind="inconclusive",
        arm=arm.name,
        baseline=baseline.name,
        claim=claim,
        tasks=case.tasks,
        level=level,
        level_high=level_high,
        finished={arm.name: _sizes(case.arm_seeds), baseline.name: _sizes(case.baseline_seeds)},
        failed={side.name: _failed_share(side) for side in (arm, baseline)},
        problems=case.notes,
    )
    if case.undeclared:
        return replace(bare, kind="invalid", problems=case.undeclared)
    if case.missing:
        return replace(bare, kind="pending", problems=case.missing)
    evidence = weighed[claim.summary]
    if evidence is None:
        return replace(bare, problems=(*case.notes, "an arm has no finished seed on some task"))
    by_summary = {summary: _by_summary(e, *levels[summary]) for summary, e in weighed.items() if e is not None}
    shown = by_summary[claim.summary]
    verdict = replace(
        bare,
        kind=shown.kind,
        opposite=shown.opposite,
        estimate=shown.estimate,
        low=shown.low,
        high=shown.high,
        p_welch=shown.p_welch,
        p_permutation=shown.p_permutation,
        pairs_won=evidence.pairs_won,
        pairs=evidence.pairs,
        probability_of_improvement=evidence.probability_of_improvement,
        smallest_p=evidence.smallest_p,
        worst_case=_worst_case(evidence, level, level_high),
        by_summary=by_summary,
        depends_on_statistic=_disagree(list(by_summary.values())),
        spread_fell=case.fallen_spread() if shown.kind == "inconclusive" else None,
    )
    return _with_noise(_with_seeds(verdict, evidence), case)


def _sizes(seeds: Sequence[Sequence[object]]) -> tuple[int, ...]:
    return tuple(len(task) for task in seeds)


def _failed_share(arm: Arm) -> FailedShare:
    seeds = [seed for task in arm.results.values() for seed in task]
    failed = sum(seed.failed for seed in seeds)
    share = wilson(failed, len(seeds))
    return FailedShare(failed, len(seeds), share.low, share.high)


def _by_summary(evidence: Evidence, level: float, level_high: float) -> BySummary:
    kind, opposite = decide(evidence, level, level_high)
    tested = kind in ("supported", "refuted", "inconclusive")
    welch, better = (evidence.welch, evidence.better) if tested else (None, None)
    return BySummary(
        kind=kind,
        opposite=opposite,
        estimate=evidence.estimate,
        low=None if welch is None else float(welch.lower(level)),
        high=None if welch is None else float(welch.upper(level_high)),
        p_welch=None if better is None else better.p_welch,
        p_permutation=None if better is None else better.p_permutation,
        pairs_won=evidence.pairs_won,
        pairs=evidence.pairs,
    )


def _disagree(results: Sequence[BySummary]) -> bool:
    """Whether the three summaries come to different kinds, or, where only a sign is shown, to different signs."""
    if len({(result.kind, result.opposite) for result in results}) > 1:
        return True
    return results[0].kind in ("anecdote", "directional") and len({np.sign(result.estimate) for result in results}) > 1


def _worst_case(evidence: Evidence, level: float, level_high: float) -> WorstCase | None:
    """The reading that decides: against "supported" for an estimate of at least delta, against "refuted" otherwise."""
    gain = evidence.estimate >= evidence.delta
    proof: Proof | None = evidence.better if gain else evidence.smaller
    if proof is None or proof.worst_estimate is None or proof.worst_welch is None or proof.worst_permutation is None:
        return None
    return WorstCase(
        estimate=proof.worst_estimate if gain else proof.worst_estimate + evidence.delta,
        p_welch=proof.worst_welch,
        p_permutation=proof.worst_permutation,
        holds=reaches(proof.p, level if gain else level_high),
    )


def _with_seeds(verdict: Verdict, evidence: Evidence) -> Verdict:
    """Seeds per arm that would settle it: an effect of delta, or of the estimate's size where delta is 0.

    The spread s is the root mean square of all cells' seed deviations, taken at its upper 80% bound with the degrees of
    freedom of the thinner arm. Never fewer than the exact test needs, nor than one more than there are.
    """
    tasks = len(verdict.tasks)
    least = seeds_to_reach(verdict.level, tasks)
    if verdict.kind in ("anecdote", "directional"):
        return replace(verdict, seeds_needed=least)
    if verdict.kind != "inconclusive":
        return verdict
    sample = evidence.sample
    spread = math.sqrt(sum(float(part.var(ddof=1)) for part in (*sample.arm, *sample.baseline)) / 2.0) / tasks
    df = min(sum(n_x - 1 for n_x, _ in sample.sizes), sum(n_b - 1 for _, n_b in sample.sizes))
    least = max(least, sample.fewest + 1)

    def settle(effect: float) -> int | None:
        if effect == 0.0:
            return None
        if spread == 0.0:
            return least
        wanted = seeds_per_arm(effect / (spread * sd_inflation(df)), alpha=verdict.level, sides=1)
        return max(least, wanted)

    size = abs(evidence.estimate)
    return replace(verdict, seeds_needed=settle(evidence.delta or size), seeds_if_estimate=settle(size))


def _with_noise(verdict: Verdict, case: Case) -> Verdict:
    """The evaluation-noise floor beside the estimate, where the records say how many episodes were run."""
    variances = case.noise_variances(verdict.claim)
    if variances is None or verdict.estimate is None:
        return verdict
    floor = noise.floor(variances)
    deviation = math.sqrt(sum(variances)) / len(variances)
    return replace(
        verdict,
        noise_floor=floor,
        noise_z=verdict.estimate / deviation if deviation > 0.0 else None,
        noise_explains=abs(verdict.estimate) <= floor,
    )
