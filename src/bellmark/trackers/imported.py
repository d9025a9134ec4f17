"""A run that another program recorded, as a run folder: read by the index, the report and the audits like any other.

Its rows carry the time at which they were imported; what the source says about time stands in `created`. Where it says
nothing of a configuration, the run has an empty one and is comparable with nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bellmark.config import fingerprint
from bellmark.errors import UserError
from bellmark.records import Run, RunMeta, RunWriter, create_run, now_utc

FAMILY = "imported"
RESERVED = ("step", "attempt", "time", "resumed_from")
Points = Sequence[tuple[int, float]]  # (step, value), in order of step


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """What could be read of a run elsewhere."""

    name: str
    source: str  # "tensorboard", "wandb", "mlflow", "csv", "log"
    curves: Mapping[str, Points]
    config: Mapping[str, Any] = field(default_factory=dict)
    task: str = "unknown"
    seed: int = 0
    steps: int = 0
    state: str = "done"
    created: str = ""
    commit: str | None = None
    command: Sequence[str] = ()
    notes: Sequence[str] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)  # run.json as Bellmark exported it, where it did


def write_run(foreign: Foreign, root: Path, group: str) -> tuple[Path, bool]:
    """Make the run folder `root/group/name`; (folder, whether it is new). One that holds this import is left alone.

    Raises:
        UserError: the folder holds another run, or there is nothing to import.
    """
    if not any(foreign.curves.values()):
        raise UserError(f"run {foreign.name!r} of {foreign.source} holds no scalar values; nothing to import")
    meta = _meta(foreign, group)
    folder = root / group / _safe(foreign.name)
    if (folder / "run.json").exists() and Run(folder).status.state not in ("pending", "lost"):
        present = Run(folder).meta.fingerprint
        if present != meta.fingerprint:
            raise UserError(f"{folder} already holds another run ({present}); import into another group with --group")
        return folder, False
    create_run(folder, meta)
    with RunWriter(folder) as writer:
        for note in foreign.notes:
            writer.note(note)
        for step, row in rows(foreign.curves):
            writer.log(step, row)
        ended = foreign.state if foreign.state in ("done", "failed", "preempted", "stopped") else "done"
        reason = f"imported from {foreign.source}" + (f", state there: {foreign.state}" * (foreign.state != ended))
        writer.finish(ended, reason)  # type: ignore[arg-type]
    return folder, True


def rows(curves: Mapping[str, Points]) -> list[tuple[int, dict[str, float]]]:
    """Curves turned into one row per step, in order."""
    found: dict[int, dict[str, float]] = {}
    for name, points in curves.items():
        for step, value in points:
            found.setdefault(int(step), {})[metric_name(name)] = float(value)
    return sorted(found.items())


def metric_name(name: str) -> str:
    """A name that a metrics row can carry."""
    clean = re.sub(r'["\\\x00-\x1f]', "_", name).strip()
    return f"imported/{clean}" if clean in RESERVED or not clean else clean


def _meta(foreign: Foreign, group: str) -> RunMeta:
    """run.json: that of Bellmark's own export where there is one, else what the source says."""
    steps = foreign.steps or max((int(step) for points in foreign.curves.values() for step, _ in points), default=0)
    config = dict(foreign.config)
    plain: dict[str, Any] = {
        "name": _safe(foreign.name),
        "family": FAMILY,
        "recipe": foreign.source,
        "overrides": [],
        "config": config,
        "fingerprint": fingerprint({"name": foreign.name, "source": foreign.source, "config": config}),
        "model_fingerprint": fingerprint({"imported": foreign.name}),
        "task": foreign.task,
        "seed": foreign.seed,
        "steps": steps,
        "commit": foreign.commit,
        "created": foreign.created or now_utc(),
        "command": list(foreign.command),
    }
    known = {k: v for k, v in foreign.meta.items() if k in RunMeta.__struct_fields__}
    return RunMeta(**{**plain, **known, "group": group})


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text).strip("-.") or "run"
