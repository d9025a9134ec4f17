"""Replay on disk: each save writes only the rows that changed since the one before, and old pieces are folded in.

A checkpoint names the pieces whose rows, applied in order, are the replay of its moment; a piece is whole or not there.
When the pieces hold more than twice the rows of the replay itself, the next one is the whole content and begins anew.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bellmark.errors import UserError
from bellmark.records import write_atomic
from bellmark.replay import Replay

FOLD = 2.0  # rows in pieces per row of replay at which everything is written anew


class Journal:
    """The pieces of one run's replay in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pieces: list[tuple[str, int]] = []  # (name, rows), those that make up the replay now
        self._former: list[str] = []  # those of the checkpoint before, kept for a damaged newest one
        self._count = 0

    def save(self, replay: Replay) -> dict[str, Any]:
        """Write what changed; returns what `load` needs, for the checkpoint."""
        self._former, stale = [name for name, _ in self._pieces], self._unnamed()
        if sum(rows for _, rows in self._pieces) > FOLD * len(replay):
            self._pieces.clear()
            replay.touch()
        changes = replay.changes()
        if len(changes["row"]):
            self._count += 1
            name = f"{self._count:06d}.pt"
            buffer = io.BytesIO()
            torch.save(changes, buffer)
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.folder / name, buffer.getvalue())
            self._pieces.append((name, len(changes["row"])))
        for name in stale:
            (self.folder / name).unlink(missing_ok=True)
        return {"pieces": list(self._pieces), "count": self._count, "replay": replay.state_dict()}

    def load(self, replay: Replay, state: Mapping[str, Any]) -> None:
        """Bring a fresh replay to the moment of a save; later pieces are dropped by the next saves.

        Raises:
            UserError: a piece is missing or damaged.
        """
        self._pieces, self._count = [(name, rows) for name, rows in state["pieces"]], state["count"]
        for name, _ in self._pieces:
            try:
                replay.apply(torch.load(self.folder / name, weights_only=True))
            except (OSError, RuntimeError, EOFError) as error:
                raise UserError(f"replay piece {self.folder / name} cannot be read ({error})") from None
        replay.load_state_dict(state["replay"])
        replay.changes()

    def _unnamed(self) -> list[str]:
        """Files that neither the newest checkpoint nor the one before it needs."""
        named = {*self._former, *(name for name, _ in self._pieces)}
        return [path.name for path in self.folder.glob("*.pt") if path.name not in named]
