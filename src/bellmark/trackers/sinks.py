"""One protocol for every tracker: what a follower or an export writes rows to. Libraries are imported when opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from bellmark.errors import UserError, unknown
from bellmark.records import RunMeta


class Sink(Protocol):
    """A tracker's side of one run."""

    def write(self, step: int, when: float, attempt: int, metrics: Mapping[str, float]) -> None:
        """One row, `when` in seconds since the epoch; values may be NaN or infinite."""

    def rewind(self, step: int, when: float) -> None:
        """A new attempt continues from `step`: rows past it are about to be done again."""

    def flush(self) -> None:
        """Let readers see what has been written."""

    def close(self, state: str) -> None:
        """The run, or this attempt at it, has ended."""


# name -> (module with `open_sink(meta, folder) -> Sink`, library it needs)
SINKS: Mapping[str, tuple[str, str]] = {
    "tensorboard": ("bellmark.trackers.tensorboard", "tensorboard"),
    "wandb": ("bellmark.trackers.wandb", "wandb"),
    "mlflow": ("bellmark.trackers.mlflow", "mlflow"),
    "csv": ("bellmark.trackers.csv", ""),
}
LIVE = ("tensorboard", "wandb", "mlflow")  # a CSV file is made in one go

Open = Callable[[RunMeta, Path], Sink]


def check(names: Sequence[str], known: Sequence[str] = LIVE) -> tuple[str, ...]:
    """The names, once each, after making sure that each is known and installed.

    Raises:
        UserError: an unknown tracker, or one whose library is missing.
    """
    for name in names:
        if name not in known:
            raise unknown("tracker", name, known)
        library = SINKS[name][1]
        if library and find_spec(library) is None:
            raise UserError(f"tracker {name} needs {library}, which is not installed: pip install 'bellmark[{name}]'")
    return tuple(dict.fromkeys(names))


def opened(name: str, meta: RunMeta, folder: Path) -> Sink:
    """A sink that writes below `folder` (MLflow: to its tracking address)."""
    open_sink: Open = import_module(SINKS[name][0]).open_sink
    return open_sink(meta, folder)


def flat_config(meta: RunMeta) -> dict[str, str | int | float | bool]:
    """The configuration under dotted keys, as trackers show parameters; None is left out, lists become text."""
    found: dict[str, str | int | float | bool] = {}

    def walk(tree: Mapping[str, object], prefix: str) -> None:
        for key, value in tree.items():
            if isinstance(value, Mapping):
                walk(value, f"{prefix}{key}.")
            elif isinstance(value, str | int | float | bool):
                found[f"{prefix}{key}"] = value
            elif value is not None:
                found[f"{prefix}{key}"] = str(value)

    walk(meta.config, "")
    return found


def plain_id(text: str) -> str:
    """A name that every tracker takes as an id."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:120]
