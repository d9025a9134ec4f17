"""One launch of a sweep at a time, what it was started with, and the word that ends it from anywhere.

Two small files in the sweep's folder, each replaced whole: `.launch.json` says who launches the sweep and how, for
`sweep resume`; `.cancel` is the word of `sweep cancel`. Whoever works for a launch compares the times that the file
system gave to both, so that no clock of any machine matters and nothing has to be cleared up.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bellmark.errors import UserError
from bellmark.records.layout import pretty, write_atomic
from bellmark.records.liveness import this_host
from bellmark.records.space import full_message, is_full
from bellmark.sweeps.work import Plan

LOCK, LAUNCH, CANCEL = ".launcher.lock", ".launch.json", ".cancel"


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """`.launch.json`: who launched a sweep last, and how."""

    launcher: str = "local"
    options: dict[str, Any] = msgspec.field(default_factory=dict)  # of the command line, for `sweep resume`
    host: str = ""
    pid: int = 0


@contextmanager
def session(plan: Plan, launcher: str, options: Mapping[str, Any]) -> Iterator[float]:
    """Keep a second launch of the sweep away while inside; the system lets go when this process ends, however it ends.

    Yields:
        The moment of the launch, for `cancelled`.

    Raises:
        UserError: another launch of the same sweep is at work, or the folder cannot be written.
    """
    folder = plan.home
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / LOCK, "a+")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UserError(
                f"sweep {plan.sweep.name} is being run by process {lock.read().strip() or '?'}; wait for it or stop it"
            ) from None
        launch = Launch(launcher=launcher, options=dict(options), host=this_host(), pid=os.getpid())
        try:
            lock.truncate(0)
            os.write(lock.fileno(), str(os.getpid()).encode())  # unbuffered: nothing is left to fail when it is closed
            write_atomic(folder / LAUNCH, pretty(launch))
        except OSError as error:
            text = full_message(folder) if is_full(error) else f"{folder} cannot be written: {error.strerror}"
            raise UserError(text) from None
        yield (folder / LAUNCH).stat().st_mtime


def former_launch(folder: Path) -> Launch | None:
    """How a sweep was launched last; None when it never was, or the note of it is damaged."""
    try:
        return msgspec.json.decode((folder / LAUNCH).read_bytes(), type=Launch)
    except (OSError, msgspec.DecodeError):
        return None


def cancel(folder: Path) -> None:
    """Ask everybody who works for a launch that began before now to save and leave."""
    write_atomic(folder / CANCEL, b"")


def cancelled(folder: Path, since: float) -> bool:
    """Whether the sweep was cancelled after a launch that began at `since`."""
    try:
        return (folder / CANCEL).stat().st_mtime > since
    except OSError:
        return False
