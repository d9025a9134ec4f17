"""How often the verdict rule errs, and how often it finds what is there: simulated sweeps with a known truth.

    python benchmarks/verdict_calibration.py [--sweeps 4000]

Every simulated sweep that could be called "supported" goes through `bellmark.stats.judge` itself. The others are known
not to be: "supported" needs a Welch p below the level that Holm and the looks leave, which is quick for all sweeps.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import numpy as np
import provenance

from bellmark.stats import Arm, Claim, SeedResult, Verdict, judge
from bellmark.stats.claim import FloatArray
from bellmark.stats.difference import stratified_welch
from bellmark.stats.multiplicity import pocock_level
from bellmark.stats.power import least_detectable_effect, t_test_power

SEED_COUNTS = (2, 3, 5, 10)
COLLAPSE = 0.2


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Standard normal seeds."""
    return rng.normal(size=shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Log-normal (shape 1) with the long tail downwards, mean 0, sd 1."""
    sd = math.sqrt((math.e - 1.0) * math.e)
    return -(np.exp(rng.normal(size=shape)) - math.exp(0.5)) / sd


def bimodal(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """A fifth of the seeds collapse, by ten spreads of the others; mean 0, sd 1."""
    raw = rng.normal(size=shape) - 10.0 * (rng.random(shape) < COLLAPSE)
    return (raw + 10.0 * COLLAPSE) / math.sqrt(1.0 + 100.0 * COLLAPSE * (1.0 - COLLAPSE))


def coin(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Success rates over ten episodes of seeds that either learn (0.95) or do not (0.05): few values, many ties."""
    return rng.binomial(10, np.where(rng.random(shape) < 0.5, 0.95, 0.05)) / 10.0


DISTRIBUTIONS: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], FloatArray]] = {
    "normal": normal,
    "skewed": skewed,
    "bimodal": bimodal,
    "coin": coin,
}


class Row(TypedDict):
    """One line of the table: a share of sweeps with its Monte Carlo standard error."""

    what: str
    distribution: str
    n: int
    tasks: int
    arms: int
    delta: float
    effect: float
    share: float
    error: float
    theory: float | None


def to_arm(name: str, numbers: FloatArray, failed: FloatArray | None = None) -> Arm:
    """numbers (T, n) as an arm of single evaluations; failed (T, n) marks seeds that crashed."""
    results = {}
    for m, task in enumerate(numbers):
        lost = np.zeros(task.size, dtype=bool) if failed is None else failed[m]
        results[f"task{m}"] = [
            SeedResult(seed=i, state="failed" if lost[i] else "done", steps=np.array([1000]), values=np.array([value]))
            for i, value in enumerate(task)
        ]
    return Arm(name=name, results=results)


def hopeful(claim: Claim, numbers: FloatArray) -> FloatArray:
    """Which sweeps could have an arm supported, by Welch's p alone. numbers (S, 1 + A, T, n) -> (S,) bool.

    Holm rejects nothing unless the smallest p is below alpha over the number of arms.
    """
    tasks = numbers.shape[2]
    level = pocock_level(claim.alpha, claim.look_plan) / (numbers.shape[1] - 1)
    baseline = [numbers[:, :1, m] for m in range(tasks)]
    return np.asarray(
        (stratified_welch([numbers[:, 1:, m] for m in range(tasks)], baseline).p_greater() <= level + 1e-9).any(axis=1)
    )


def judge_sweep(claim: Claim, numbers: FloatArray, look: int = 1) -> list[Verdict]:
    """Verdicts of one sweep, numbers (1 + A, T, n), baseline first."""
    arms = [to_arm(f"arm{a}", arm) for a, arm in enumerate(numbers)]
    return judge(claim, arms[0], arms[1:], looks_done=look)


def share_supported(claim: Claim, numbers: FloatArray) -> float:
    """Share of sweeps (S, 1 + A, T, n) in which at least one arm is called supported."""
    chosen = np.flatnonzero(hopeful(claim, numbers))
    found = sum(any(v.kind == "supported" for v in judge_sweep(claim, numbers[s])) for s in chosen)
    return found / numbers.shape[0]


def share_at_any_look(claim: Claim, numbers: FloatArray, counts: Sequence[int]) -> float:
    """Share of sweeps (S, 1 + A, T, n) supported at any of the declared looks at the first `counts` seeds."""
    found = np.zeros(numbers.shape[0], dtype=bool)
    for look, n in enumerate(counts, start=1):
        for s in np.flatnonzero(hopeful(claim, numbers[..., :n]) & ~found):
            found[s] = any(v.kind == "supported" for v in judge_sweep(claim, numbers[s][..., :n], look))
    return float(found.mean())


def simulate(
    distribution: str,
    n: int,
    *,
    tasks: int = 1,
    arms: int = 1,
    effect: float = 0.0,
    delta: float = 0.0,
    sweeps: int,
    seed: int = 0,
) -> float:
    """Share of sweeps called supported when every arm is the baseline plus `effect` seed deviations."""
    rng = np.random.default_rng([seed, n, tasks, arms, *distribution.encode()])
    numbers = DISTRIBUTIONS[distribution](rng, (sweeps, 1 + arms, tasks, n))
    numbers[:, 1:] += effect
    return share_supported(Claim(metric="eval/return", summary="final", minimum_effect=delta), numbers)


