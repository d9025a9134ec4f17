"""Comma-separated values: a row per step, a column per metric, the run's facts in a JSON file beside it.

Numbers are written so that reading them gives the same bits; a cell is empty where a metric has no value at a step.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bellmark.errors import UserError
from bellmark.records import RunMeta
from bellmark.records.layout import pretty, write_atomic
from bellmark.trackers.imported import Foreign

STEPS = ("step", "steps", "global_step", "timesteps", "total_timesteps", "iteration", "iter", "epoch")


class CsvSink:
    """Collects rows and writes them when closed: the columns are known only then."""

    def __init__(self, meta: RunMeta, folder: Path) -> None:
        self._meta = meta
        self.file = folder / f"{meta.name}.csv"
        self._rows: dict[int, dict[str, float]] = {}

    def write(self, step: int, when: float, attempt: int, metrics: Mapping[str, float]) -> None:
        """Join the row to what the step has."""
        self._rows.setdefault(step, {}).update(metrics)

    def rewind(self, step: int, when: float) -> None:
        """Forget what is done again."""
        self._rows = {s: row for s, row in self._rows.items() if s <= step}

    def flush(self) -> None:
        """Nothing yet."""

    def close(self, state: str) -> None:
        """Write both files."""
        names = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.file, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["step", *names])
            for step, row in sorted(self._rows.items()):
                writer.writerow([step, *(repr(float(row[n])) if n in row else "" for n in names)])
        write_atomic(self.file.with_suffix(".json"), pretty({"state": state, "run": self._meta}))


def open_sink(meta: RunMeta, folder: Path) -> CsvSink:
    """The sink of a run."""
    return CsvSink(meta, folder)


def read(path: Path) -> Iterator[Foreign]:
    """A CSV file, or every one in a folder; each is one run.

    Raises:
        UserError: no file, no column of steps, a step that is no whole number.
    """
    files = [path] if path.is_file() else sorted(path.glob("*.csv"))
    if not files:
        raise UserError(f"{path}: no CSV file here")
    yield from (_run(file) for file in files)


def _run(file: Path) -> Foreign:
    with open(file, newline="", encoding="utf-8-sig") as lines:
        reader = csv.reader(lines)
        head = next(reader, [])
        column = next((i for name in STEPS for i, h in enumerate(head) if h.strip().lower() == name), None)
        if column is None:
            raise UserError(
                f"{file}: no column of steps; one of {', '.join(STEPS[:4])} is needed, got {', '.join(head)}"
            )
        curves: dict[str, dict[int, float]] = {}
        for number, row in enumerate(reader, start=2):
            if row:
                _take(curves, head, row, column, f"{file} line {number}")
    beside = file.with_suffix(".json")
    facts: dict[str, Any] = msgspec.json.decode(beside.read_bytes()) if beside.exists() else {}
    return Foreign(
        name=file.stem,
        source="csv",
        curves={name: sorted(points.items()) for name, points in curves.items()},
        state=str(facts.get("state", "done")),
        meta=facts.get("run", {}),
    )


def _take(curves: dict[str, dict[int, float]], head: list[str], row: list[str], column: int, where: str) -> None:
    try:
        step = float(row[column])
    except (ValueError, IndexError):
        step = math.nan
    if not math.isfinite(step) or step != int(step):
        raise UserError(f"{where}: the step {row[column] if column < len(row) else ''!r} is no whole number")
    for index, (name, text) in enumerate(zip(head, row, strict=False)):
        if index == column or not text.strip():
            continue
        try:
            curves.setdefault(name, {})[int(step)] = float(text)
        except ValueError:
            continue  # a column of words, such as dates
