"""What should be known of a sweep's design before its runs are made.

Is its metric one that its runs record, are its cells compared on equal terms, can its seeds say anything?
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from bellmark.config import flatten
from bellmark.errors import UserError, nearest, unknown
from bellmark.records.metrics import JUDGED
from bellmark.sweeps.names import value_text
from bellmark.sweeps.schema import Sweep
from bellmark.sweeps.work import Cell, PlannedRun

# Even where an arm is a recipe of its own, and so declared as a whole, these make two runs incomparable unless the
# sweep file names them: how long, from where, and how judged.
PROTECTED = {
    "steps": "budget",
    "evaluation": "evaluation protocol",
    "start": "start checkpoint",
    "task": "task",
}
EPISODES = "evaluation.episodes"


def undeclared(differs: Mapping[str, Any], declared: set[str], *, whole: bool) -> tuple[str, ...]:
    """The differing keys that are not declared; `whole`: the arm is a recipe of its own, declared as such."""
    judged = (key for key in differs if not whole or key.split(".")[0] in PROTECTED)
    return tuple(key for key in judged if not _covered(key, declared))


def refuse_metric(sweep: Sweep, runs: Iterable[PlannedRun]) -> None:
    """Look at a primary metric of evaluations; what else is recorded is known once there are runs.

    Raises:
        UserError: no evaluation records the primary metric, or not as the runs are judged.
    """
    metric = sweep.expect.metric
    if not metric.startswith("eval/"):
        return
    if metric not in JUDGED:
        raise UserError(f"sweep {sweep.name}: expect.metric: {unknown('metric', metric, JUDGED)}")
    for run in runs:
        if metric.endswith("_sampled") and not flatten(run.resolved.tree).get("evaluation.sampled", True):
            raise UserError(
                f"sweep {sweep.name}: expect.metric={metric} is not recorded by cell {run.arm}, whose "
                "evaluation.sampled is false; set it to true"
            )


def remarks(sweep: Sweep, cells: Sequence[Cell], runs: Mapping[str, Sequence[PlannedRun]]) -> Iterator[str]:
    """What makes its comparisons unfair or its verdicts impossible, a line each; `runs` are those of each cell."""
    base = next(cell for cell in cells if cell.is_baseline)
    for cell in cells:
        yield from _unequal(cell, base, runs[cell.arm][0].steps, runs[base.arm][0].steps)
    tasks = dict.fromkeys(run.task for run in runs[base.arm])
    for task in sweep.expect.scales.keys() - tasks.keys():
        close = nearest(task, tasks, most=1)
        hint = f"; did you mean {close[0]}?" if close else f"; its tasks: {', '.join(tasks)}"
        yield f"expect.scales.{task} names no task of this sweep{hint}"
    if len(cells) > 1:
        yield from _too_few_seeds(sweep, len(cells) - 1, len(tasks))


def _unequal(cell: Cell, base: Cell, steps: int, base_steps: int) -> Iterator[str]:
    if cell.undeclared:
        keys = ", ".join(_change(cell, key) for key in cell.undeclared)
        yield f"cell {cell.arm} differs from the baseline {base.arm} in keys neither swept nor under set: {keys}"
    if steps != base_steps and "steps" not in {*cell.swept, *cell.undeclared}:
        yield f"cell {cell.arm} runs {steps:,} steps, the baseline {base.arm} {base_steps:,}"
    if EPISODES in cell.differs and EPISODES not in cell.undeclared:
        yield f"no verdict on cell {cell.arm}, judged unlike the baseline {base.arm}: {_change(cell, EPISODES)}"


def _too_few_seeds(sweep: Sweep, arms: int, tasks: int) -> Iterator[str]:
    """Whether any outcome could pass the exact test: its least p is 1 / C(2n, n) per task, against alpha / arms.

    The verdict's levels are no wider (Holm's first, narrower with several looks), so fewer are too few for sure.
    """
    seeds, alpha = len(sweep.seeds), sweep.expect.alpha
    needed = next(n for n in count(2) if alpha / arms * math.comb(2 * n, n) ** tasks >= 1 - 1e-9)
    if seeds == 1:
        yield f"one seed: whatever comes out is an anecdote; a verdict takes at least {needed} seeds"
    elif seeds < needed:
        test = "the exact test" + (f" of {arms} arms" if arms > 1 else "")
        yield (
            f"{seeds} seeds can only show a direction: no outcome of so few could pass {test}; a verdict takes at "
            f"least {needed} seeds"
        )


def _change(cell: Cell, key: str) -> str:
    there, here = ("absent" if value is None else value_text(value) for value in cell.differs[key])
    return f"{key} ({there} -> {here})"


def _covered(key: str, declared: set[str]) -> bool:
    """Whether a key, or an option it belongs to, is declared."""
    parts = key.split(".")
    return any(".".join(parts[:n]) in declared for n in range(1, len(parts) + 1))
