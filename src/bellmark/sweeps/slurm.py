"""The Slurm launcher: one job per run, through submitit.

What Slurm does of its own: a job whose node dies, or that a higher partition preempts, goes back to the queue
(`--requeue`). What it leaves to us: near its walltime, and before a preemption where the cluster is set up so, a job
gets SIGUSR2; the run then saves itself and its job is put back (`scontrol requeue`). submitit's own counting of
timeouts is not used: with short limits it takes every preemption for one. Jobs are found again by their comment, the
run's folder: neither an accounting database nor any memory of the launcher is needed.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from bellmark.config import Config, knob
from bellmark.errors import UserError
from bellmark.sweeps.cell import Cell
from bellmark.sweeps.cluster import Job
from bellmark.sweeps.launch import REQUEUE
from bellmark.sweeps.schema import Resources

# Reasons of waiting that no patience cures (squeue's %r).
HOPELESS = {
    "PartitionTimeLimit": "the partition's time limit is below the one asked for",
    "PartitionNodeLimit": "the partition has too few nodes",
    "BadConstraints": "no node fits the request",
    "PartitionConfig": "the partition does not fit the request: look at its limits of time, nodes and memory",
    "AccountNotAllowed": "the account may not use the partition",
    "QOSNotAllowed": "the quality of service may not use the partition",
}
WAITING = "PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "CONFIGURING"
ANSWER_SECONDS = 60
UNCOUNTED = 10**6  # timeouts that submitit would bear with: our own count is of calls without a new checkpoint
NEEDS = ("sbatch", "squeue", "scancel", "scontrol", "srun")


class Slurm(Config):
    """What to ask Slurm for, besides the sweep's `resources`."""

    partition: str = knob("", "partition; default: the cluster's")
    time: str = knob("", "longest time of one job, such as 10:00:00, 1-12:00:00 or 2h; default: resources.walltime")
    account: str = knob("", "account to charge")
    qos: str = knob("", "quality of service")
    constraint: str = knob("", "features that a node must have")
    grace: int = knob(60, "before the end of its time a job is told to save itself", unit="s", ge=1)
    sbatch: dict[str, str] = Field(default_factory=dict, description="any other option of sbatch, without dashes")

    @model_validator(mode="after")
    def _readable(self) -> Self:
        _ = self.minutes(Resources())
        return self

    def minutes(self, resources: Resources) -> int:
        """The walltime in whole minutes, Slurm's unit; 0 when none is given."""
        return math.ceil((_seconds(self.time) if self.time else resources.walltime_seconds) / 60)


@dataclass(frozen=True)
class SlurmCell(Cell):
    """A cell that puts its own job back into the queue when the run is to be called again."""

    def __call__(self) -> int:
        """As a cell does; the job fails when the run does."""
        code = super().__call__()
        # with its node's daemon gone, the controller requeues the job: to do so here would send it back to that node
        if code == REQUEUE and not self.cancelled and not self.orphaned:
            self._requeue()
        if code not in (0, REQUEUE):
            sys.exit(code)
        return code

    def checkpoint(self) -> Any:
        """What submitit calls on a signal that comes before the run has begun."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _requeue(self) -> None:
        done = subprocess.run(
            ["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False, capture_output=True, text=True
        )
        print(f"requeue: exit code {done.returncode} {done.stderr.strip()}", flush=True)


class SlurmCluster:
    """Slurm as a launcher sees it.

    Args:
        folder: for submitit's files; the nodes must see it under the same name.

    Raises:
        UserError: Slurm's commands are not there, or no walltime is given.
    """

    name = "slurm"
    poll = 2.0
    settle = 15.0
    outlives = True

    def __init__(self, slurm: Slurm, resources: Resources, folder: Path) -> None:
        for program in NEEDS:
            if shutil.which(program) is None:
                raise UserError(f"--launcher slurm needs {program}, which is not on this machine: is it a login node?")
        if not slurm.minutes(resources):
            raise UserError("how long may one job take? --time 10:00:00, or resources.walltime in the sweep file")
        import submitit

        self._failures = (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError)
        self._executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=UNCOUNTED)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._executor.update_parameters(**_parameters(slurm, resources))

    def submit(self, name: str, cell: Cell) -> str:
        """One sbatch."""
        self._executor.update_parameters(job_name=name, comment=cell.folder)
        slurm_cell = SlurmCell(**{f.name: getattr(cell, f.name) for f in fields(cell)})
        try:
            return str(self._executor.submit(slurm_cell).job_id)
        except self._failures as error:
            raise UserError(f"sbatch refuses the job: {_reason(str(error))}") from None

    def jobs(self) -> dict[str, Job] | None:
        """squeue's answer."""
        return listed_jobs()

    def end(self, jobs: Sequence[Job], *, now: bool = False) -> None:
        """scancel."""
        end_jobs(jobs, now=now)


