"""Starting and ending the process that follows a run; training goes on whatever becomes of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

LOG = "trackers.log"
GRACE_SECONDS = 60.0  # for the last rows to reach the trackers after a run has ended
ENVIRONMENT = "BELLMARK_TRACK"  # how a launcher tells its workers


@contextmanager
def following(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """While inside, a process of its own hands the run's rows to the named trackers.

    It starts without being waited for, and its failure is told on standard error but never raised: the record has
    everything, `bellmark export` makes up for what a tracker missed.
    """
    if not names:
        yield
        return
    with open(folder / LOG, "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bellmark.trackers.follow", str(folder), *names],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        _end(process, folder, names)


def _end(process: subprocess.Popen[bytes], folder: Path, names: Sequence[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        code: int | str = process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        code = f"no answer for {GRACE_SECONDS:.0f} s"
    if code != 0:
        line = f"trackers ({', '.join(names)}) ended early ({code}; see {folder / LOG}); the record is whole, export it"
        print(f"bellmark: warning: {line}", file=sys.stderr)
