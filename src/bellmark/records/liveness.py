"""Which process writes a run, and whether it still lives."""

from __future__ import annotations

import os
import socket
import time
from functools import lru_cache
from pathlib import Path

import psutil

from bellmark.errors import UserError
from bellmark.records.layout import RunStatus, read_status

DEAD_AFTER = 60.0  # seconds without a heartbeat until a writer on another host counts as gone
_SAME_START = 5.0  # seconds: clocks are set while processes run, and no pid is used twice this quickly


@lru_cache(maxsize=1)
def this_host() -> str:
    """The name of this machine."""
    return socket.gethostname()


def pid_namespace() -> int:
    """An id of the namespace in which this process's pid counts; 0 where the system has none."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def process_start(pid: int) -> float:
    """When a process began, in seconds since the epoch; 0 when there is no such process."""
    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return 0.0
    except psutil.AccessDenied:
        return 0.0


def same_machine(status: RunStatus) -> bool:
    """Whether the writer's pid can be looked up here."""
    return status.host == this_host() and status.pid_namespace == pid_namespace()


def process_alive(status: RunStatus) -> bool:
    """Whether the very process that wrote a status runs on this machine (a reused pid does not count)."""
    start = process_start(status.pid) if status.pid > 0 else 0.0
    return start > 0 and abs(start - status.process_start) < _SAME_START


def writer_alive(status: RunStatus, now: float | None = None) -> bool:
    """Whether the writer still lives: on this machine its process decides, elsewhere the age of its heartbeat."""
    if same_machine(status):
        return process_alive(status)
    return (time.time() if now is None else now) - status.heartbeat < DEAD_AFTER


def former_status(folder: Path) -> RunStatus:
    """What the last writer said; "pending" when its status was damaged from outside."""
    try:
        return read_status(folder)
    except UserError:
        return RunStatus()


def claim(folder: Path) -> None:
    """Return once no other process writes the run.

    A writer on another host cannot be asked, only watched: one whose heartbeat moves is alive; one that stands still
    is waited out, at most `DEAD_AFTER` seconds, so that a job requeued after the loss of a node starts all the same.

    Raises:
        UserError: a living process writes the run.
    """
    first = former_status(folder)
    if first.state != "running":
        return
    if same_machine(first):
        if process_alive(first):
            raise UserError(f"run {folder.name} is being written by process {first.pid}; wait for it or stop it first")
        return
    deadline = time.monotonic() + DEAD_AFTER
    while writer_alive(first) and time.monotonic() < deadline:
        time.sleep(min(1.0, DEAD_AFTER / 10))
        if former_status(folder).heartbeat != first.heartbeat:
            raise UserError(f"run {folder.name} is being written on host {first.host} by process {first.pid}")