def listed_jobs() -> dict[str, Job] | None:
    """This user's jobs that wait or run, by their comment; None while the controller does not answer."""
    command = ["squeue", "--noheader", "--user", str(os.getuid()), "--format", "%i|%T|%r|%k"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except FileNotFoundError:
        raise UserError("squeue is not on this machine: is it a login node of the cluster?") from None
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return None
    found: dict[str, Job] = {}
    for line in done.stdout.splitlines():
        number, state, reason, comment = (*line.split("|", 3), "", "", "")[:4]
        # Slurm writes some reasons with spaces or an explanation after a comma
        cause = HOPELESS.get(reason.partition(",")[0].strip(), "")
        known = found.get(comment)
        if known is None or not known.running:
            hopeless = f"{reason}, {cause}" if cause and state == "PENDING" else ""
            found[comment] = Job(number, state not in WAITING, hopeless)
    return found


def end_jobs(jobs: Sequence[Job], *, now: bool = False) -> None:
    """Take jobs out of the queue; with `now` those that run are killed, else they get Slurm's time to save."""
    if jobs:
        signal = ["--signal=KILL", "--full"] if now else []
        waiting = [job.id for job in jobs if not job.running]
        running = [job.id for job in jobs if job.running]
        for options, numbers in (([], waiting), (signal, running)):
            if numbers:
                subprocess.run(
                    ["scancel", *options, *numbers], check=False, capture_output=True, timeout=ANSWER_SECONDS
                )


def _parameters(slurm: Slurm, resources: Resources) -> dict[str, Any]:
    """submitit's parameters."""
    chosen = {
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "constraint": slurm.constraint,
        "time": slurm.minutes(resources),
        "mem": f"{math.ceil(resources.memory_bytes / 2**20)}M" if resources.memory_bytes else None,
        "gpus_per_node": math.ceil(resources.gpus) or None,
    }
    return {
        **{key: value for key, value in chosen.items() if value},
        "cpus_per_task": resources.cpus,
        "signal_delay_s": slurm.grace,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, **slurm.sbatch},
    }


def _seconds(text: str) -> int:
    """`10:00:00`, `1-12:00:00`, `90` (minutes), or `2h`."""
    if "".join(text.split()).isdigit():
        return 60 * int(text)
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d{2})(?::(\d{2}))?", text.strip())
    if found is None:
        try:
            return Resources(walltime=text).walltime_seconds
        except ValueError:
            raise ValueError(f"time={text!r}: write it as 10:00:00, 1-12:00:00 or 2h") from None
    days, first, second, third = (int(part or 0) for part in found.groups())
    # Slurm reads 10:30 as minutes and seconds, but 1-10:30 as hours and minutes
    clock = (first, second, third) if found[4] or found[1] else (0, first, second)
    return 86_400 * days + 3_600 * clock[0] + 60 * clock[1] + clock[2]


def _reason(text: str) -> str:
    """sbatch's own words out of an error of submitit's."""
    found = re.findall(r"sbatch: error: (.+)", text)
    return "; ".join(found) if found else " ".join(text.split())
