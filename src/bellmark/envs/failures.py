"""Episodes that ended because an action or the physics was no longer finite, kept so that they can be looked into.

A simulation keeps its last failures in memory. One that knows its own configuration also writes the first few to files,
below `$BELLMARK_FAILURES` (default `~/.local/state/bellmark/failures`), for `bellmark envs replay FILE`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from bellmark.errors import UserError

IN_MEMORY = 100
IN_FILES = 20  # per simulation: the first ones, which later ones seldom add to
NON_FINITE = "non-finite action"
_serial = count()
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A world whose episode ended in failure, with what replays it.

    `simulation.load(np.array([0]), failure.saved)`, then `advance(np.array([0]), failure.action[None])`, fails again.
    """

    index: int
    reason: str
    saved: dict[str, NDArray[Any]]  # one world as `save` gives it, just before the step
    action: NDArray[np.float64]  # (A,)


class Failures(Sequence[Failure]):
    """The last failures of a simulation; `config` is the task's configuration as plain values, if it is known."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.config = config
        self.files: list[Path] = []
        self._kept: deque[Failure] = deque(maxlen=IN_MEMORY)

    def add(self, failure: Failure) -> None:
        """Keep it, say so, and write it to a file where that is possible."""
        self._kept.append(failure)
        where = "simulation.failures keeps its state"
        if self.config is not None and len(self.files) < IN_FILES:
            try:
                self.files.append(_write(failure, self.config))
                where = f"see it again: bellmark envs replay {self.files[-1]}"
            except OSError as error:
                log.warning("a failed world could not be written: %s", error)
        log.warning("world %d ended as failed (%s); %s", failure.index, failure.reason, where)

    @overload
    def __getitem__(self, index: int) -> Failure: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Failure]: ...
    def __getitem__(self, index: int | slice) -> Failure | Sequence[Failure]:
        return list(self._kept)[index]

    def __len__(self) -> int:
        return len(self._kept)


def folder() -> Path:
    """Where failures are written."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return Path(os.environ.get("BELLMARK_FAILURES") or state / "bellmark" / "failures")


def read(path: Path) -> tuple[dict[str, Any], Failure]:
    """A written failure: the task's configuration, and the failure.

    Raises:
        UserError: the file is not there or not one of ours.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            saved = {name.removeprefix("saved."): stored[name] for name in stored if name.startswith("saved.")}
            return facts["config"], Failure(facts["index"], facts["reason"], saved, stored["action"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is not a failed world that bellmark has written ({error})") from None


def _write(failure: Failure, config: Mapping[str, Any]) -> Path:
    name = "-".join(str(config[key]) for key in ("kind", "task") if key in config)
    path = folder() / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(_serial)}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}")
    facts = json.dumps({"config": dict(config), "index": failure.index, "reason": failure.reason})
    saved: dict[str, Any] = {f"saved.{key}": array for key, array in failure.saved.items()}
    with part.open("wb") as file:
        np.savez(file, facts=np.array(facts), action=failure.action, **saved)
    os.replace(part, path)
    return path
