"""How sweeps look on a terminal and as JSON: the output of `bellmark sweep`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from bellmark.cli.screen import console
from bellmark.records import Run
from bellmark.sweeps.names import value_text
from bellmark.sweeps.table import COLOUR, clock
from bellmark.sweeps.work import ENDED, Cell, Plan, PlannedRun, some

if TYPE_CHECKING:
    from bellmark.sweeps.launch import Outcome

MOST_DIFFERENCES = 6  # per cell in the table; the rest is counted


def print_plan(plan: Plan, workers: int, notes: Sequence[str]) -> None:
    """The question, the cells with their difference to the baseline, every run, the count and the cost."""
    screen = console()
    _print_question(plan)
    screen.print(_cells(plan), "")
    table = Table("run", "arm", "task", "seed", "state", "overrides", box=None, pad_edge=False, header_style="dim")
    for run in plan.runs:
        state = f"{run.state} in {run.sweep}" if run.exists and run.sweep != plan.sweep.name else run.state
        overrides = " ".join(run.overrides)
        table.add_row(
            run.name, run.arm, run.task, str(run.seed), Text(state, style=COLOUR.get(run.state, "dim")), overrides
        )
    screen.print(table, "")
    _print_count(plan, workers)
    _warn([*plan.warnings, *notes])


def print_start(plan: Plan, workers: int, notes: Sequence[str], retry_failed: bool) -> None:
    """What is about to be run."""
    _print_question(plan)
    _print_count(plan, workers, retry_failed)
    _warn([*plan.warnings, *notes])


def print_outcome(plan: Plan, outcome: Outcome, seconds: float) -> None:
    """What came of a launch, in one line, after what the user can do about failures."""
    screen = console()
    runs = {run.name: run for run in plan.runs}
    for name, why in outcome.failed.items():
        screen.print(Text(f"failed: {name}: {why} (see {runs[name].dir / 'log.txt'})", style="red"))
    if outcome.failed:
        screen.print("--retry-failed goes on with the failed ones from their last checkpoint")
    text = f"{len(outcome.done)} of {some(len(plan.runs), 'run')} done"
    text += f", {len(outcome.failed)} failed" if outcome.failed else ""
    text += f", {len(outcome.left)} left (`bellmark sweep resume` goes on with them)" if outcome.left else ""
    time = f" after {clock(seconds)}"
    screen.print(f"sweep {plan.sweep.name}: {text}{time}, exit code {outcome.exit_code}; records in {plan.home}")


def print_status(plan: Plan) -> None:
    """One line per run, then how many are in which state."""
    metric = plan.sweep.expect.metric
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("arm", "task", "seed", "state", "step", metric, "run"):
        table.add_column(title, justify="right" if title in ("seed", "step", metric) else "left")
    for run, latest in zip(plan.runs, _latest(plan), strict=True):
        table.add_row(
            run.arm,
            run.task,
            str(run.seed),
            Text(run.state, style=COLOUR.get(run.state, "dim")),
            f"{run.step:,}/{run.steps:,}",
            "" if latest is None else f"{latest:.4g}",
            run.name,
        )
    console().print(table, "")
    console().print(f"{plan.count()}: {_states(plan)}")


def plan_object(plan: Plan, notes: Sequence[str]) -> dict[str, Any]:
    """The whole plan as plain JSON; `notes`: what there is to say of running it here."""
    return {
        "sweep": plan.sweep.tree(),
        "count": plan.count(),
        "baseline": plan.baseline.arm,
        "cells": [_cell_object(cell) for cell in plan.cells],
        "runs": [_run_object(run) for run in plan.runs],
        "warnings": [*plan.warnings, *notes],
    }


def status_object(plan: Plan) -> dict[str, Any]:
    """States and latest values as plain JSON."""
    values = zip(plan.runs, _latest(plan), strict=True)
    return {
        "sweep": plan.sweep.name,
        "states": dict(Counter(run.state for run in plan.runs)),
        "metric": plan.sweep.expect.metric,
        "runs": [{**_run_object(run), "latest": latest} for run, latest in values],
    }


def _cell_object(cell: Cell) -> dict[str, Any]:
    return {
        "arm": cell.arm,
        "recipe": cell.recipe,
        "baseline": cell.is_baseline,
        "overrides": list(cell.overrides),
        "swept": cell.swept,
        "differs": {key: {"baseline": old, "here": new} for key, (old, new) in cell.differs.items()},
        "undeclared": list(cell.undeclared),
    }


def _run_object(run: PlannedRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "path": str(run.dir),
        "arm": run.arm,
        "task": run.task,
        "seed": run.seed,
        "state": run.state,
        "step": run.step,
        "steps": run.steps,
        "fingerprint": run.fingerprint,
        "overrides": list(run.overrides),
        "seconds": run.seconds,
    }


def _print_question(plan: Plan) -> None:
    sweep = plan.sweep
    expect = sweep.expect
    summary = {"last_mean": f"mean of the last {expect.last} evaluations", "final": "last evaluation", "peak": "peak"}
    least = f" by at least {expect.minimum_effect:g}" if expect.minimum_effect else ""
    console().print(Text(f"{sweep.name}: {sweep.question}", style="bold"))
    console().print(f"expected: {expect.metric} will {expect.direction}{least} ({summary[expect.summary]})\n")


def _cells(plan: Plan) -> Table:
    table = Table("cell", "recipe", "runs", "difference to the baseline", box=None, pad_edge=False, header_style="dim")
    for cell in plan.cells:
        states = _count_states(plan.of(cell))
        name = Text(f"{cell.arm} (baseline)" if cell.is_baseline else cell.arm)
        table.add_row(name, cell.recipe, states, _differences(cell))
    return table


def _differences(cell: Cell) -> Text:
    """`key old -> new`, undeclared ones in red, the rest in the order of the configuration."""
    text = Text()
    ordered = sorted(cell.differs, key=lambda key: key not in cell.undeclared)
    for key in ordered[:MOST_DIFFERENCES]:
        old, new = ("-" if value is None else value_text(value) for value in cell.differs[key])
        text.append(f"{', ' if text else ''}{key} {old} -> {new}", style="red" if key in cell.undeclared else "")
    if len(ordered) > MOST_DIFFERENCES:
        text.append(f" and {len(ordered) - MOST_DIFFERENCES} more (--json shows all)", style="dim")
    return text


def _print_count(plan: Plan, workers: int, retry_failed: bool = False) -> None:
    missing = len(plan.to_run(retry_failed=retry_failed))
    cost = plan.cost(workers, retry_failed=retry_failed)
    console().print(f"{plan.count()} ({_states(plan)})")
    console().print(f"to run: {missing}{f', {cost}' if cost else ''}")
    ended = sum(run.state in ENDED for run in plan.runs)
    if ended and not retry_failed:
        console().print(f"besides, {some(ended, 'run')} failed or stopped earlier; --retry-failed goes on with them")


def _states(plan: Plan) -> str:
    return _count_states(plan.runs)


def _count_states(runs: Iterable[PlannedRun]) -> str:
    return ", ".join(f"{n} {state}" for state, n in Counter(run.state for run in runs).items())


def _latest(plan: Plan) -> list[float | None]:
    """The last value of the primary metric of each run; None where there is none yet."""
    found: list[float | None] = []
    for run in plan.runs:
        curve = Run(run.dir).curve(plan.sweep.expect.metric) if run.exists else None
        found.append(float(curve.value[-1]) if curve is not None and len(curve.value) else None)
    return found


def _warn(texts: Sequence[str]) -> None:
    for text in texts:
        print(f"bellmark: warning: {text}", file=sys.stderr)
