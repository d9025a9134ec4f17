"""A ledger of made-up runs, as large as wanted and the same for the same seed: what pages are tried and timed on.

A real sweep file is planned with real recipes; the runs' folders are those that the records' writer leaves, written in
one go each, because a million rows through the writer would take most of a minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from bellmark.cli.families import resolve
from bellmark.records import RunMeta, create_run
from bellmark.records.layout import METRICS, RunStatus, write_status
from bellmark.records.metrics import encode_row
from bellmark.sweeps.plan import plan
from bellmark.sweeps.schema import load_sweep
from bellmark.sweeps.work import Plan, PlannedRun

NAME = "many"
BETAS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
EVERY = 1000  # real steps between two rows
EPISODES = 50
FAILED = 37  # every so-many-th run fails on its way
EXTRA = ("loss/policy", "loss/value", "grad/norm", "policy/entropy", "value/mean", "advantage/std")


@dataclass(frozen=True)
class Size:
    """How large a ledger: arms x tasks x seeds runs, each with so many rows."""

    arms: int = 20
    seeds: int = 25
    points: int = 1000
    tasks: tuple[str, ...] = ("pick_cube", "cartpole")

    @property
    def runs(self) -> int:
        """How many in all."""
        return self.arms * self.seeds * len(self.tasks)


def question(size: Size) -> dict[str, Any]:
    """The sweep file, as a tree."""
    return {
        "name": NAME,
        "question": "Which temperature should AWR on re-rollouts have?",
        "hypothesis": "Too small a temperature clones, too large a one averages; the best lies between.",
        "expect": {"metric": "eval/success", "last": 5, "minimum_effect": 0.05},
        "base": "awr_rerollout",
        "grid": {"update.beta": list(BETAS[: size.arms])},
        "baseline": {"update.beta": BETAS[0]},
        "tasks": list(size.tasks),
        "seeds": list(range(1, size.seeds + 1)),
        "steps": size.points * EVERY,
    }


def write_ledger(folder: Path, size: Size, *, seed: int = 0) -> Plan:
    """Write `many.yaml` and `runs/many/*` below the folder; returns the sweep's plan, whose runs exist now."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{NAME}.yaml"
    file.write_text(yaml.safe_dump(question(size), sort_keys=False), encoding="utf-8")
    planned = plan(load_sweep(file), resolve, folder / "runs")
    rng = np.random.default_rng(seed)
    for number, run in enumerate(planned.runs):
        write_run(run, size.points, rng, fails=number % FAILED == FAILED - 1)
    return plan(load_sweep(file), resolve, folder / "runs")


def write_run(planned: PlannedRun, points: int, rng: np.random.Generator, *, fails: bool) -> None:
    """One run folder: a success rate that rises by its temperature and seed, and the losses beside it."""
    resolved = planned.resolved
    meta = RunMeta(
        name=planned.name,
        family=resolved.family,
        recipe=resolved.recipe,
        overrides=list(planned.overrides),
        config=resolved.tree,
        fingerprint=planned.fingerprint,
        model_fingerprint=resolved.model_fingerprint,
        task=planned.task,
        seed=planned.seed,
        steps=planned.steps,
        sweep=NAME,
        arm=planned.arm,
        commit="d53c0cc1b2a3" + "0" * 28,
        versions={"python": "3.11.2", "mujoco": "3.17.0", "torch": "2.13.0"},
        created="2026-02-17T20:52:00+00:00",
        group=NAME,
    )
    create_run(planned.dir, meta)
    beta = float(resolved.tree["update"]["beta"])
    rows = int(points * rng.uniform(0.2, 0.8)) if fails else points
    columns = _columns(rows, points, beta, rng)
    names, values = list(columns), np.stack(list(columns.values()), axis=1).tolist()
    lines = [encode_row(EVERY * i, 1, dict(zip(names, row, strict=True))) for i, row in enumerate(values)]
    (planned.dir / METRICS).write_bytes(b"".join(lines))
    last = EVERY * (rows - 1)
    status = (
        RunStatus(state="failed", reason="FloatingPointError: loss/value is NaN") if fails else RunStatus(state="done")
    )
    write_status(planned.dir, _with(status, step=last, total=planned.steps, attempt=1), durable=False)


def _columns(rows: int, points: int, beta: float, rng: np.random.Generator) -> Mapping[str, NDArray[np.float64]]:
    time = np.arange(rows) / points
    best = 0.9 - 0.18 * abs(np.log10(beta)) + rng.normal(0, 0.03)
    rate = 0.1 + (best - 0.1) * (1 - np.exp(-time * rng.uniform(3, 6)))
    drift = np.cumsum(rng.normal(0, 0.004, rows))
    hits = rng.binomial(EPISODES, np.clip(rate + drift, 0.01, 0.99))
    found = {
        "eval/success": hits / EPISODES,
        "eval/episodes": np.full(rows, float(EPISODES)),
        "steps/real": EVERY * np.arange(rows, dtype=np.float64),
        "time/collect": rng.gamma(20.0, 0.02, rows),
        "time/update": rng.gamma(20.0, 0.05, rows),
    }
    for i, name in enumerate(EXTRA):
        found[name] = np.exp(-3 * time) * (i + 1) + rng.normal(0, 0.05, rows)
    return found


def _with(status: RunStatus, **changes: Any) -> RunStatus:
    import msgspec

    return msgspec.structs.replace(status, **changes)


def main() -> None:
    """`python benchmarks/many_runs.py FOLDER`: write a ledger there to look at."""
    parser = argparse.ArgumentParser(description="Write a ledger of made-up runs.")
    parser.add_argument("folder", type=Path)
    for name, default in (("arms", 20), ("seeds", 25), ("points", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    size = Size(given.arms, given.seeds, given.points)
    made = write_ledger(given.folder, size)
    print(f"{size.runs:,} runs x {size.points:,} rows below {given.folder}: {made.count()}")


if __name__ == "__main__":
    main()
