"""Why no bootstrap band is a verdict: coverage and false positives of percentile bootstraps at few seeds.

    python benchmarks/bootstrap_coverage.py [--sweeps 4000]

Prints, for 2, 3, 5 and 10 seeds, how often a nominal 95% percentile interval of a mean holds the truth, and how often
"the 95% interval of the difference excludes 0" happens without an effect; beside them Welch's two-sided test.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import provenance

from bellmark.stats.claim import FloatArray
from bellmark.stats.difference import stratified_welch
from bellmark.stats.intervals import iqm

SEED_COUNTS = (2, 3, 5, 10)
RESAMPLES = 1000
TASKS = 3


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Standard normal seeds, mean 0."""
    return rng.normal(size=shape)


def failing(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """A fifth of the seeds fail, ten spreads below the others; mean 0."""
    return rng.normal(size=shape) - 10.0 * (rng.random(shape) < 0.2) + 2.0


def resampled(rng: np.random.Generator, values: FloatArray) -> FloatArray:
    """Resamples with replacement along the last axis: (S, ..., n) -> (S, ..., RESAMPLES, n)."""
    index = rng.integers(0, values.shape[-1], size=(*values.shape[:-1], RESAMPLES, values.shape[-1]))
    return np.take_along_axis(values[..., None, :], index, axis=-1)


def outside(draws: FloatArray) -> FloatArray:
    """Whether the 95% percentile interval over the last axis leaves out 0."""
    low, high = np.quantile(draws, [0.025, 0.975], axis=-1)
    return np.asarray((low > 0.0) | (high < 0.0))


def mean_missed(rng: np.random.Generator, x: FloatArray, b: FloatArray) -> FloatArray:
    """The bootstrap interval of one arm's mean misses the true mean 0. x (S, T, n)."""
    return outside(resampled(rng, x[:, 0]).mean(axis=-1))


def difference_found(rng: np.random.Generator, x: FloatArray, b: FloatArray) -> FloatArray:
    """The bootstrap interval of the difference of means excludes 0, on one task."""
    return outside(resampled(rng, x[:, 0]).mean(axis=-1) - resampled(rng, b[:, 0]).mean(axis=-1))


def iqm_found(rng: np.random.Generator, x: FloatArray, b: FloatArray) -> FloatArray:
    """The stratified bootstrap interval of the difference of IQMs over all tasks excludes 0."""
    drawn = [iqm(np.swapaxes(resampled(rng, side), 1, 2).reshape(len(side), RESAMPLES, -1)) for side in (x, b)]
    return outside(drawn[0] - drawn[1])


def welch_found(rng: np.random.Generator, x: FloatArray, b: FloatArray) -> FloatArray:
    """Welch's two-sided test at 5% on one task."""
    welch = stratified_welch([x[:, 0]], [b[:, 0]])
    return np.asarray(np.minimum(welch.p_greater(), welch.p_less()) <= 0.025)


def stratified_found(rng: np.random.Generator, x: FloatArray, b: FloatArray) -> FloatArray:
    """Stratified Welch, two-sided at 5%, over all tasks."""
    welch = stratified_welch([x[:, m] for m in range(TASKS)], [b[:, m] for m in range(TASKS)])
    return np.asarray(np.minimum(welch.p_greater(), welch.p_less()) <= 0.025)


MEASURES: dict[str, Callable[[np.random.Generator, FloatArray, FloatArray], FloatArray]] = {
    "bootstrap of a mean misses it": mean_missed,
    "bootstrap of the difference excludes 0": difference_found,
    "Welch, one task": welch_found,
    "bootstrap of IQMs over 3 tasks excludes 0": iqm_found,
    "stratified Welch, 3 tasks": stratified_found,
}


def main() -> None:
    """Print the table and store it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=4000, help="simulated sweeps per number (default 4000)")
    options = parser.parse_args()
    rows = []
    for name, draw in (("normal", normal), ("a fifth fails", failing)):
        for what, measure in MEASURES.items():
            shares = []
            for n in SEED_COUNTS:
                rng = np.random.default_rng([n, *what.encode()])
                found = [
                    measure(rng, draw(rng, (50, TASKS, n)), draw(rng, (50, TASKS, n)))
                    for _ in range(options.sweeps // 50)
                ]
                shares.append(round(float(np.mean(found)), 4))
            rows.append({"what": what, "distribution": name, "seeds": SEED_COUNTS, "shares": shares})
            print(f"{what:42s} {name:14s} {' '.join(f'{share:.3f}' for share in shares)}", flush=True)
    result = {"sweeps": options.sweeps, "resamples": RESAMPLES, "rows": rows}
    print(f"wrote {provenance.save('bootstrap_coverage', result)}")


if __name__ == "__main__":
    main()
