"""Train every fault and the healthy runs beside it, and keep their records: `make faults`. Done runs are not repeated.

    python tests/health/faults/suite.py [--workers 2] [--tuning 1] [--reported 1] [--only NAME ...]

Thresholds were moved on odd seeds alone; docs/health_evidence.md counts even ones. Records stay under runs/faults.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from table import FAULTS, HEALTHY, Fault, Task

from bellmark.cli.families import resolve
from bellmark.cli.train import run_folder
from bellmark.errors import UserError
from bellmark.records import Run
from bellmark.sweeps.names import run_name
from bellmark.sweeps.overrides import Resolved
from bellmark.train.run import execute

ROOT = Path(__file__).parents[3]
RUNS = ROOT / "runs" / "faults"


class Job(NamedTuple):
    """One run of the suite."""

    name: str  # a fault's, or healthy/FAMILY
    seed: int

    @property
    def fault(self) -> Fault | None:
        """What is planted; None in a healthy run."""
        return next((fault for fault in FAULTS if fault.name == self.name), None)

    @property
    def task(self) -> Task:
        """Where."""
        return self.fault.task if self.fault else HEALTHY[self.name.removeprefix("healthy/")]

    @property
    def resolved(self) -> Resolved:
        """Its configuration."""
        own = self.fault.overrides if self.fault else ()
        overrides = [*self.task.overrides, *own, "checkpoints.seconds=1000", f"seed={self.seed}"]
        return resolve(self.task.recipe, overrides)

    @property
    def place(self) -> Path:
        """Where its record is, or would be."""
        chosen = self.resolved
        name = run_name(chosen.recipe, chosen.overrides, self.seed, chosen.fingerprint)
        return RUNS / self.name / "single" / name


def jobs(seeds: list[int]) -> list[Job]:
    """All runs: a seed's faults and healthy ones before the next seed's."""
    names = [fault.name for fault in FAULTS] + [f"healthy/{name}" for name in HEALTHY]
    return [Job(name, seed) for seed in seeds for name in names]


def train(job: Job) -> str:
    """Run or continue one; returns what is to be said of it."""
    folder, began = run_folder(job.resolved, RUNS / job.name), time.process_time()
    if Run(folder).status.state in ("done", "failed", "stopped"):
        return f"{job.name} seed {job.seed}: was there"
    torch.manual_seed(job.seed)
    with job.fault.plant() if job.fault else nullcontext():
        try:
            execute(folder)
        except UserError as error:  # learning may diverge: the record says so
            return f"{job.name} seed {job.seed}: {error}"
    return f"{job.name} seed {job.seed}: {time.process_time() - began:.0f} s of one core"


def main() -> None:
    """Train what is missing, then write the evidence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tuning", type=int, default=1, help="odd seeds per fault")
    parser.add_argument("--reported", type=int, default=1, help="even seeds per fault")
    parser.add_argument("--only", nargs="*", default=[])
    chosen = parser.parse_args()
    seeds = [2 * k + 1 for k in range(chosen.tuning)] + [2 * k + 2 for k in range(chosen.reported)]
    wanted = [job for job in jobs(seeds) if not chosen.only or job.name in chosen.only]
    with multiprocessing.get_context("spawn").Pool(chosen.workers, maxtasksperchild=20) as pool:
        for count, line in enumerate(pool.imap_unordered(train, wanted), 1):
            print(f"[{count}/{len(wanted)}] {line}", flush=True)
    from evidence import write

    write()


if __name__ == "__main__":
    main()
