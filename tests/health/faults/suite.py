"""Train every fault and the healthy runs beside it, and keep their records: `make faults`. Done runs are not repeated.

    python tests/health/faults/suite.py [--workers 2] [--seeds 1 3 4 6 8 10 12] [--only NAME ...] [--quiet]

Thresholds were moved on odd seeds alone; docs/health_evidence.md counts even ones. Records stay under runs/faults.
NAME is a fault's, `faults` for all of them, `healthy/TASK` or `healthy`.
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
from bellmark.sweeps.overrides import Resolved
from bellmark.train.run import execute

ROOT = Path(__file__).parents[3]
RUNS = ROOT / "runs" / "faults"
SEEDS = [1, 3, 4, 6, 8, 10, 12]  # docs/health_evidence.md has some of 5, 7, 14, 16, 18 too
ENDED = ("done", "failed", "stopped")


class Job(NamedTuple):
    """One run of the suite."""

    name: str  # a fault's, or healthy/FAMILY
    seed: int

    @property
    def fault(self) -> Fault | None:
        """What is planted; None in a healthy run."""
        return next((fault for fault in FAULTS if fault.name == self.name), None)

    @property
    def kinds(self) -> set[str]:
        """The names that ask for it."""
        return {self.name, "faults" if self.fault else "healthy"}

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
    def record(self) -> Run | None:
        """Its newest finished record: of the same overrides, though the family may have got knobs since."""
        asked = list(self.resolved.overrides)
        made = [Run(place.parent) for place in (RUNS / self.name / "single").glob("*/run.json")]
        own = [run for run in made if run.meta.overrides == asked and run.status.state in ENDED]
        return max(own, key=lambda run: run.meta.created, default=None)


def jobs(seeds: list[int]) -> list[Job]:
    """All runs: a seed's faults and healthy ones before the next seed's."""
    names = [fault.name for fault in FAULTS] + [f"healthy/{name}" for name in HEALTHY]
    return [Job(name, seed) for seed in seeds for name in names]


def train(job: Job) -> str:
    """Run or continue one; returns what is to be said of it."""
    if job.record is not None:
        return f"{job.name} seed {job.seed}: was there"
    folder, began = run_folder(job.resolved, RUNS / job.name), time.process_time()
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
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="odd: tuning, even: counted")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--quiet", action="store_true", help="train only: leave docs/health_evidence.md as it is")
    chosen = parser.parse_args()
    wanted = [job for job in jobs(chosen.seeds) if not chosen.only or job.kinds & set(chosen.only)]
    with multiprocessing.get_context("spawn").Pool(chosen.workers, maxtasksperchild=20) as pool:
        for count, line in enumerate(pool.imap_unordered(train, wanted), 1):
            print(f"[{count}/{len(wanted)}] {line}", flush=True)
    if not chosen.quiet:
        from evidence import write

        write()


if __name__ == "__main__":
    main()
