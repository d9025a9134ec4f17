"""Who did the work of a run: one line per attempt, so that a run which several states of the code made says so.

`run.json` tells where a run was planned; hours or edits may lie between that and the process that computes, and a
resumed run is carried on by whatever code is there then. Each attempt therefore appends to attempts.jsonl what it is
made by, before its first row of metrics.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bellmark.records.layout import ATTEMPTS, DIRTY_DIFF, now_utc, write_atomic
from bellmark.records.provenance import Provenance


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One line of attempts.jsonl."""

    number: int
    resumed_from: int | None = None  # real environment steps of the checkpoint that it went on from; None: from scratch
    resumed_updates: int = 0  # updates of the learner at that checkpoint
    began: str  # ISO 8601, UTC
    commit: str | None = None
    changes: str = ""  # the file beside it with the uncommitted changes; empty when there were none
    host: str = ""
    device: str = ""
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    command: list[str] = msgspec.field(default_factory=list)


def sign(folder: Path, number: int, resumed_from: tuple[int | None, int], device: str, origin: Provenance) -> None:
    """Append an attempt; its uncommitted changes get a file of their own unless they are those of the run's.

    Args:
        resumed_from: steps (None: from scratch) and updates of the checkpoint that it goes on from.
    """
    attempt = Attempt(
        number=number,
        resumed_from=resumed_from[0],
        resumed_updates=resumed_from[1],
        began=now_utc(),
        commit=origin.commit,
        changes=_kept(folder, number, origin.dirty_diff),
        host=origin.host,
        device=device,
        versions=origin.versions,
        command=origin.command,
    )
    descriptor = os.open(folder / ATTEMPTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, msgspec.json.encode(attempt) + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_attempts(folder: Path) -> list[Attempt]:
    """Every attempt that signed, in order; a line that a crash of the machine tore is left out."""
    try:
        lines = (folder / ATTEMPTS).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=Attempt))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return found


def standing(attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempts whose work counts: a later one that began no further on had nothing of theirs."""
    kept: list[Attempt] = []
    for attempt in reversed(attempts):
        if not kept or _start(attempt) < _start(kept[-1]):
            kept.append(attempt)
    return kept[::-1]


def _start(attempt: Attempt) -> tuple[int, int]:
    return -1 if attempt.resumed_from is None else attempt.resumed_from, attempt.resumed_updates


def _kept(folder: Path, number: int, diff: str) -> str:
    """The name of the file that holds a diff, written if the run's own is another; empty without a diff."""
    if not diff:
        return ""
    own = folder / DIRTY_DIFF
    if own.is_file() and own.read_bytes() == diff.encode():
        return DIRTY_DIFF
    name = f"dirty.{number}.diff"
    write_atomic(folder / name, diff.encode())
    return name
