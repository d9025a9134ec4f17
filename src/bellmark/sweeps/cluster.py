"""The launch of a plan on a cluster: submit what is missing, follow it by the records, submit again what got lost.

What a cluster can do is a `Cluster` (slurm.py, ray.py); what its jobs run is a `Cell`. The truth about a run is its
record and the note of its cell; the cluster is asked only which jobs there are. So a launcher may be killed at any
moment: the next one finds the jobs that live, and takes on the runs that have none.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bellmark.errors import UserError
from bellmark.records import Provenance, collect_provenance
from bellmark.records.liveness import former_status
from bellmark.sweeps.cell import Cell, forget_note, read_note
from bellmark.sweeps.launch import (
    BAD_INPUT,
    DONE,
    FAILED,
    REQUEUE,
    RUN_CELL,
    Outcome,
    Stop,
    created,
    line_of,
    reached,
    stopped,
    why,
)
from bellmark.sweeps.progress import Board, Line, Silent, View
from bellmark.sweeps.schema import Resources
from bellmark.sweeps.seats import THREAD_VARIABLES
from bellmark.sweeps.session import cancel, cancelled, session
from bellmark.sweeps.work import ENDED, Plan

SHOW_SECONDS = 1.0
FRUITLESS = 3  # jobs in a row that vanished, or asked to be called again, and got no further


@dataclass(frozen=True)
class Job:
    """A job that the cluster knows of."""

    id: str
    running: bool
    hopeless: str = ""  # why it will never start; "" when it may


class Cluster(Protocol):
    """What a launcher asks of a cluster."""

    name: str
    poll: float  # seconds between two looks
    settle: float  # seconds a job must be gone before its run is judged: records travel slower than the queue
    outlives: bool  # whether jobs go on without their launcher

    def submit(self, name: str, cell: Cell) -> str:
        """Send a cell off; returns what the cluster calls the job. Raises UserError where it is refused."""
        ...

    def jobs(self) -> dict[str, Job] | None:
        """The jobs that wait or run, by run folder; None when the cluster does not answer now."""
        ...

    def end(self, jobs: Sequence[Job], *, now: bool = False) -> None:
        """Take jobs out of the queue; with `now` kill those that run."""
        ...


def launch_cluster(
    plan: Plan,
    cluster: Cluster,
    *,
    retry_failed: bool = False,
    most: int | None = None,
    detach: bool = False,
    command: Sequence[str] = RUN_CELL,
    environment: Mapping[str, str] | None = None,
    view: View | None = None,
    options: Mapping[str, Any] | None = None,
) -> Outcome:
    """Run what is missing of a plan on a cluster; returns when nothing can go on.

    Call it from the main thread: it handles SIGINT, SIGTERM and SIGHUP while it works.

    Args:
        most: how many jobs may wait or run at once; None for all.
        detach: return once everything is submitted.
        environment: variables for the runners.
        options: what `sweep resume` is to go on with; kept beside the runs.

    Raises:
        UserError: another launch of the same sweep is at work, or the cluster refuses its first job.
    """
    stop = Stop()
    with session(plan, cluster.name, options or {}) as since, stop.listening(), view or Silent() as shown:
        work = _Launch(
            plan, cluster, since, shown, stop, most or len(plan.runs), tuple(command), dict(environment or {})
        )
        return work.run(retry_failed, detach)


def cell_environment(resources: Resources) -> dict[str, str]:
    """What a runner is told about threads and GPUs; the GPUs that a cluster assigns are left as they are."""
    threads = dict.fromkeys(THREAD_VARIABLES, str(resources.cpus))
    hidden = {} if resources.gpus else {"CUDA_VISIBLE_DEVICES": ""}
    return {**threads, "OMP_WAIT_POLICY": "passive", **hidden}


@dataclass
class _Flight:
    """A run that has a job, or had one a moment ago."""

    line: Line
    began_at: tuple[int, int]  # steps and updates
    gone: float | None = None  # when it was first missed


@dataclass
class _Launch:
    plan: Plan
    cluster: Cluster
    since: float
    view: View
    stop: Stop
    most: int
    command: tuple[str, ...]
    environment: dict[str, str]
    flights: dict[str, _Flight] = field(default_factory=dict)  # by run folder
    failed: dict[str, str] = field(default_factory=dict)
    codes: Counter[int] = field(default_factory=Counter)
    fruitless: Counter[str] = field(default_factory=Counter)
    cancelled: bool = False
    heeded: int = 0

    def run(self, retry_failed: bool, detach: bool) -> Outcome:
        missing = self.plan.to_run(retry_failed=retry_failed)
        self.lines = [line_of(run, run in missing) for run in self.plan.runs]
        self.failed.update({x.run.name: x.reason or f"{x.state} earlier" for x in self.lines if x.state in ENDED})
        self.origin: Provenance = collect_provenance()
        self.began = self.shown = time.monotonic()
        self._take_over(self._known())
        self.queue = deque(x for x in self.lines if x.state == "waiting" and _place(x) not in self.flights)
        while self.queue or self.flights:
            if self._leave():
                break
            while self.queue and len(self.flights) < self.most and not self.stop.asked:
                self._submit(self.queue.popleft())
            if detach and not self.queue:
                break
            self._look()
            self._show()
            time.sleep(self.cluster.poll)
        self._show(at_once=True)
        return self._outcome()

    def _known(self) -> dict[str, Job]:
        """The jobs there are before anything is submitted; a cluster that does not answer is waited for."""
        while (jobs := self.cluster.jobs()) is None and not self.stop.asked:
            time.sleep(self.cluster.poll)
        return jobs or {}

    def _take_over(self, jobs: Mapping[str, Job]) -> None:
        """Follow the jobs of an earlier launch instead of submitting their runs again."""
        for line in self.lines:
            if _place(line) in jobs and line.state in ("waiting", "elsewhere"):
                self.flights[_place(line)] = _Flight(line, reached(line.run.dir))
                line.state = "queued"
        if self.flights:
            self.view.say(f"{len(self.flights)} jobs of an earlier launch are followed")

    def _submit(self, line: Line) -> None:
        run, folder = line.run, _place(line)
        try:
            device = "cuda" if self.plan.sweep.resources.gpus else "cpu"
            if not run.exists:
                created(self.plan, run, device, self.origin)
            forget_note(run.dir)
            cell = Cell(folder, self.command, self.since, self.environment, cwd=os.getcwd())
            number = self.cluster.submit(run.name, cell)
        except UserError as error:  # a damaged folder, or a job that the cluster refuses
            self._fail(line, BAD_INPUT, str(error))
            return
        line.state = "queued"
        self.flights[folder] = _Flight(line, reached(run.dir))
        self.view.say(f"{run.name}: {self.cluster.name} job {number}")

    def _look(self) -> None:
        """Compare the jobs there are with those there should be."""
        jobs = self.cluster.jobs()
        if jobs is None:
            return
        for folder, flight in list(self.flights.items()):
            job = jobs.get(folder)
            if job is None:
                self._missed(folder, flight)
            elif job.hopeless:
                del self.flights[folder]
                self.cluster.end([job])
                self._fail(flight.line, BAD_INPUT, f"{self.cluster.name} can never start it: {job.hopeless}")
            else:
                flight.gone = None
                self._read(flight.line)
                if job.running and flight.line.state != "running":
                    flight.line.start()
                elif not job.running:
                    flight.line.state = "queued"

    def _missed(self, folder: str, flight: _Flight) -> None:
        """A run whose job is gone: judged by its record, given time for that to arrive."""
        run = flight.line.run
        status, note = former_status(run.dir), read_note(run.dir)
        flight.gone = flight.gone or time.monotonic()
        known = status.state == "done" or (note is not None and note.code is not None)
        if known or time.monotonic() - flight.gone >= self.cluster.settle:
            del self.flights[folder]
            self._read(flight.line)
            code = DONE if status.state == "done" else None if note is None else note.code
            self._settle(flight, code, note.reason if note else "")

    def _settle(self, flight: _Flight, code: int | None, reason: str) -> None:
        line, run = flight.line, flight.line.run
        if code == DONE and (ill := stopped(run.dir)):
            self._fail(line, FAILED, ill)
            line.state = "stopped"
        elif code == DONE:
            line.state = "done"
        elif code not in (None, REQUEUE):
            self._fail(line, code, reason or why(code, run.dir))
        elif self.stop.asked or self.cancelled:
            line.state = "preempted" if code == REQUEUE else "lost"
        else:
            self.fruitless[run.name] = 0 if reached(run.dir) > flight.began_at else self.fruitless[run.name] + 1
            what = "its job ended without a word" if code is None else f"saved at step {line.step:,}"
            if self.fruitless[run.name] < FRUITLESS:
                line.state = "waiting"
                self.queue.append(line)
                self.view.say(f"{run.name}: {what}; submitted again")
            else:
                self._fail(line, REQUEUE, f"{what}, {FRUITLESS} times in a row, and got no further")

    def _leave(self) -> bool:
        """Heed Ctrl-C and cancellation; whether to leave now."""
        if not self.cancelled and cancelled(self.plan.home, self.since):
            self.cancelled = True
            self.stop.asked = max(1, self.stop.asked)
            self.heeded = max(1, self.heeded)
            self.view.say("cancelled: every run saves itself")
        if self.stop.asked and self.cluster.outlives and not self.cancelled:
            self.view.say(f"{len(self.flights)} jobs go on in {self.cluster.name}; `bellmark sweep cancel` ends them")
            return True
        if self.stop.asked > self.heeded:
            first, self.heeded = self.heeded == 0, self.stop.asked
            if first:
                cancel(self.plan.home)  # every cell sees it and saves
            else:
                self.cluster.end(list((self.cluster.jobs() or {}).values()), now=True)
        if self.stop.asked:
            self.queue.clear()
        return False

    def _fail(self, line: Line, code: int, reason: str) -> None:
        line.state, line.reason = "failed", reason
        self.failed[line.run.name] = reason
        self.codes[code] += 1
        self.view.say(f"{line.run.name}: {reason}; see {line.run.dir / 'log.txt'}")

    def _read(self, line: Line) -> None:
        status = former_status(line.run.dir)
        line.at(status.step, status.total, time.monotonic())
        line.brief = status.brief

    def _show(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self.shown >= SHOW_SECONDS:
            self.shown = now
            message = "stopping: every run saves itself" if self.stop.asked and not self.cluster.outlives else ""
            self.view.show(Board(self.lines, max(1, len(self.flights)), now - self.began, message))

    def _outcome(self) -> Outcome:
        done = tuple(line.run.name for line in self.lines if line.state == "done")
        left = tuple(x.run.name for x in self.lines if x.run.name not in done and x.run.name not in self.failed)
        return Outcome(done, self.failed, left, bad_input=self.codes[BAD_INPUT] == len(self.failed))


def _place(line: Line) -> str:
    """What names a run for a cluster: its folder, absolute."""
    return os.path.abspath(Path(line.run.dir))
