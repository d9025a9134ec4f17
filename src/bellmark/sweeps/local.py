"""The local launcher: runs of a plan as processes of this machine, none of which outlives it.

Each run is `bellmark run-cell RUN_DIR` in a session of its own, in one of a fixed number of seats (threads, GPUs,
CPUs). The runner's exit code says what next: 0 done; 75 saved, to be called again; 2 bad input; all else a failure. The
first Ctrl-C (or SIGTERM, SIGHUP) asks the workers to save themselves and waits, the second kills them; either way the
same command continues. Should the launcher itself be killed, its warden does the asking and the killing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bellmark.errors import UserError
from bellmark.records import collect_provenance, read_status
from bellmark.sweeps.launch import (
    BAD_INPUT,
    DONE,
    FAILED,
    GRACE_SECONDS,
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
from bellmark.sweeps.seats import Seat
from bellmark.sweeps.session import cancelled, session
from bellmark.sweeps.warden import TOKEN, Warden
from bellmark.sweeps.work import ENDED, Plan

POLL_SECONDS = 0.05
SHOW_SECONDS = 0.5
FRUITLESS = 3  # requeues in a row that got no further until a run counts as failed


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    line: Line
    seat: Seat
    began_at: tuple[int, int]  # steps and updates


def launch_local(
    plan: Plan,
    seats: Sequence[Seat],
    *,
    retry_failed: bool = False,
    command: Sequence[str] = RUN_CELL,
    view: View | None = None,
    grace: float = GRACE_SECONDS,
    options: Mapping[str, Any] | None = None,
) -> Outcome:
    """Run what is missing of a plan, as many runs at once as there are seats; returns when nothing can go on.

    Call it from the main thread: it handles SIGINT, SIGTERM and SIGHUP while it works.

    Args:
        retry_failed: whether runs that failed earlier are tried again.
        command: the runner; the run's folder is appended.
        grace: seconds that workers get to save themselves if the launcher is killed.
        options: what `sweep resume` is to go on with; kept beside the runs.

    Raises:
        UserError: another launch of the same sweep is at work on this machine.
    """
    token = uuid.uuid4().hex
    stop = Stop()
    with (
        session(plan, "local", options or {}) as since,
        stop.listening(),
        Warden(token, grace),
        view or Silent() as shown,
    ):
        return _Launch(plan, seats, retry_failed, command, shown, token, stop, since).run()


@dataclass
class _Launch:
    plan: Plan
    seats: Sequence[Seat]
    retry_failed: bool
    command: Sequence[str]
    view: View
    token: str
    stop: Stop
    since: float
    workers: list[_Worker] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    codes: Counter[int] = field(default_factory=Counter)
    fruitless: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        missing = self.plan.to_run(retry_failed=self.retry_failed)
        self.lines = [line_of(run, run in missing) for run in self.plan.runs]
        self.queue = deque(line for line in self.lines if line.state == "waiting")
        self.free = list(reversed(self.seats))
        self.origin = collect_provenance()
        self.began = self.shown = time.monotonic()
        self.failed.update({x.run.name: x.reason or f"{x.state} earlier" for x in self.lines if x.state in ENDED})

    def run(self) -> Outcome:
        """To the end, or to a stop; whatever happens, no worker is left."""
        try:
            while self.queue or self.workers:
                self._heed_cancel()
                self._heed_stop()
                while self.queue and self.free and not self.stop.asked:
                    self._start(self.queue.popleft(), self.free.pop())
                if self.stop.asked and not self.workers:
                    break
                self._collect()
                self._show()
                time.sleep(POLL_SECONDS)
        finally:
            self._end_workers()
        self._show(at_once=True)
        return self._outcome()

    def _start(self, line: Line, seat: Seat) -> None:
        run = line.run
        if not run.exists:
            device = "cuda" if seat.gpus else "cpu"
            try:
                created(self.plan, run, device, self.origin)
            except UserError as error:
                self.free.append(seat)
                self._fail(line, BAD_INPUT, str(error))
                return
        with open(run.dir / "log.txt", "ab") as log:
            process = subprocess.Popen(
                [*self.command, str(run.dir)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=seat.environment({**os.environ, TOKEN: self.token}),
                start_new_session=True,
            )
        if seat.cpus:
            os.sched_setaffinity(process.pid, seat.cpus)
        line.start()
        self.workers.append(_Worker(process, line, seat, reached(run.dir)))

    def _collect(self) -> None:
        """Take in the workers that have ended."""
        for worker in list(self.workers):
            if not _ended(worker.process):
                continue
            # the leader is dead but not yet reaped, so that its group's number cannot be another's
            _signal_group(worker.process, signal.SIGKILL)
            code = worker.process.wait()
            self.workers.remove(worker)
            self.free.append(worker.seat)
            self._settle(worker, code)

    def _settle(self, worker: _Worker, code: int) -> None:
        """What a worker's exit code means for its run."""
        line, run = worker.line, worker.line.run
        self._read(line)
        if code == DONE and (ill := stopped(run.dir)):
            self._fail(line, FAILED, ill)
            line.state = "stopped"
        elif code == DONE:
            line.state = "done"
        elif code == REQUEUE and self.stop.asked:
            line.state = "preempted"
        elif code == REQUEUE:
            self.fruitless[run.name] = 0 if reached(run.dir) > worker.began_at else self.fruitless[run.name] + 1
            if self.fruitless[run.name] < FRUITLESS:
                line.state = "waiting"
                self.queue.append(line)
                self.view.say(f"{run.name}: saved at step {line.step:,} and asks to be called again")
            else:
                self._fail(line, code, f"asked {FRUITLESS} times in a row to be called again and got no further")
        elif code < 0 and self.stop.asked:  # killed by us, or asked before it could listen
            line.state = "lost"
        else:
            self._fail(line, code, why(code, run.dir))

    def _fail(self, line: Line, code: int, why: str) -> None:
        line.state, line.reason = "failed", why
        self.failed[line.run.name] = why
        self.codes[code] += 1
        self.view.say(f"{line.run.name}: {why}; see {line.run.dir / 'log.txt'}")

    def _heed_cancel(self) -> None:
        if not self.stop.asked and cancelled(self.plan.home, self.since):
            self.view.say("cancelled: every run saves itself")
            self.stop.asked = 1

    def _heed_stop(self) -> None:
        if self.stop.heeded == self.stop.asked:
            return
        first, self.stop.heeded = self.stop.heeded == 0, self.stop.asked
        number = signal.SIGTERM if first and self.stop.asked == 1 else signal.SIGKILL
        for worker in self.workers:
            worker.line.state = "stopping"
            if number == signal.SIGTERM:
                worker.process.send_signal(number)  # the runner alone: it ends its own children in its own order
            else:
                _signal_group(worker.process, number)
        if self.workers and first:
            self.view.say(f"stopping: {len(self.workers)} workers save themselves; stop again to kill them")

    def _end_workers(self) -> None:
        """The way out on a bug of ours: workers get the same chance to save themselves as on a stop."""
        for worker in self.workers:
            worker.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in self.workers:
            while not _ended(worker.process) and time.monotonic() < deadline and self.stop.asked < 2:
                time.sleep(POLL_SECONDS)
            _signal_group(worker.process, signal.SIGKILL)
            worker.process.wait()

    def _show(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self.shown >= SHOW_SECONDS:
            self.shown = now
            for worker in self.workers:
                self._read(worker.line)
            message = "stopping: workers save themselves; Ctrl-C again kills them" if self.stop.asked else ""
            self.view.show(Board(self.lines, len(self.seats), now - self.began, message))

    def _read(self, line: Line) -> None:
        try:
            status = read_status(line.run.dir)
        except UserError:  # damaged from outside; the worker's next beat replaces it
            return
        line.at(status.step, status.total, time.monotonic())
        line.brief = status.brief

    def _outcome(self) -> Outcome:
        done = tuple(line.run.name for line in self.lines if line.state == "done")
        left = tuple(x.run.name for x in self.lines if x.run.name not in done and x.run.name not in self.failed)
        only_bad_input = self.codes[BAD_INPUT] == len(self.failed)
        return Outcome(done, self.failed, left, bad_input=only_bad_input)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a child has ended, without reaping it."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
    except PermissionError:  # macOS says so of a group that holds only the dead
        return
