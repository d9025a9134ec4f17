"""The writing side of a run: one process, one attempt, nothing shared.

A row of metrics is one `os.write` to a file opened for appending, and lies within one page of it, so that a process
killed at any moment leaves whole lines: Linux copies a write page by page and looks for SIGKILL in between (measured
with rows of 1.9 KB, 150 kills each: 2 torn rows without the alignment, both where a page ends; none with it). The
status is replaced by a thread of its own: a training step of several minutes does not look like a death.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from bellmark.errors import UserError
from bellmark.records.attempts import sign
from bellmark.records.checkpoints import Checkpoint, CheckpointStore, Mode
from bellmark.records.layout import (
    CHECKPOINTS,
    LOCK,
    LOG,
    METRICS,
    VIDEOS,
    FinalState,
    RunStatus,
    leftovers,
    now_utc,
    overwrite_status,
    read_meta,
    write_status,
)
from bellmark.records.liveness import claim, former_status, pid_namespace, process_start, this_host
from bellmark.records.metrics import encode_resume, encode_row, last_attempt
from bellmark.records.provenance import Provenance
from bellmark.records.space import full_message, is_full

BEAT_SECONDS = 1.0  # status.json is replaced at most this often when the run moves
IDLE_BEAT_SECONDS = 5.0  # and at least this often when it does not
PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes


class RunWriter:
    """Writes one attempt of a run; a context manager.

    An exception inside the block records "failed" with its text, an interrupt "preempted"; a block left without
    `finish` records "failed", because only the caller knows that the work is done. A full disk is no result of the run:
    it records "preempted", as far as there is room to, and becomes a UserError that says what to free.

    Args:
        path: a folder made by `create_run`.
        origin: what the attempt is made by, for attempts.jsonl; without one it stays unsigned.
        device: where it computes.
        best: whether a high or a low checkpoint metric is best.

    Raises:
        UserError: no such run, or a living process writes it.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, origin: Provenance | None = None, device: str = "", best: Mode = "max"
    ) -> None:
        self.path = Path(path)
        meta = read_meta(self.path)
        self._lock = _take_lock(self.path)
        for stale in leftovers(self.path):
            stale.unlink(missing_ok=True)
        former = former_status(self.path)
        self.attempt = 1 + max(former.attempt, last_attempt(self.path / METRICS))
        self.resumed_step: int | None = None
        self._origin, self._device = origin, device  # the origin until it is signed
        self._logged_step = 0
        self.checkpoints = CheckpointStore(self.path / CHECKPOINTS, best)
        self.videos = self.path / VIDEOS
        self._log_file = os.open(self.path / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._metrics_file = _open_lines(self.path / METRICS)
        self._end = os.fstat(self._metrics_file).st_size
        status = RunStatus(
            state="running",
            step=former.step,
            total=former.total or meta.steps,
            attempt=self.attempt,
            pid=os.getpid(),
            process_start=process_start(os.getpid()),
            pid_namespace=pid_namespace(),
            host=this_host(),
        )
        self._heart = _Heart(self.path, status)
        self.note(f"attempt {self.attempt} begins (process {status.pid} on {status.host})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.finished:
            return
        if error is None:
            self.finish("failed", "the writer was closed without finish()")
        elif is_full(error):
            self._abandon(full_message(self.path))
        else:
            reason = f"{type(error).__name__}: {error}".strip().removesuffix(":")
            self.finish("failed" if isinstance(error, Exception) else "preempted", reason)

    @property
    def finished(self) -> bool:
        """Whether `finish` has been called."""
        return self._metrics_file < 0

    def resume(self, step: int, updates: int = 0) -> None:
        """Say that this attempt continues from a checkpoint at `step`: earlier rows past it no longer count."""
        self.resumed_step = step
        self._sign(step, updates)
        self._write_row(encode_resume(step, self.attempt))
        self._heart.move(step=step)
        self.note(f"attempt {self.attempt} continues from step {step}")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one row of metrics at `step` real environment steps (about 8 us for 20 of them).

        More metrics than a page of the file holds (4 KB, about 120) become several rows of the same step.

        Python and numpy numbers are taken; values that are not finite are kept as such.

        Raises:
            TypeError: a value is not a number (a torch tensor, an array, text).
            ValueError: a metric has a reserved name (step, attempt, time, resumed_from).
        """
        self._sign(None)
        line = encode_row(step, self.attempt, metrics)
        if len(line) > PAGE and len(metrics) > 1:
            items = list(metrics.items())
            half = len(items) // 2
            self.log(step, dict(items[:half]))
            self.log(step, dict(items[half:]))
            return
        self._write_row(line)
        self._logged_step = step

    def beat(self, step: int, total: int | None = None, **brief: float | str) -> None:
        """Say how far the run is, and what a live table may show of it; costs no I/O here, call it freely."""
        self._heart.move(step=step, total=total, brief=brief)

    def note(self, text: str) -> None:
        """Append a line with the time to log.txt."""
        _append(self._log_file, f"{now_utc()} {text.rstrip()}\n".encode())

    def checkpoint(
        self,
        step: int,
        data: bytes,
        *,
        metric: float | None = None,
        keep_every: int | None = None,
        updates: int = 0,
    ) -> Checkpoint:
        """Save a checkpoint, after the metrics that led to it have reached the disk."""
        os.fsync(self._metrics_file)
        return self.checkpoints.save(step, data, metric=metric, keep_every=keep_every, updates=updates)

    def _sign(self, resumed_from: int | None, updates: int = 0) -> None:
        """Before the first row: say what this attempt is made by, and where it began."""
        if self._origin is not None:
            sign(self.path, self.attempt, (resumed_from, updates), self._device, self._origin)
            self._origin = None

    def _write_row(self, line: bytes) -> None:
        """Append a row; one that would lie across the end of a page begins the next, after blanks."""
        room = PAGE - self._end % PAGE
        if len(line) > room:
            line = b" " * room + line
        _append(self._metrics_file, line)
        self._end += len(line)

    def finish(self, state: FinalState, reason: str = "") -> None:
        """Close the attempt: metrics to disk, final status, lock released. Later calls of `log` fail."""
        if self.finished:
            raise ValueError(f"run {self.path.name} is already finished")
        self.note(f"attempt {self.attempt} ends: {state}{f' ({reason})' if reason else ''}")
        os.fsync(self._metrics_file)
        for descriptor in (self._metrics_file, self._log_file):
            os.close(descriptor)
        self._metrics_file = self._log_file = -1
        self._heart.stop(state, reason, self._logged_step)
        os.close(self._lock)

    def _abandon(self, message: str) -> None:
        """Leave for want of room; a status that finds none at all stays "running", which readers show as lost."""
        for descriptor in (self._metrics_file, self._log_file, self._lock):
            os.close(descriptor)
        self._metrics_file = self._log_file = -1
        with suppress(OSError):
            self._heart.stop("preempted", message, self._logged_step)
        raise UserError(message)


class _Heart:
    """The thread that keeps status.json fresh for as long as the process lives."""

    def __init__(self, folder: Path, status: RunStatus) -> None:
        self._folder = folder
        self._status = status
        self._changed = False
        self._guard = threading.Lock()
        self._over = threading.Event()
        write_status(folder, msgspec.structs.replace(status, heartbeat=time.time()))
        self._thread = threading.Thread(target=self._beat, name="bellmark-heartbeat", daemon=True)
        self._thread.start()

    def move(self, *, step: int, total: int | None = None, brief: Mapping[str, float | str] | None = None) -> None:
        with self._guard:
            old = self._status
            self._status = msgspec.structs.replace(
                old,
                step=int(step),
                total=old.total if total is None else int(total),
                brief=old.brief if brief is None else {k: _brief(v) for k, v in brief.items()},
            )
            self._changed = True

    def stop(self, state: FinalState, reason: str, logged_step: int) -> None:
        self._over.set()
        self._thread.join()
        step = max(self._status.step, int(logged_step))
        last = msgspec.structs.replace(self._status, state=state, step=step, reason=reason, heartbeat=time.time())
        try:
            write_status(self._folder, last)
        except OSError as error:
            if not is_full(error):
                raise
            overwrite_status(self._folder, last)  # there is no room for a new one beside it

    def _beat(self) -> None:
        idle_since = time.monotonic()
        while not self._over.wait(BEAT_SECONDS):
            with self._guard:
                status, changed, self._changed = self._status, self._changed, False
            if not changed and time.monotonic() - idle_since < IDLE_BEAT_SECONDS:
                continue
            idle_since = time.monotonic()
            try:
                write_status(self._folder, msgspec.structs.replace(status, heartbeat=time.time()), durable=False)
            except OSError:
                # a full disk or a network hiccup must not end the heartbeat: the next beat tries again
                continue


def _brief(value: float | str) -> float | str:
    return value if isinstance(value, str) else float(value)


def _take_lock(folder: Path) -> int:
    """Hold the run for this process; the system lets go when the process ends, however it ends.

    A POSIX lock, because it is not inherited by forked workers that may outlive their parent.
    """
    claim(folder)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        raise UserError(f"run {folder.name} is being written by another process; wait for it or stop it") from None
    except OSError:
        pass  # a file system without locks: the claim above has to do
    return descriptor


def _open_lines(file: Path) -> int:
    """Open for appending; a last line torn by a crash of the machine is closed first, so that it spoils no other."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) not in b"\n ":
        _append(descriptor, b"\n")
    return descriptor


def _append(descriptor: int, line: bytes) -> None:
    written = os.write(descriptor, line)
    try:
        while written < len(line):  # only a disk about to be full takes a part; the next write then raises
            written += os.write(descriptor, line[written:])
    except OSError:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)  # a row is there whole or not at all
        raise
