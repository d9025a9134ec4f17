"""The reading side of a run: metadata, status with "lost" worked out, curves, checkpoints. Never writes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from bellmark.errors import Skipped, UserError
from bellmark.records.attempts import Attempt, read_attempts
from bellmark.records.checkpoints import Checkpoint, CheckpointStore, Mode
from bellmark.records.layout import (
    CHECKPOINTS,
    DIRTY_DIFF,
    METRICS,
    RUN,
    STATUS,
    RunMeta,
    RunStatus,
    read_meta,
    read_status,
)
from bellmark.records.liveness import writer_alive
from bellmark.records.metrics import Curve, Table, decode

_EMPTY = Curve(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float64))
_DEPTH = 3  # folders below a root in which runs are looked for: group, run, and one to spare for nested groups


class Damage(NamedTuple):
    """A run folder that cannot be read, and why."""

    path: Path
    problem: str


class Run:
    """One run folder, read afresh at every call (except `meta`, which never changes).

    Raises:
        UserError: the folder holds no readable run.json.
    """

    def __init__(self, path: str | os.PathLike[str], *, best: Mode = "max") -> None:
        self.path = Path(path)
        if not (self.path / RUN).exists():
            raise UserError(f"{self.path} is not a run folder: it has no {RUN}")
        self.meta: RunMeta = read_meta(self.path)
        self._store = CheckpointStore(self.path / CHECKPOINTS, best)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The derived name."""
        return self.meta.name

    @property
    def status(self) -> RunStatus:
        """How the run is doing now: a "running" whose writer is gone reads "lost", as does an unreadable status."""
        return judged(recorded_status(self.path))

    def metric_names(self) -> list[str]:
        """The names of all metrics with at least one row that counts, sorted."""
        return sorted(self._table().columns)

    def curve(self, name: str) -> Curve:
        """One metric over steps; empty when the run has no such metric (yet)."""
        return self._table([name]).columns.get(name, _EMPTY)

    def curves(self, names: Sequence[str] | None = None) -> dict[str, Curve]:
        """Several metrics (default: all) in one pass over the file; absent ones are left out."""
        return dict(self._table(names).columns)

    def checkpoints(self) -> list[Checkpoint]:
        """Every checkpoint, in order of step; their checksums are left unread."""
        return self._store.all()

    def last_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; damaged ones are skipped with a warning."""
        return self._store.last()

    def best_checkpoint(self) -> Checkpoint | None:
        """The checkpoint with the best declared metric that is whole."""
        return self._store.best()

    def attempts(self) -> list[Attempt]:
        """Every attempt that wrote rows and said what it was made by; none in records older than that."""
        return read_attempts(self.path)

    def dirty_diff(self, name: str = DIRTY_DIFF) -> str:
        """The uncommitted changes of the source when the run was planned, or an attempt's; empty when there were none.

        `name`: the attempt's `changes`.
        """
        file = self.path / name
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def problems(self) -> list[str]:
        """What is wrong with the folder though it can be read: damaged lines, a torn end, a damaged status."""
        found = []
        status = self.status
        if status.reason and status.state == "lost":
            found.append(status.reason)
        table = self._table([])
        if table.damaged:
            lines = ", ".join(map(str, table.damaged[:5])) + (", ..." if len(table.damaged) > 5 else "")
            found.append(f"{METRICS}: {len(table.damaged)} unreadable lines skipped (line {lines})")
        if table.torn_tail and status.state != "running":
            found.append(f"{METRICS}: the last line is torn and was skipped")
        return found

    def _table(self, names: Sequence[str] | None = None) -> Table:
        return read_metrics(self.path, names)


def read_metrics(folder: Path, names: Sequence[str] | None = None) -> Table:
    """The metric rows of a run folder; none while there is no file.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        return decode((folder / METRICS).read_bytes(), names)
    except FileNotFoundError:
        return decode(b"", names)
    except OSError as error:
        raise UserError(f"{folder / METRICS} cannot be read: {error.strerror}") from None


def recorded_status(folder: Path) -> RunStatus:
    """status.json as written; one that was damaged from outside reads "lost", with the damage as the reason."""
    try:
        return read_status(folder)
    except UserError as error:
        return RunStatus(state="lost", reason=str(error))


def judged(status: RunStatus, now: float | None = None) -> RunStatus:
    """A recorded status with "running" turned into "lost" where the writer is gone."""
    if status.state != "running" or writer_alive(status, now):
        return status
    return msgspec.structs.replace(status, state="lost")


def folders(root: str | os.PathLike[str]) -> Iterator[Path]:
    """Every folder below `root` that is, or was meant to be, a run: sorted, damaged ones included."""
    yield from _walk(Path(root), _DEPTH)


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as scan_entries:
            entries = sorted(scan_entries, key=lambda e: e.name)
    except OSError:
        return
    if {RUN, STATUS, METRICS} & {e.name for e in entries}:
        yield folder
    elif depth:
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _walk(Path(entry.path), depth - 1)


def survey(root: str | os.PathLike[str]) -> tuple[list[Run], list[Damage]]:
    """Every run below `root`, and every run folder that cannot be read."""
    runs, damaged = [], []
    for folder in folders(root):
        try:
            runs.append(Run(folder))
        except UserError as error:
            damaged.append(Damage(folder, str(error)))
    return runs, damaged


def scan(root: str | os.PathLike[str]) -> list[Run]:
    """Every readable run below `root`, in order of path; a damaged folder gives a warning and is left out."""
    runs, damaged = survey(root)
    for damage in damaged:
        warnings.warn(f"run skipped: {damage.problem}", Skipped, stacklevel=2)
    return runs
