"""Weights & Biases, offline: written with its own library, read back from the `.wandb` file it leaves.

Nothing leaves the machine; `wandb sync FOLDER/wandb/offline-run-*` uploads when its owner wants that. Rows carry the
column `step` and are plotted over it, because W&B's own counter cannot go back when an attempt is done again.

The file is a log in LevelDB's format: seven bytes of header (":W&B", a magic number, a version), then blocks of 32 KiB
with chunks of crc (4 bytes), length (2), kind (1: whole, 2: first, 3: middle, 4: last); each record is a protobuf.
"""

from __future__ import annotations

import os
import struct
import time
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bellmark.errors import Skipped, UserError
from bellmark.records import RunMeta
from bellmark.trackers.imported import Foreign
from bellmark.trackers.sinks import plain_id

PROJECT = "bellmark"
FACTS = "bellmark_run"
BLOCK, HEADER, CHUNK = 32768, 7, 7
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4
PATIENCE_SECONDS = 20.0
_OWN = ("step", "attempt")  # columns that Bellmark adds


class WandbSink:
    """Writes one offline run below a folder."""

    def __init__(self, meta: RunMeta, folder: Path) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("WANDB_SILENT", "true")
        self._run: Any = wandb.init(
            mode="offline",
            project=plain_id(meta.sweep or PROJECT),
            name=meta.name,
            id=plain_id(meta.fingerprint),
            group=meta.arm,
            dir=str(folder),
            config={**meta.config, FACTS: msgspec.json.encode(meta).decode()},
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                disable_git=True,
                disable_code=True,
                silent=True,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
            ),
        )
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, when: float, attempt: int, metrics: Mapping[str, float]) -> None:
        """One history row."""
        self._run.log({**metrics, "step": step, "attempt": attempt})

    def rewind(self, step: int, when: float) -> None:
        """Nothing: rows say their attempt, and the later one at a step is the one that counts."""

    def flush(self) -> None:
        """Nothing: W&B's own process writes as it goes."""

    def close(self, state: str) -> None:
        """End the run; anything but done counts as failed there."""
        file = Path(self._run.dir).parent / f"run-{self._run.id}.wandb"
        self._run.finish(exit_code=0 if state == "done" else 1)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _ended(file) and time.monotonic() < deadline:  # its own process writes the file a little later
            time.sleep(0.05)


def _ended(file: Path) -> bool:
    """Whether the end of the run has reached its file."""
    return file.exists() and any(record.WhichOneof("record_type") == "exit" for record in _records(file))


def open_sink(meta: RunMeta, folder: Path) -> WandbSink:
    """The sink of a run; every attempt leaves an offline folder of its own with the same id."""
    return WandbSink(meta, folder)


def read(path: Path) -> Iterator[Foreign]:
    """Every offline run below a folder; attempts at one run (the same id) are joined.

    Raises:
        UserError: no `.wandb` file, or a damaged one.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*.wandb"))
    if not files:
        raise UserError(f"{path}: no W&B offline run (run-*.wandb) here")
    runs: dict[str, _Read] = {}
    for file in files:
        found = _Read(file.stem)
        for record in _records(file):
            found.take(record)
        former = runs.get(found.id)
        runs[found.id] = former.joined(found) if former else found
    yield from (run.foreign() for run in runs.values())


class _Read:
    """A run as its records tell it."""

    def __init__(self, name: str) -> None:
        self.id = self.name = name
        self.config: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []
        self.started = 0
        self.state = "lost"  # there: a run whose file has no end was cut off

    def take(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            self.id, self.name = record.run.run_id, record.run.display_name or record.run.run_id
            self.started = record.run.start_time.seconds
            self.config |= _items(record.run.config.update)
        elif kind == "config":
            self.config |= _items(record.config.update)
        elif kind == "history":
            self.rows.append(_items(record.history.item))
        elif kind == "exit":
            self.state = "done" if record.exit.exit_code == 0 else "failed"

    def joined(self, later: _Read) -> _Read:
        later.rows = [*self.rows, *later.rows]
        later.started = self.started or later.started
        return later

    def foreign(self) -> Foreign:
        facts = self.config.pop(FACTS, None)
        config = {k: v for k, v in self.config.items() if k != "_wandb"}
        curves: dict[str, dict[int, float]] = {}
        attempt = 0
        for row in self.rows:
            step = int(row.get("step", row.get("_step", 0)))
            if row.get("attempt", attempt) > attempt:  # done again from here on
                attempt = row["attempt"]
                for points in curves.values():
                    for late in [s for s in points if s >= step]:
                        del points[late]
            for name, value in row.items():
                number = _float(value)
                if number is not None and name not in _OWN and not name.startswith("_"):
                    curves.setdefault(name, {})[step] = number
        began = datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds") if self.started else ""
        return Foreign(
            name=self.name,
            source="wandb",
            curves={name: sorted(points.items()) for name, points in curves.items()},
            config=config,
            state=self.state,
            created=began,
            seed=int(config["seed"]) if isinstance(config.get("seed"), int) else 0,
            meta=msgspec.json.decode(facts) if isinstance(facts, str) else {},
        )


def _items(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        name = item.key or ".".join(item.nested_key)
        text = item.value_json
        # NaN and Infinity are no JSON, but what W&B writes
        found[name] = float(text) if text in ("NaN", "Infinity", "-Infinity") else msgspec.json.decode(text)
    return found


def _float(value: Any) -> float | None:
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _records(file: Path) -> Iterator[Any]:
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2  # chosen by the version of protobuf while it is imported
    damaged = 0
    for raw in chunks(file.read_bytes(), str(file)):
        record = messages.Record()
        try:
            record.ParseFromString(raw)
        except DecodeError:
            damaged += 1
            continue
        yield record
    if damaged:
        warnings.warn(f"{file}: {damaged} damaged records skipped", Skipped, stacklevel=2)


def chunks(data: bytes, name: str) -> Iterator[bytes]:
    """The records of a log; one cut off at the end of the file is left out.

    Raises:
        UserError: not such a log.
    """
    if data[:4] != b":W&B":
        raise UserError(f"{name} is not a W&B offline run: it does not begin with ':W&B'")
    position, parts = HEADER, b""
    while position + CHUNK <= len(data):
        room = BLOCK - position % BLOCK
        if room < CHUNK:
            position += room
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + CHUNK])
        if kind not in (WHOLE, FIRST, MIDDLE, LAST):  # the rest of a block that was filled up
            position += room
            continue
        body = data[position + CHUNK : position + CHUNK + length]
        if len(body) < length:
            return
        position += CHUNK + length
        parts = body if kind in (WHOLE, FIRST) else parts + body
        if kind in (WHOLE, LAST):
            yield parts
