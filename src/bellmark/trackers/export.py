"""A finished run, from its record to a tracker: superseded rows left out, every value as it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from bellmark.records import Run
from bellmark.trackers.imported import Points, rows
from bellmark.trackers.sinks import opened, plain_id


def export_run(run: Run, to: str, folder: Path) -> Path:
    """Write a run to a tracker's files below `folder`; returns where they are."""
    place = folder / plain_id(run.name) if to == "tensorboard" else folder
    sink = opened(to, run.meta, place)
    for number, (step, row) in enumerate(rows(dict(_points(run)))):
        sink.write(step, _began(run) + number * 1e-3, 1, row)
    sink.flush()
    sink.close(run.status.state)
    return place


def _points(run: Run) -> Iterator[tuple[str, Points]]:
    for name, curve in run.curves().items():
        yield name, list(zip(curve.step.tolist(), curve.value.tolist(), strict=True))


def _began(run: Run) -> float:
    """Seconds since the epoch at which the run was created; the record's own times are those of its rows."""
    try:
        return datetime.fromisoformat(run.meta.created).timestamp()
    except ValueError:
        return run.status.heartbeat