def with_deaths(n: int, *, dying: float, sweeps: int, hide: bool, seed: int = 0) -> float:
    """No effect, but the arm's worst `dying` share of seeds crash: share supported, told (or not) of the failures."""
    from scipy.special import ndtri

    rng = np.random.default_rng([seed, n])
    claim = Claim(metric="eval/return", summary="final")
    numbers = rng.normal(size=(sweeps, 2, 1, n))
    found = 0
    for base, arm in numbers:
        failed = arm < ndtri(dying)
        shown = to_arm("arm", arm[:, ~failed[0]]) if hide else to_arm("arm", arm, failed)
        found += judge(claim, to_arm("base", base), [shown])[0].kind == "supported"
    return found / sweeps


def lopsided(n: int, *, sweeps: int, seed: int = 0) -> float:
    """Equal means, but only the arm ever collapses: share supported. Not exchangeable, so nothing is promised."""
    rng = np.random.default_rng([seed, n])
    numbers = np.stack([0.1 * normal(rng, (sweeps, 1, n)), bimodal(rng, (sweeps, 1, n))], axis=1)
    return share_supported(Claim(metric="eval/return", summary="final"), numbers)


def table(sweeps: int) -> list[Row]:
    """Every measured share, false positives first."""
    rows: list[Row] = []

    def add(what: str, share: float, distribution: str, n: int, **more: float) -> None:
        row = Row(
            what=what,
            distribution=distribution,
            n=n,
            tasks=int(more.get("tasks", 1)),
            arms=int(more.get("arms", 1)),
            delta=more.get("delta", 0.0),
            effect=more.get("effect", 0.0),
            share=share,
            error=math.sqrt(share * (1.0 - share) / more.get("sweeps", sweeps)),
            theory=more.get("theory"),
        )
        rows.append(row)
        beside = "" if row["theory"] is None else f"   theory {row['theory']:.3f}"
        setting = f"tasks {row['tasks']} arms {row['arms']} delta {row['delta']:g} effect {row['effect']:.2f}"
        print(f"{what:24s} {distribution:8s} n={n:<3d}{setting}  {share:.4f} ± {row['error']:.4f}{beside}", flush=True)

    for distribution in DISTRIBUTIONS:
        for n in SEED_COUNTS:
            for tasks, arms, delta in ((1, 1, 0.0), (1, 1, 0.5), (3, 1, 0.0), (3, 1, 0.5), (1, 4, 0.0), (3, 4, 0.0)):
                share = simulate(distribution, n, tasks=tasks, arms=arms, delta=delta, sweeps=sweeps)
                add("false positive", share, distribution, n, tasks=tasks, arms=arms, delta=delta)
    for distribution in DISTRIBUTIONS:
        looks = Claim(metric="eval/return", summary="final", looks=(3, 5, 10))
        rng = np.random.default_rng([1, *distribution.encode()])
        numbers = DISTRIBUTIONS[distribution](rng, (sweeps, 2, 1, 10))
        add("false positive, 3 looks", share_at_any_look(looks, numbers, (3, 5, 10)), distribution, 10)
    fewer = max(sweeps // 2, 1)
    for n in SEED_COUNTS[1:]:
        for effect in (1.0, 2.0, least_detectable_effect(n, sides=1)):
            theory = t_test_power(effect, n, sides=1)
            for distribution in ("normal", "skewed", "bimodal"):
                share = simulate(distribution, n, effect=effect, sweeps=fewer)
                more = {"theory": theory} if distribution == "normal" else {}
                add("power", share, distribution, n, effect=effect, sweeps=fewer, **more)
        share = simulate("normal", n, tasks=3, effect=1.0, sweeps=fewer)
        add("power", share, "normal", n, tasks=3, effect=1.0, sweeps=fewer)
    deaths = min(sweeps, 1000)
    for n in SEED_COUNTS[2:]:
        add("worst 30% die, hidden", with_deaths(n, dying=0.3, sweeps=deaths, hide=True), "normal", n, sweeps=deaths)
        add("worst 30% die, told", with_deaths(n, dying=0.3, sweeps=deaths, hide=False), "normal", n, sweeps=deaths)
    for n in SEED_COUNTS[1:]:
        add("equal mean, arm collapses", lopsided(n, sweeps=sweeps), "bimodal", n)
    return rows


def main() -> None:
    """Print the table and store it with the commit and machine it was measured on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=4000, help="simulated sweeps per line (default 4000)")
    options = parser.parse_args()
    began = time.perf_counter()
    rows = table(options.sweeps)
    result = {
        "numpy": np.__version__,
        "sweeps": options.sweeps,
        "seconds": round(time.perf_counter() - began, 1),
        "rows": rows,
    }
    print(f"wrote {provenance.save('verdict_calibration', result)} after {result['seconds']} s")


if __name__ == "__main__":
    main()
