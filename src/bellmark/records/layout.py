"""The run folder on disk: file names, the two JSON documents, and the one way files are replaced.

runs/<group>/<run name>/ holds run.json, status.json, metrics.jsonl, attempts.jsonl, log.txt, dirty.diff (when
the source had uncommitted changes), checkpoints/ and videos/. One process writes a run folder; nothing in it is
shared between runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from bellmark.errors import UserError

SCHEMA = 1
RUN = "run.json"
STATUS = "status.json"
METRICS = "metrics.jsonl"
ATTEMPTS = "attempts.jsonl"
LOG = "log.txt"
DIRTY_DIFF = "dirty.diff"
CHECKPOINTS = "checkpoints"
VIDEOS = "videos"
LOCK = ".lock"
INDEX = ".index.sqlite"

RecordedState = Literal["pending", "running", "done", "failed", "preempted", "stopped"]
FinalState = Literal["done", "failed", "preempted", "stopped"]
State = Literal["pending", "running", "done", "failed", "preempted", "stopped", "lost"]
STATES: tuple[State, ...] = ("pending", "running", "done", "failed", "preempted", "stopped", "lost")

T = TypeVar("T")


class RunMeta(msgspec.Struct, frozen=True, kw_only=True):
    """run.json: what the run is. Written once, when the run is created, and never changed."""

    schema: int = SCHEMA
    name: str
    family: str  # agent family, such as "finetune"
    recipe: str
    overrides: list[str]  # dotted, as given: ["update=awr", "update.beta=0.5"]
    config: dict[str, Any]  # the resolved tree, every knob
    fingerprint: str  # of config: equal exactly when the work is the same
    model_fingerprint: str  # of its model-family part: checkpoints cross exactly when equal
    task: str
    seed: int
    steps: int  # real environment steps asked for
    parent_checkpoint: str | None = None
    continues: str | None = None  # the shorter run at whose end it began
    sweep: str | None = None
    arm: str | None = None
    cell: dict[str, Any] = msgspec.field(default_factory=dict)  # the swept keys and their values here
    commit: str | None = None
    dirty: bool = False
    host: str = ""
    device: str = "cpu"
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    created: str = ""  # ISO 8601, UTC
    command: list[str] = msgspec.field(default_factory=list)
    group: str = "single"


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """status.json: how the run is doing. Replaced whole, atomically, by the process that writes the run.

    The file never says "lost": that is what a reader concludes from a "running" whose writer is gone.
    """

    state: State = "pending"
    step: int = 0
    total: int = 0
    attempt: int = 0  # 0: never started
    heartbeat: float = 0.0  # seconds since the epoch, of the last write
    pid: int = 0
    process_start: float = 0.0  # seconds since the epoch; with pid it names one process for good
    pid_namespace: int = 0  # a pid means something only inside its namespace (containers)
    host: str = ""
    reason: str = ""  # why it failed, stopped or was preempted
    brief: dict[str, float | str] = msgspec.field(default_factory=dict)  # what a live table shows


def now_utc() -> str:
    """The current time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def create_run(path: str | os.PathLike[str], meta: RunMeta, dirty_diff: str = "") -> Path:
    """Make a run folder: run.json, status "pending", and the uncommitted diff when there is one.

    A folder that already holds the same run (equal fingerprint) is left as it is, so that creating is idempotent.

    Raises:
        UserError: the folder holds another run, or a damaged run.json.
    """
    folder = Path(path)
    if (folder / RUN).exists():
        present = read_meta(folder)
        if present.fingerprint != meta.fingerprint:
            raise UserError(
                f"{folder} already holds run {present.name!r} with fingerprint {present.fingerprint}, "
                f"not {meta.fingerprint}; choose another folder"
            )
        return folder
    (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    (folder / VIDEOS).mkdir(exist_ok=True)
    if dirty_diff:
        write_atomic(folder / DIRTY_DIFF, dirty_diff.encode())
    write_atomic(folder / RUN, pretty(meta))
    write_status(folder, RunStatus(total=meta.steps))
    return folder


def read_meta(folder: Path) -> RunMeta:
    """The run.json of a run folder.

    Raises:
        UserError: it is missing, unreadable, damaged, or written by a newer Bellmark.
    """
    meta = _read(folder / RUN, RunMeta)
    if meta.schema > SCHEMA:
        raise UserError(f"{folder / RUN} has schema {meta.schema}, this Bellmark reads up to {SCHEMA}; update Bellmark")
    return meta


def read_status(folder: Path) -> RunStatus:
    """The status.json of a run folder as written; "pending" when there is none yet.

    Raises:
        UserError: it is unreadable or damaged.
    """
    try:
        return _read(folder / STATUS, RunStatus)
    except UserError:
        if (folder / STATUS).exists():
            raise
        return RunStatus()


def write_status(folder: Path, status: RunStatus, *, durable: bool = True) -> None:
    """Replace status.json whole."""
    write_atomic(folder / STATUS, msgspec.json.encode(status) + b"\n", durable=durable)


def overwrite_status(folder: Path, status: RunStatus) -> None:
    """Write status.json where it lies, which takes no room; a crash meanwhile leaves a damaged one: it reads lost."""
    with open(folder / STATUS, "r+b") as file:
        file.write(msgspec.json.encode(status) + b"\n")
        file.truncate()


def _read(file: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is damaged: {error}") from None


def pretty(value: object) -> bytes:
    """Indented JSON with a final newline, for files that people read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace a file whole: a reader, or a crash at any moment, sees the old bytes or the new ones, never a mixture.

    With `durable` the bytes and the rename reach the disk before this returns (fsync of file, then of folder).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk half a file would take the room that others need
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def leftovers(folder: Path) -> Iterator[Path]:
    """Temporary files that a writer left when it was killed between write and rename."""
    return folder.glob(".*.tmp")
