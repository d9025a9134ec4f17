"""Checkpoints that are whole or not there: temporary file, fsync, rename, fsync of the folder.

checkpoints/step_000050000.pt is the data; step_000050000.json its facts (size, checksum, metric), written first, so
that data without facts never counts. Another save of that step, in a burst of updates, is step_000050000_8.pt, by its
order. last.json and best.json repeat the facts of the newest and of the best for people and scripts. Kept are the
newest, the one before it (the spare that a damaged newest needs), the best, and every n steps.
"""

from __future__ import annotations

import math
import os
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from bellmark.errors import Skipped
from bellmark.records.layout import leftovers, pretty, write_atomic

LAST = "last.json"
BEST = "best.json"
Mode = Literal["max", "min"]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one checkpoint without opening it."""

    file: str
    step: int
    order: int  # counts the saves of a run: newest is not the highest step after a resume from further back
    updates: int = 0  # of the learner so far, where it counts them: many may lie between two steps
    bytes: int
    crc32: int
    metric: float | None
    saved: float  # seconds since the epoch


class Checkpoint(msgspec.Struct, frozen=True):
    """One saved state of a run."""

    path: Path
    facts: Facts

    @property
    def step(self) -> int:
        """Real environment steps at which it was saved."""
        return self.facts.step

    @property
    def metric(self) -> float | None:
        """The declared metric at that step, where one was given."""
        return self.facts.metric

    def read(self) -> bytes:
        """The data, checked against size and checksum.

        Raises:
            OSError: the file cannot be read.
            ValueError: the bytes are not those that were saved.
        """
        data = self.path.read_bytes()
        if len(data) != self.facts.bytes:
            raise ValueError(f"{self.path.name} has {len(data)} bytes, {self.facts.bytes} were saved")
        if zlib.crc32(data) != self.facts.crc32:
            raise ValueError(f"{self.path.name} does not match its checksum")
        return data


class CheckpointStore:
    """The checkpoints of one run folder; one process saves, any number read.

    Args:
        folder: the checkpoints/ folder.
        mode: whether a high or a low metric is best.
    """

    def __init__(self, folder: str | os.PathLike[str], mode: Mode = "max") -> None:
        self.folder = Path(folder)
        self.mode = mode

    def save(
        self,
        step: int,
        data: bytes,
        *,
        metric: float | None = None,
        keep_every: int | None = None,
        updates: int = 0,
    ) -> Checkpoint:
        """Store `data` under `step`, then drop what need not be kept.

        Args:
            step: real environment steps so far.
            data: the serialised state.
            metric: the declared metric at this step; None, or one that is not finite, never counts as best.
            keep_every: the newest checkpoint of every step that is a multiple of this stays for good.
            updates: of the learner so far.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in leftovers(self.folder):
            stale.unlink(missing_ok=True)
        value = None if metric is None or not math.isfinite(metric) else float(metric)
        former = self.all()
        order = 1 + max((c.facts.order for c in former), default=0)
        again = any(c.step == step for c in former)
        facts = Facts(
            file=f"step_{step:09d}_{order}.pt" if again else f"step_{step:09d}.pt",
            step=step,
            order=order,
            updates=updates,
            bytes=len(data),
            crc32=zlib.crc32(data),
            metric=value,
            saved=time.time(),
        )
        saved = Checkpoint(self.folder / facts.file, facts)
        write_atomic(saved.path.with_suffix(".json"), pretty(facts))
        write_atomic(saved.path, data)
        self._settle(keep_every)
        return saved

    def all(self) -> list[Checkpoint]:
        """Every checkpoint with its data, in order of step, then of saving; checksums are left unread."""
        found = [c for c in map(self._open, self.folder.glob("step_*.json")) if c is not None]
        return sorted(found, key=lambda c: (c.step, c.facts.order))

    def furthest(self) -> tuple[int, int]:
        """The most steps, and updates of the learner at these, that any checkpoint has; (-1, 0) without one."""
        return max(((c.step, c.facts.updates) for c in self.all()), default=(-1, 0))

    def last(self) -> Checkpoint | None:
        """The newest checkpoint that can be read whole; damaged ones are skipped with a warning."""
        return self._first_whole(self._newest_first())

    def best(self) -> Checkpoint | None:
        """The checkpoint with the best metric (the earlier of equals) that can be read whole; None without metrics."""
        return self._first_whole(self._best_first())

    def _newest_first(self) -> list[Checkpoint]:
        return sorted(self.all(), key=lambda c: -c.facts.order)

    def _best_first(self) -> list[Checkpoint]:
        """By metric; steps past the newest belong to an attempt that was resumed from further back and do not count."""
        every = self._newest_first()
        live = [c for c in every if c.step <= every[0].step]
        sign = -1.0 if self.mode == "max" else 1.0
        return sorted(_with_metric(live), key=lambda c: (sign * (c.metric or 0.0), c.step))

    def _settle(self, keep_every: int | None) -> None:
        newest, best = self._newest_first(), self._best_first()
        keep = {c.path for c in [*newest[:2], *best[:1]]}
        if keep_every:
            keep |= {c.path for c in {c.step: c for c in reversed(newest) if c.step % keep_every == 0}.values()}
        for checkpoint in newest:
            if checkpoint.path not in keep:
                checkpoint.path.unlink(missing_ok=True)
                checkpoint.path.with_suffix(".json").unlink(missing_ok=True)
        write_atomic(self.folder / LAST, pretty(newest[0].facts))
        if best:
            write_atomic(self.folder / BEST, pretty(best[0].facts))

    def _open(self, file: Path) -> Checkpoint | None:
        try:
            facts = msgspec.json.decode(file.read_bytes(), type=Facts)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            warnings.warn(f"checkpoint {file.stem} skipped: {file.name} is unreadable ({error})", Skipped, stacklevel=4)
            return None
        path = self.folder / facts.file
        return Checkpoint(path, facts) if path.exists() else None

    def _first_whole(self, candidates: Sequence[Checkpoint]) -> Checkpoint | None:
        for checkpoint in candidates:
            try:
                checkpoint.read()
            except (OSError, ValueError) as error:
                warnings.warn(f"checkpoint skipped: {error}", Skipped, stacklevel=3)
                continue
            return checkpoint
        return None


def _with_metric(checkpoints: Sequence[Checkpoint]) -> Iterator[Checkpoint]:
    return (c for c in checkpoints if c.metric is not None)
