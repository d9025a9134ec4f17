"""What logging costs: 20 scalars a step, ours against the standard library's json and a SQLite commit, in one run.

    python benchmarks/logging_cost.py            # prints the table, writes benchmarks/results/logging_cost.json

Each writer logs the same rows to a file of its own on the same disk; the writers take turns in short blocks, so that a
neighbour's load falls on all of them alike. The goal is a median of 10 us or less for ours; 3 to 5 us are the floor
that a system call and the formatting of 20 floats leave. The goal is reported, not asserted: a busy machine is no bug.

`bellmark, followed` logs to a record that a process of its own hands on to TensorBoard meanwhile, as `--track` does;
`tensorboard` is that library's own writer called on the training thread, which is what following spares.
"""

from __future__ import annotations

import gc
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import provenance
from numpy.typing import NDArray

from bellmark.records import RunMeta, RunWriter, create_run
from bellmark.trackers.live import following

GOAL_US = 10.0
SCALARS = 20
BLOCK = 50  # rows that one writer logs before the next has its turn

Log = Callable[[int, dict[str, float]], None]


def rows(count: int) -> list[dict[str, float]]:
    """Rows of 20 metrics with values of full precision, made beforehand."""
    values = np.random.default_rng(0).standard_normal((count, SCALARS))
    return [{f"loss/part_{i}": float(v) for i, v in enumerate(row)} for row in values]


@contextmanager
def stdlib_json(folder: Path) -> Iterator[Log]:
    """The usual way: `json.dumps`, a text file, a flush per row."""
    with open(folder / "stdlib.jsonl", "w", encoding="utf-8") as file:

        def log(step: int, metrics: dict[str, float]) -> None:
            file.write(json.dumps({"step": step, "time": time.time(), **metrics}) + "\n")
            file.flush()

        yield log


@contextmanager
def sqlite_commit(folder: Path) -> Iterator[Log]:
    """One row per metric, one commit per step, write-ahead log: the usual set-up of a tracker on SQLite."""
    db = sqlite3.connect(folder / "metrics.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE metrics (step INTEGER, name TEXT, value REAL)")

    def log(step: int, metrics: dict[str, float]) -> None:
        db.execute("BEGIN")
        db.executemany("INSERT INTO metrics VALUES (?, ?, ?)", [(step, k, v) for k, v in metrics.items()])
        db.execute("COMMIT")

    yield log
    db.close()


@contextmanager
def tensorboard_writer(folder: Path) -> Iterator[Log]:
    """The usual way to TensorBoard: its queue and thread in the training process, one scalar a call."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder / "tensorboard"))

    def log(step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    yield log
    writer.close()


@contextmanager
def record(folder: Path, count: int, track: tuple[str, ...] = ()) -> Iterator[Log]:
    """Ours, alone or followed by trackers."""
    meta = RunMeta(
        name="bench",
        family="none",
        recipe="none",
        overrides=[],
        config={},
        fingerprint="0",
        model_fingerprint="0",
        task="none",
        seed=0,
        steps=count,
    )
    run = create_run(folder, meta)
    with following(run, track), RunWriter(run) as writer:
        yield writer.log
        writer.finish("done")


def measure(writers: dict[str, Log], count: int) -> dict[str, NDArray[np.float64]]:
    """Microseconds of every call of every writer; (count,) each."""
    metrics = rows(count)
    spent = {name: np.zeros(count) for name in writers}
    gc.disable()
    for start in range(0, count, BLOCK):
        for name, log in writers.items():
            for step in range(start, min(start + BLOCK, count)):
                began = time.perf_counter_ns()
                log(step, metrics[step])
                spent[name][step] = (time.perf_counter_ns() - began) / 1000
    gc.enable()
    return spent


def report(spent: dict[str, NDArray[np.float64]]) -> dict[str, object]:
    """Print the table; return what the result file holds."""
    print(f"{SCALARS} scalars per row, {len(next(iter(spent.values()))):,} rows, microseconds per row")
    print(f"{'writer':<20}{'p50':>8}{'p99':>9}{'mean':>9}")
    for name, us in spent.items():
        print(f"{name:<20}{np.percentile(us, 50):>8.1f}{np.percentile(us, 99):>9.1f}{us.mean():>9.1f}")
    ours = float(np.percentile(spent["bellmark"], 50))
    print(f"goal p50 <= {GOAL_US:.0f} us: {'met' if ours <= GOAL_US else 'MISSED'}")
    return {
        "scalars": SCALARS,
        "rows": len(spent["bellmark"]),
        "goal_p50_us": GOAL_US,
        "microseconds": {
            name: {"p50": round(float(np.percentile(us, 50)), 2), "p99": round(float(np.percentile(us, 99)), 2)}
            for name, us in spent.items()
        },
    }


@click.command()
@click.option("--rows", "count", default=20_000, show_default=True, help="Rows per writer.")
@click.option("--save/--no-save", default=True, show_default=True, help="Write the result file.")
def main(count: int, save: bool) -> None:
    """Measure what a row of 20 scalars costs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            record(folder / "run", count) as ours,
            record(folder / "followed", count, ("tensorboard",) * bool(find_spec("tensorboard"))) as followed,
            stdlib_json(folder) as plain,
            sqlite_commit(folder) as database,
            tensorboard_writer(folder) if find_spec("tensorboard") else nullcontext() as board,
        ):
            writers: dict[str, Log] = {"bellmark": ours, "stdlib json": plain, "sqlite commit": database}
            if board is not None:
                writers |= {"bellmark, followed": followed, "tensorboard": board}
            spent = measure(writers, count)
    result = report(spent)
    if save:
        print(f"wrote {provenance.save('logging_cost', result)}")


if __name__ == "__main__":
    main()
