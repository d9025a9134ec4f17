"""Arms to samples: what stands in the way of a verdict (step 0 of the rule), and one number per finished seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bellmark.stats import noise
from bellmark.stats.claim import Arm, Claim, FloatArray, SeedResult, Summary
from bellmark.stats.curves import SUMMARISE, Aligned, ScheduleError, align, evaluations_used, spread_over_time
from bellmark.stats.evidence import Sample


@dataclass(frozen=True, kw_only=True)
class Case:
    """One arm against the baseline, ready to be summarised: per task the finished seeds and their aligned curves.

    `undeclared` makes the verdict invalid, `missing` makes it pending; `notes` are cautions. `curves` is empty unless
    every task has a finished seed in both arms. `arm_failed` and `baseline_failed` count failed seeds per task.
    """

    arm: str
    tasks: tuple[str, ...]
    undeclared: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    arm_seeds: tuple[tuple[SeedResult, ...], ...]
    baseline_seeds: tuple[tuple[SeedResult, ...], ...]
    arm_failed: tuple[int, ...]
    baseline_failed: tuple[int, ...]
    curves: tuple[Aligned, ...]

    def sample(self, claim: Claim, summary: Summary) -> Sample:
        """One number per finished seed, oriented so that more is better, divided by the task's scale."""
        arm, baseline = [], []
        for task, seeds, curves in zip(self.tasks, self.arm_seeds, self.curves, strict=True):
            numbers = SUMMARISE[summary](claim.sign * curves.values, claim.last) / claim.scale(task)
            arm.append(numbers[: len(seeds)])
            baseline.append(numbers[len(seeds) :])
        return Sample(arm=arm, baseline=baseline, arm_failed=self.arm_failed, baseline_failed=self.baseline_failed)

    def noise_variances(self, claim: Claim) -> list[float] | None:
        """Variance of each task's difference from finitely many episodes alone; None where the records do not say."""
        variances = []
        for task, x, b, curves in zip(self.tasks, self.arm_seeds, self.baseline_seeds, self.curves, strict=True):
            used = evaluations_used(claim.summary, claim.last, curves.steps.size)
            variance = _noise_variance(claim, x, b, curves, used)
            if variance is None:
                return None
            variances.append(variance / claim.scale(task) ** 2)
        return variances

    def fallen_spread(self) -> tuple[str, int, float, int, float] | None:
        """(task, step, sd, last step, sd there) where the seed spread at half time was over twice that at the end."""
        for task, seeds, curves in zip(self.tasks, self.arm_seeds, self.curves, strict=True):
            steps, n = curves.steps, len(seeds)
            if steps.size < 4 or curves.values.shape[0] < 3:
                continue
            spread = spread_over_time(curves.values[:n], curves.values[n:])
            half = int(np.abs(steps - steps[-1] / 2).argmin())
            if spread[half] > 2.0 * spread[-1]:
                return task, int(steps[half]), float(spread[half]), int(steps[-1]), float(spread[-1])
        return None


def gather(claim: Claim, baseline: Arm, arm: Arm) -> Case:
    """Sort an arm's and the baseline's seeds into finished, failed and missing, and align the finished curves."""
    tasks = tuple(dict.fromkeys([*baseline.results, *arm.results]))
    undeclared, missing, notes = [], [], []
    curves, finished_x, finished_b = [], [], []
    for task in tasks:
        found = [(side.name, tuple(side.results.get(task, ()))) for side in (arm, baseline)]
        where = f" on {task}" if len(tasks) > 1 else ""
        for name, seeds in found:
            undeclared += _undeclared(name + where, seeds)
            missing += _missing(name + where, seeds)
        x, b = ([seed for seed in seeds if seed.finished] for _, seeds in found)
        finished_x.append(tuple(x))
        finished_b.append(tuple(b))
        if x and b:
            try:
                aligned = align([*x, *b])
            except ScheduleError as error:
                undeclared.append(f"{arm.name} and {baseline.name}{where}: {error}")
                continue
            undeclared += _episodes([*x, *b], where)
            notes += [note + where for note in aligned.notes] + _short(claim, aligned, where)
            curves.append(aligned)
    if not tasks:
        missing.append(f"{arm.name} and {baseline.name}: no runs yet")
    if len(tasks) > 1 and not claim.scales:
        notes.append("no scales declared: the tasks' differences are averaged in their own units")
    return Case(
        arm=arm.name,
        tasks=tasks,
        undeclared=tuple(dict.fromkeys(undeclared)),
        missing=tuple(dict.fromkeys(missing)),
        notes=tuple(dict.fromkeys(notes)),
        arm_seeds=tuple(finished_x),
        baseline_seeds=tuple(finished_b),
        arm_failed=tuple(sum(seed.failed for seed in arm.results.get(task, ())) for task in tasks),
        baseline_failed=tuple(sum(seed.failed for seed in baseline.results.get(task, ())) for task in tasks),
        curves=tuple(curves) if len(curves) == len(tasks) else (),
    )


def _undeclared(where: str, seeds: Sequence[SeedResult]) -> list[str]:
    listed = [f"{where}: {problem}" for seed in seeds for problem in seed.problems]
    numbers = [seed.seed for seed in seeds]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    return listed + [f"{where}: seed {number} counted twice" for number in twice]


def _missing(where: str, seeds: Sequence[SeedResult]) -> list[str]:
    if not seeds:
        return [f"{where}: no runs yet"]
    return [
        f"{where}: seed {seed.seed} {'has no evaluation' if seed.state == 'done' else 'is ' + seed.state}"
        for seed in seeds
        if not seed.finished and not seed.failed
    ]


def _episodes(seeds: Sequence[SeedResult], where: str) -> list[str]:
    counts = sorted({seed.episodes for seed in seeds if seed.episodes is not None})
    listed = " and ".join(str(count) for count in counts)
    return [f"unequal evaluation{where}: {listed} episodes per evaluation"] if len(counts) > 1 else []


def _short(claim: Claim, aligned: Aligned, where: str) -> list[str]:
    k = aligned.steps.size
    if claim.summary == "last_mean" and k < claim.last:
        return [f"only {k} evaluations{where}: the mean of the last {claim.last} is the mean of all"]
    if claim.summary == "last_mean" and aligned.steps[-claim.last] == 0:
        return [f"the mean of the last {claim.last} evaluations{where} includes the untouched start"]
    return []


def _noise_variance(
    claim: Claim, arm: Sequence[SeedResult], baseline: Sequence[SeedResult], curves: Aligned, used: int
) -> float | None:
    episodes = [_episodes_behind(seeds, used) for seeds in (arm, baseline)]
    if episodes[0] is None or episodes[1] is None:
        return None
    if claim.is_proportion:
        rates = SUMMARISE[claim.summary](curves.values, claim.last)
        return noise.success_variance(rates[: len(arm)], rates[len(arm) :], episodes[0], episodes[1])
    spreads = [[seed.episode_sd for seed in seeds if seed.episode_sd is not None] for seeds in (arm, baseline)]
    if len(spreads[0]) < len(arm) or len(spreads[1]) < len(baseline):
        return None
    return noise.return_variance(np.asarray(spreads[0]), episodes[0]) + noise.return_variance(
        np.asarray(spreads[1]), episodes[1]
    )


def _episodes_behind(seeds: Sequence[SeedResult], used: int) -> FloatArray | None:
    """Episodes behind each seed's number, taking the evaluations of a run as independent; None where unknown."""
    counts = [seed.episodes for seed in seeds if seed.episodes]
    return np.asarray(counts, dtype=np.float64) * used if len(counts) == len(seeds) else None
