"""One call of the runner on whatever machine a cluster chose.

A `Cell` is what cluster launchers send: picklable, and harmless to call twice. It starts `bellmark run-cell RUN_DIR`,
hands on every request to stop (signals, the sweep's cancellation, the death of whoever started it) as one SIGTERM, and
leaves a note in the run's folder, `.cell.json`, of how it ended, so that nobody depends on a cluster's accounting.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import msgspec

from bellmark.records import CheckpointStore
from bellmark.records.layout import CHECKPOINTS, write_atomic
from bellmark.records.liveness import former_status, writer_alive
from bellmark.sweeps.launch import FAILED, GRACE_SECONDS, REQUEUE
from bellmark.sweeps.session import cancelled
from bellmark.sweeps.warden import TOKEN, Warden

NOTE = ".cell.json"
HEEDED = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
POLL_SECONDS = 0.2
PATIENCE = 90.0  # seconds for the writer of a former attempt, orphaned by the loss of its node, to save itself
FRUITLESS = 10  # calls in a row may bring no checkpoint further on until a run counts as failed: clusters preempt often


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """`.cell.json`: how the last call of the runner went."""

    code: int | None = None  # exit code; None while it works, and for good when it was killed
    reached: tuple[int, int] = (-1, 0)  # steps and updates of the furthest checkpoint when it began
    fruitless: int = 0  # calls in a row before this one that brought no checkpoint further on
    reason: str = ""  # why the run was not called again


def read_note(folder: Path) -> Note | None:
    """The note of the last call; None when there was none, or it is damaged."""
    try:
        return msgspec.json.decode((folder / NOTE).read_bytes(), type=Note)
    except (OSError, msgspec.DecodeError):
        return None


def forget_note(folder: Path) -> None:
    """Before a run is submitted anew: former calls no longer count."""
    (folder / NOTE).unlink(missing_ok=True)


@dataclass(frozen=True)
class Cell:
    """A call of the runner on one run folder.

    Args:
        since: when the launch began; a later `sweep cancel` ends the call.
        environment: variables for the runner over those of the machine.
        cwd: folder that the runner works in; None for that of this process.
        grace: seconds for the runner to save itself should this process be killed.
    """

    folder: str
    command: tuple[str, ...]
    since: float
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    grace: float = GRACE_SECONDS

    def __call__(self) -> int:
        """Run to the end, or to a request to stop; returns the exit code of the runner contract."""
        folder = Path(self.folder)
        with _requests() as asked:
            if self.cancelled:
                return REQUEUE
            note = _begin(folder)
            if note.fruitless > FRUITLESS:
                return self._end(note, FAILED, f"called {note.fruitless} times in a row and got no further")
            _await_former(folder, asked)
            if asked:
                return self._end(note, REQUEUE)
            return self._end(note, self._run(asked))

    @property
    def cancelled(self) -> bool:
        """Whether the sweep was cancelled since it was launched."""
        return cancelled(Path(self.folder).parent, self.since)

    @property
    def orphaned(self) -> bool:
        """Whether whoever started this process is gone; decided while the call lasts."""
        return _ORPHANED.is_set()

    def _end(self, note: Note, code: int, reason: str = "") -> int:
        write_atomic(
            Path(self.folder) / NOTE, msgspec.json.encode(msgspec.structs.replace(note, code=code, reason=reason))
        )
        return code

    def _run(self, asked: list[int]) -> int:
        token, parent = uuid.uuid4().hex, os.getppid()
        _ORPHANED.clear()
        with open(Path(self.folder) / "log.txt", "ab") as log, Warden(token, self.grace):
            process = subprocess.Popen(
                [*self.command, self.folder],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment, TOKEN: token},
                cwd=self.cwd,
                start_new_session=True,
            )
            told = False
            while (code := process.poll()) is None:
                if os.getppid() != parent:
                    _ORPHANED.set()
                if not told and (asked or self.orphaned or self.cancelled):
                    process.send_signal(signal.SIGTERM)
                    told = True
                time.sleep(POLL_SECONDS)
        # one that was asked before it could listen has lost nothing: it is to be called again
        return REQUEUE if -code in HEEDED or (told and code < 0) else code


_ORPHANED = threading.Event()  # of this process: a cell is frozen, so that it can be sent twice


def _begin(folder: Path) -> Note:
    """The note of this call; what was there says whether the calls before it got anywhere."""
    former = read_note(folder)
    reached = CheckpointStore(folder / CHECKPOINTS).furthest()
    fruitless = former.fruitless + 1 if former is not None and reached <= former.reached else 0
    note = Note(reached=reached, fruitless=fruitless)
    write_atomic(folder / NOTE, msgspec.json.encode(note))
    return note


def _await_former(folder: Path, asked: list[int]) -> None:
    """Let the writer of a former attempt finish; one that lives on after that is the runner's to refuse."""
    deadline = time.monotonic() + PATIENCE
    while not asked and time.monotonic() < deadline:
        status = former_status(folder)
        if status.state != "running" or not writer_alive(status):
            return
        time.sleep(POLL_SECONDS)


@contextmanager
def _requests() -> Iterator[list[int]]:
    """The stop signals that have come while inside."""
    asked: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    former = {number: signal.signal(number, receive) for number in HEEDED}
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
