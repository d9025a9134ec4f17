"""Checkpoints as bytes: what a run needs to go on, with enough of its configuration to refuse a wrong one.

A name that a configuration or a command gives stands for a shipped checkpoint (`pickcube_weak`), a run folder (its best
checkpoint) or a file.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from bellmark.config import Config, diff, fingerprint, flatten, knobs
from bellmark.envs.suite import TWINS
from bellmark.errors import UserError, unknown
from bellmark.records import Run
from bellmark.records.layout import CHECKPOINTS
from bellmark.shipped import shipped_checkpoints

FORMAT = 1


def pack(family: str, config: Mapping[str, Any], state: Mapping[str, Any]) -> bytes:
    """A checkpoint of an agent's state with the plain configuration tree it belongs to."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "family": family, "config": dict(config), "state": dict(state)}, buffer)
    return buffer.getvalue()


def unpack(data: bytes, origin: str) -> dict[str, Any]:
    """The content of a checkpoint: `family`, `config`, `state`.

    Raises:
        UserError: not a Bellmark checkpoint, or one of an unknown format.
    """
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(f"{origin} is not a readable checkpoint ({type(error).__name__})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{origin} is not a Bellmark checkpoint of format {FORMAT}")
    return content


def find(name: str, of_run: Literal["last", "best"] = "best") -> Path:
    """The file a checkpoint name stands for; `of_run`: which one of a run folder (its last where none is best).

    Raises:
        UserError: nothing of that name, or a run folder without a checkpoint.
    """
    shipped = shipped_checkpoints()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.is_file():
        return path
    if (path / "run.json").is_file():
        run = Run(path)
        best = run.best_checkpoint() if of_run == "best" else None
        chosen = best or run.last_checkpoint()
        if chosen is None:
            there = len(list((path / CHECKPOINTS).glob("*.pt")))
            raise UserError(f"run {name} has no checkpoint {f'that is whole, of {there}' if there else 'yet'}")
        return chosen.path
    raise unknown("checkpoint", name, shipped)


def read(name: str, of_run: Literal["last", "best"] = "best") -> dict[str, Any]:
    """The content of the checkpoint a name stands for."""
    path = find(name, of_run)
    return unpack(path.read_bytes(), name)


def check_family(content: Mapping[str, Any], origin: str, family: str, config: Config, parts: tuple[str, ...]) -> None:
    """Refuse a checkpoint whose model differs from `config` in the named top-level parts, showing the difference.

    Between twins (`envs.suite.TWINS`) the task's knobs do not count.

    Raises:
        UserError: another agent family, or model knobs that differ.
    """
    if content["family"] != family:
        raise UserError(f"checkpoint {origin} belongs to family {content['family']!r}, this run is {family!r}")
    model = {k.path for k in knobs(type(config)) if k.scope == "model" and k.path.split(".")[0] in parts}
    if {content["config"].get("task", {}).get("kind"), config.tree().get("task", {}).get("kind")} <= TWINS:
        model = {path for path in model if path.split(".")[0] != "task"}
    stored = {k: v for k, v in flatten(content["config"]).items() if k in model}
    wanted = {k: v for k, v in flatten(config.tree()).items() if k in model}
    if fingerprint(stored) != fingerprint(wanted):
        changes = ", ".join(f"{k}: {old} there, {new} here" for k, (old, new) in diff(stored, wanted).items())
        raise UserError(f"checkpoint {origin} is of another model family: {changes}")
