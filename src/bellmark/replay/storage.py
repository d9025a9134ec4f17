"""Storage of experience: a ring of rows per world, written in order of time, drawn as slices of consecutive rows.

Every world has a lane of its own, so a slice is always one world's uninterrupted past. A row belongs to an observation,
the reset's and the final one included; an episode of k steps is k + 1 rows. Rows are addressed as lane x rows + place.

Which rows can be drawn is kept on the host, the columns wherever `device` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bellmark.errors import UserError

FIRST = "first"  # the column that says where episodes begin: (rows,) bool


class Replay:
    """Columns of rows, uniform draws of slices, write-back, and what has changed since it was last asked.

    Args:
        capacity: rows of all worlds together; the oldest of a lane leave first.
        worlds: lanes.
        blank: one row: every column's shape, type and the value it has where nothing is given. Must have `first`.
        insert_every: steps after which a running episode's rows can be drawn; -1: only when it has ended.
        device: where the columns live.
    """

    def __init__(
        self,
        capacity: int,
        worlds: int,
        blank: Mapping[str, Tensor],
        *,
        insert_every: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.worlds = worlds
        self.rows = capacity // worlds
        self.insert_every = insert_every
        self.blank = {name: value.to(device) for name, value in blank.items()}
        self.columns = {
            name: torch.empty((worlds * self.rows, *value.shape), dtype=value.dtype, device=device)
            for name, value in self.blank.items()
        }
        self.written = torch.zeros(worlds, dtype=torch.int64)  # rows ever written per lane
        self.visible = torch.zeros(worlds, dtype=torch.int64)  # of these, the oldest so many can be drawn
        self.served = torch.zeros(worlds, dtype=torch.int64)  # rows that fresh slices have been cut from
        self._first = torch.zeros((worlds, self.rows), dtype=torch.bool)
        self._changed = torch.zeros(worlds * self.rows, dtype=torch.bool)

    def __len__(self) -> int:
        return int(self.written.clamp(max=self.rows).sum())

    def append(self, worlds: Tensor, values: Mapping[str, Tensor], ended: Tensor) -> None:
        """Write the next row of the lanes `worlds` (K,): columns (K, ...), blank where none is given.

        `ended` (K,) bool: the row is the final observation of its episode.
        """
        place = self.written[worlds] % self.rows
        at = worlds * self.rows + place
        for name, column in self.columns.items():
            column[at] = values[name].to(column) if name in values else self.blank[name]
        self._first[worlds, place] = values[FIRST].cpu()
        self._changed[at] = True
        self.written[worlds] += 1
        waiting = self.written[worlds] - self.visible[worlds]
        shown = ended if self.insert_every < 0 else ended | (waiting >= self.insert_every)
        self.visible[worlds] = torch.where(shown, self.written[worlds], self.visible[worlds])

    def write(self, rows: Tensor, values: Mapping[str, Tensor]) -> None:
        """New values (K, ...) of some columns at rows (K,); of a row that occurs twice the last value stays."""
        row, last = np.unique(rows.cpu().numpy()[::-1], return_index=True)
        at, source = torch.from_numpy(row), torch.from_numpy(len(rows) - 1 - last)
        for name, value in values.items():
            self.columns[name][at] = value[source.to(value.device)].to(self.columns[name])
        self._changed[at] = True

    def draw(
        self, batch: int, length: int, generator: torch.Generator, *, whole: bool, fresh: bool = False, newest: int = 0
    ) -> Tensor | None:
        """Rows (length, batch) of slices drawn uniformly from all possible starts; None while there are none.

        Args:
            batch: slices.
            length: consecutive rows each.
            generator: of the host.
            whole: slices lie inside one episode.
            fresh: complete slices of rows that have never been served come first.
            newest: draw from so many newest rows only; 0: from all.

        Raises:
            UserError: `whole`, and (almost) no episode is as long as a slice.
        """
        queued = self._fresh(batch, length) if fresh else torch.zeros((0, 2), dtype=torch.int64)
        missing = batch - len(queued)
        starts = self._uniform(missing, length, generator, whole, newest) if missing else queued[:0]
        if starts is None:
            return None
        lane, begin = torch.cat([queued, starts]).T
        return lane * self.rows + (begin + torch.arange(length)[:, None]) % self.rows

    def read(self, rows: Tensor) -> dict[str, Tensor]:
        """Every column at rows of any shape."""
        flat = rows.flatten()
        return {name: column[flat].unflatten(0, rows.shape) for name, column in self.columns.items()}

    def _fresh(self, most: int, length: int) -> Tensor:
        """At most so many (lane, start) of complete slices that have not been served."""
        oldest = (self.written - self.rows).clamp(min=0)
        behind = self.served < oldest  # overwritten before they were served
        self.served = torch.where(behind, -(-oldest // length) * length, self.served)
        waiting = (self.visible - self.served).clamp(min=0) // length
        lane = torch.repeat_interleave(torch.arange(self.worlds), waiting)[:most]
        rank = torch.arange(len(lane)) - (lane[:, None] > lane).sum(1)
        queued = torch.stack([lane, self.served[lane] + rank * length], dim=1)
        self.served += torch.bincount(lane, minlength=self.worlds) * length
        return queued

    def _uniform(self, count: int, length: int, generator: torch.Generator, whole: bool, newest: int) -> Tensor | None:
        """(lane, start) of `count` slices; rejection keeps it uniform over the starts that are allowed."""
        oldest = (self.written - self.rows).clamp(min=0)
        if newest:
            oldest = torch.maximum(oldest, self.visible - newest // self.worlds)
        choices = (self.visible - oldest - length + 1).clamp(min=0)
        ends = choices.cumsum(0)
        total = int(ends[-1])
        if total == 0:
            return None
        found: list[Tensor] = []
        missing, tries = count, 0
        while missing > 0:
            index = torch.randint(total, (missing + missing // 8 + 1,), generator=generator)
            lane = torch.searchsorted(ends, index, right=True)
            starts = torch.stack([lane, oldest[lane] + index - (ends - choices)[lane]], dim=1)
            kept = starts[self._inside(starts, length)] if whole else starts
            found.append(kept[:missing])
            missing -= len(found[-1])
            tries += 1
            if tries > 1000:
                raise UserError(f"no slice of {length} rows lies inside one episode: episodes end before that")
        return torch.cat(found)

    def _inside(self, starts: Tensor, length: int) -> Tensor:
        """Which slices (K,) cross no reset."""
        lane, begin = starts.T
        later = (begin[:, None] + torch.arange(1, length)) % self.rows
        return ~self._first[lane[:, None], later].any(dim=1)

    def changes(self) -> dict[str, Tensor]:
        """The rows that changed since the last call, as host tensors: `row` (K,) and every column (K, ...)."""
        row = self._changed.nonzero().flatten()
        self._changed.zero_()
        return {"row": row, **{name: column[row].cpu() for name, column in self.columns.items()}}

    def apply(self, changes: Mapping[str, Tensor]) -> None:
        """Take back what `changes` gave."""
        row = changes["row"]
        for name, column in self.columns.items():
            column[row] = changes[name].to(column)
        self._first.view(-1)[row] = changes[FIRST]

    def touch(self) -> None:
        """Count every row that holds something as changed: the next `changes` is the whole content."""
        held = self.written.clamp(max=self.rows)
        self._changed.view(self.worlds, self.rows)[torch.arange(self.rows) < held[:, None]] = True

    def state_dict(self) -> dict[str, Any]:
        """The counters; the rows themselves go through `changes`."""
        return {name: getattr(self, name).clone() for name in ("written", "visible", "served")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Counters as saved, beside rows that have been applied."""
        for name, value in state.items():
            getattr(self, name).copy_(value)
