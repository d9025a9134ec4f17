"""How runs look on a terminal: the tables of `bellmark runs`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from bellmark.cli.screen import console
from bellmark.records import Latest, Row, Run
from bellmark.reports.code import codes_of

# A listing shows one metric per run: the first of these that the run has.
HEADLINES = ("eval/success", "eval/return", "train/success", "train/return")
COLUMNS = ("name", "sweep", "arm", "task", "seed", "state", "step", "attempt", "headline", "age")
RIGHT = ("seed", "step", "attempt", "age")
COLOURS = {"done": "green", "running": "cyan", "failed": "red", "lost": "red", "preempted": "yellow"}


def print_rows(rows: Sequence[Row], ages: Sequence[float | None]) -> None:
    """One line per run; `ages` are the seconds since each gave its last sign."""
    screen, swept = console(), any(row.meta.sweep for row in rows)  # single runs have neither sweep nor arm
    room = screen.width - 40 * swept
    left_out = {*(() if swept else ("sweep", "arm")), *("attempt",) * (room < 98), *("task", "age") * (room < 88)}
    columns = [title for title in COLUMNS if title not in left_out]
    table = Table(box=None, pad_edge=False)
    for title in columns:  # a name is folded before anything else is cut
        table.add_column(title, justify="right" if title in RIGHT else "left", no_wrap=title != "name", overflow="fold")
    for row, age in zip(rows, ages, strict=True):
        meta, status = row.meta, row.status
        cells: dict[str, str | Text] = {
            "name": meta.name,
            "sweep": meta.sweep or "-",
            "arm": meta.arm or "-",
            "task": meta.task,
            "seed": str(meta.seed),
            "state": Text(status.state, style=COLOURS.get(status.state, "")),
            "step": f"{status.step:,}/{status.total:,}",
            "attempt": str(status.attempt),
            "headline": _headline(row.latest),
            "age": _age(age),
        }
        table.add_row(*(cells[title] for title in columns))
    screen.print(table)


def print_run(run: Run) -> None:
    """One run: what it is, how it stands, the last value of each metric, its checkpoints."""
    screen = console()
    facts = Table(box=None, show_header=False, pad_edge=False)
    for key, value in _facts(run).items():
        facts.add_row(key, value)
    screen.print(facts)
    curves = run.curves()
    if curves:
        metrics = _numbers("metric", "step", "last", "points")
        for name, curve in sorted(curves.items()):
            metrics.add_row(name, f"{curve.step[-1]:,}", _number(float(curve.value[-1])), str(len(curve.step)))
        screen.print("", metrics)
    checkpoints = run.checkpoints()
    if checkpoints:
        files = _numbers("checkpoint", "step", "metric", "MB")
        for checkpoint in checkpoints:
            metric = "-" if checkpoint.metric is None else _number(checkpoint.metric)
            files.add_row(checkpoint.path.name, f"{checkpoint.step:,}", metric, f"{checkpoint.facts.bytes / 1e6:.2f}")
        screen.print("", files)


def print_differences(left: str, right: str, groups: Mapping[str, Mapping[str, tuple[Any, Any]]]) -> None:
    """The groups that hold a difference, each as key, value on the left, value on the right."""
    screen = console()
    for title, differences in groups.items():
        if differences:
            table = Table(title, left, right, box=None, pad_edge=False)
            for key, (a, b) in differences.items():
                table.add_row(key, _text(a), _text(b))
            screen.print(table)


def _facts(run: Run) -> dict[str, str]:
    meta, status = run.meta, run.status
    return {
        "run": meta.name,
        "path": str(run.path),
        "state": f"{status.state}{f' ({status.reason})' if status.reason else ''}",
        "progress": f"step {status.step:,} of {status.total:,}, attempt {status.attempt}",
        "recipe": " ".join([meta.recipe, *meta.overrides]),
        "task": f"{meta.task}, seed {meta.seed}",
        "sweep": f"{meta.sweep}, arm {meta.arm or '-'}" if meta.sweep else "-",
        "start": meta.parent_checkpoint or "from scratch",
        "goes on from": meta.continues or "-",
        "code": " then ".join(codes_of(run)),
        "fingerprint": f"{meta.fingerprint} (model family {meta.model_fingerprint})",
        "created": f"{meta.created or 'unknown'} on {meta.host or 'an unknown host'} ({meta.device})",
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(meta.versions.items())),
    }


def _numbers(title: str, *columns: str) -> Table:
    table = Table(title, box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _headline(latest: Mapping[str, Latest]) -> str:
    return next((f"{name} {_number(latest[name].value)}" for name in HEADLINES if name in latest), "-")


def _text(value: object) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
