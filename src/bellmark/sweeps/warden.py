"""The warden: a small process that outlives its launcher by moments, to make sure that no worker outlives it for long.

It waits on a pipe whose other end only the launcher holds. When the pipe closes without a farewell, however the
launcher died, every process that carries the launch's token in its environment is asked to save itself, and killed
after the grace time. The token is inherited, so that children of workers are found too, whatever group they are in.

Run as a script: `python -P warden.py TOKEN GRACE_SECONDS`, with the pipe as standard input.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import psutil

TOKEN = "BELLMARK_LAUNCH"
FAREWELL = b"done"
POLL_SECONDS = 0.1


def bearers(token: str) -> Iterator[psutil.Process]:
    """The living processes of this user that carry a launch's token."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(TOKEN) == token and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except psutil.Error:
            continue


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Signal a process; one that is gone already is no matter."""
    try:
        process.send_signal(number)
    except psutil.Error:
        return


def end_all(token: str, grace: float) -> None:
    """Ask the workers to save themselves, then kill whatever is left after the grace time."""
    for process in bearers(token):
        if _leads(process.pid):  # a worker; its children are its own to end
            send(process, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(bearers(token)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    while left := list(bearers(token)):  # again, because a process may have forked between the look and the shot
        for process in left:
            send(process, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _leads(pid: int) -> bool:
    """Whether a process leads its group; one that is gone does not."""
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


class Warden:
    """The launcher's side: the warden lives while inside the context."""

    def __init__(self, token: str, grace: float) -> None:
        self._command = [sys.executable, "-P", __file__, token, str(grace)]

    def __enter__(self) -> Self:
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(FAREWELL if error is None else b"")
            self._process.stdin.close()
        except BrokenPipeError:  # somebody ended the warden; nothing left to say
            return
        self._process.wait()


def main(token: str, grace: float) -> None:
    """Wait for the launcher's end, then look after its workers."""
    if sys.stdin.buffer.read() != FAREWELL:
        end_all(token, grace)


if __name__ == "__main__":
    for deaf in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(deaf, signal.SIG_IGN)
    main(sys.argv[1], float(sys.argv[2]))
