"""What all launchers share: the runner's exit codes, what came of a launch, stop requests, the record of a new run."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from bellmark.errors import UserError
from bellmark.records import CheckpointStore, Provenance, RunMeta, create_run, now_utc, read_status
from bellmark.records.layout import CHECKPOINTS
from bellmark.records.liveness import former_status
from bellmark.records.space import full_message, is_full, out_of_room
from bellmark.sweeps.progress import Line
from bellmark.sweeps.work import Plan, PlannedRun

DONE, FAILED, BAD_INPUT, REQUEUE = 0, 1, 2, 75
RUN_CELL = (sys.executable, "-m", "bellmark.cli", "run-cell")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 60.0  # for workers to save themselves once whoever started them is gone


@dataclass(frozen=True)
class Outcome:
    """What came of a launch."""

    done: tuple[str, ...]  # names of runs, those finished before included
    failed: dict[str, str]  # name -> why
    left: tuple[str, ...]  # saved or never started: the same command goes on with them
    bad_input: bool = False  # whether every failure was one

    @property
    def exit_code(self) -> int:
        """0 all done; 1 a run failed; 2 runs failed, all for bad input; 75 something is left for the next call."""
        if self.failed:
            return BAD_INPUT if self.bad_input else FAILED
        return REQUEUE if self.left else DONE


@dataclass
class Stop:
    """How often somebody asked to stop."""

    asked: int = 0
    heeded: int = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        self.asked += 1

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Count stop signals while inside. One that is ignored (nohup) stays so, except SIGINT: scripts that start the
        launcher in the background make it ignored, and `kill -INT` should save all the same."""
        former = {s: signal.getsignal(s) for s in STOP_SIGNALS}
        for number, handler in former.items():
            if handler is not signal.SIG_IGN or number == signal.SIGINT:
                signal.signal(number, self)
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


def line_of(run: PlannedRun, missing: bool) -> Line:
    """What a launch knows of a run before it begins; `missing` ones are to be run."""
    state = "waiting" if missing else {"running": "elsewhere"}.get(run.state, run.state)
    status = read_status(run.dir) if run.exists else None
    line = Line(run, state, step=run.step, total=run.steps)
    if status is not None:
        line.total, line.brief, line.reason = status.total or run.steps, status.brief, status.reason
    return line


def meta_of(plan: Plan, run: PlannedRun, device: str, origin: Provenance) -> RunMeta:
    """What the record of a new run says of it."""
    tree = run.resolved.tree
    start = tree.get("start")
    cell = next(cell for cell in plan.cells if cell.arm == run.arm)
    return RunMeta(
        name=run.name,
        family=run.resolved.family,
        recipe=run.resolved.recipe,
        overrides=list(run.overrides),
        config=tree,
        fingerprint=run.fingerprint,
        model_fingerprint=run.resolved.model_fingerprint,
        task=run.task,
        seed=run.seed,
        steps=run.steps,
        parent_checkpoint=start.get("checkpoint") if isinstance(start, dict) else None,
        sweep=plan.sweep.name,
        arm=run.arm,
        cell=cell.place,
        commit=origin.commit,
        dirty=origin.dirty,
        host=origin.host,
        device=device,
        versions=origin.versions,
        created=now_utc(),
        command=origin.command,
        group=plan.sweep.name,
    )


def created(plan: Plan, run: PlannedRun, device: str, origin: Provenance) -> None:
    """Make the folder of a new run.

    Raises:
        UserError: it is there but damaged, or cannot be written.
    """
    try:
        create_run(run.dir, meta_of(plan, run, device, origin), origin.dirty_diff)
    except OSError as error:
        text = full_message(plan.home) if is_full(error) else f"{run.dir} cannot be written: {error.strerror}"
        raise UserError(text) from None


def reached(folder: Path) -> tuple[int, int]:
    """How far a run has come: its steps, and the learner's updates at its furthest checkpoint."""
    return former_status(folder).step, CheckpointStore(folder / CHECKPOINTS).furthest()[1]


def stopped(folder: Path) -> str:
    """Why the doctor ended a run whose runner had nothing to complain of; "" when the run is done."""
    status = former_status(folder)
    return f"stopped: {status.reason}" if status.state == "stopped" else ""


def why(code: int, folder: Path) -> str:
    """Why a worker failed, in a few words; for bad input its own."""
    if out_of_room(folder):  # its own words found no room in its log
        return full_message(folder)
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    if code == BAD_INPUT:
        lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].removeprefix("bellmark: error: ") if lines else "bad input"
    return f"failed with exit code {code}"
