"""A process that follows a run's record and hands its rows to trackers.

Training only writes its record; whatever a tracker costs, and whether it hangs, is this process's matter. It ends when
its standard input is closed (or its parent is gone), after it has read the record to its end. How far each record was
read stands in the run folder, so that the next attempt goes on from there.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bellmark.records import read_meta, read_status, write_atomic
from bellmark.records.layout import METRICS
from bellmark.trackers.sinks import Sink, opened

POLL_SECONDS = 1.0
STATE = "trackers.json"
OWN = ("step", "attempt", "time", "resumed_from")
_ROW = msgspec.json.Decoder(dict[str, float | str])
_LIMITS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class Follower:
    """Reads what is new in a record and writes it to sinks."""

    def __init__(self, folder: Path, sinks: dict[str, Sink]) -> None:
        self._folder = folder
        self._sinks = sinks
        self._offsets = {name: _offset(folder, name) for name in sinks}

    def step(self) -> int:
        """Hand on every whole new line; returns how many there were."""
        count = 0
        for name, sink in self._sinks.items():
            lines, self._offsets[name] = _lines(self._folder / METRICS, self._offsets[name])
            for line in lines:
                _hand(line, sink)
            if lines:
                sink.flush()
                count += len(lines)
        if count:
            write_atomic(self._folder / STATE, msgspec.json.encode(self._offsets), durable=False)
        return count

    def close(self) -> None:
        """The rest of the record, then the end."""
        while self.step():
            pass
        state = read_status(self._folder).state
        for sink in self._sinks.values():
            sink.close(state)


def _offset(folder: Path, name: str) -> int:
    try:
        return int(msgspec.json.decode((folder / STATE).read_bytes(), type=dict[str, int]).get(name, 0))
    except (OSError, msgspec.DecodeError):
        return 0


def _lines(file: Path, offset: int) -> tuple[list[bytes], int]:
    """(whole lines from an offset on, where the next begins); a line being written just now is left for later."""
    try:
        with open(file, "rb") as record:
            record.seek(offset)
            data = record.read()
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    return [line for line in data[:end].split(b"\n") if line.strip()], offset + end


def _hand(line: bytes, sink: Sink) -> None:
    try:
        row = _ROW.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return  # damage is the doctor's matter
    step, attempt, time = (row.get(key, 0) for key in ("step", "attempt", "time"))
    metrics = {k: _LIMITS.get(v, float("nan")) if isinstance(v, str) else v for k, v in row.items() if k not in OWN}
    if "resumed_from" in row:
        sink.rewind(int(step), float(time))
    elif metrics:
        sink.write(int(step), float(time), int(attempt), metrics)


def places(folder: Path, name: str) -> Path:
    """Where a live tracker writes: into the run folder; MLflow into its own store of the working directory."""
    return Path("mlruns") if name == "mlflow" else folder / name


def main(arguments: Sequence[str]) -> int:
    """`python -m bellmark.trackers.follow RUN TRACKER...`"""
    folder, names = Path(arguments[0]), arguments[1:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # the run is asked to stop, and this process ends after it
    os.nice(10)
    parent = os.getppid()
    meta = read_meta(folder)
    follower = Follower(folder, {name: opened(name, meta, places(folder, name)) for name in names})
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], POLL_SECONDS)
        if ready or os.getppid() != parent:
            follower.close()
            return 0
        follower.step()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
