"""The lines of metrics.jsonl: how a row becomes bytes, and how bytes become curves.

A row is `{"step": 200, "attempt": 1, "time": 1764000000.5, "loss/policy": 0.12, ...}`. JSON has no word for values
that are not finite, so these are the strings "NaN", "Infinity" and "-Infinity". An attempt that continues a former one
may open with a mark `{"step": 100, "attempt": 2, "time": ..., "resumed_from": 100}`, which holds no metric.

Nothing is ever removed from the file. A row counts unless a later attempt went over its step again: attempt b
supersedes every earlier row whose step is at or past b's first row, or past the step b resumed from.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, compress
from numbers import Real
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

# All that an evaluation may record, of the vocabulary in docs/metrics.md.
JUDGED = (
    *("eval/return", "eval/return_std", "eval/return_sampled", "eval/success", "eval/success_sampled"),
    *("eval/discounted", "eval/discounted_std", "eval/length", "eval/episodes", "eval/steps"),
)
RESERVED = ("step", "attempt", "time", "resumed_from")
Value: TypeAlias = float | Literal["NaN", "Infinity", "-Infinity"] | None

_ENCODER = msgspec.json.Encoder()
_PLAIN = frozenset({float, int})
_OWN_KEYS = 3
_FORBIDDEN = frozenset({'"', "\\", *map(chr, range(32))})  # in metric names: what JSON would have to escape
_TAIL = 65536  # bytes at the end of the file in which the latest attempt is looked for


class _Attempt(msgspec.Struct):
    attempt: int


_ATTEMPT = msgspec.json.Decoder(_Attempt)
_KEYS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Curve(NamedTuple):
    """One metric over real environment steps: `step` strictly increasing, superseded rows left out; both (n,)."""

    step: NDArray[np.int64]
    value: NDArray[np.float64]


def encode_row(step: int, attempt: int, metrics: Mapping[str, float]) -> bytes:
    """One line with its newline.

    Raises:
        TypeError: a value is not a real number (a torch tensor, an array, text).
        ValueError: a metric has a reserved name, or one with quotes, backslashes or control characters.
    """
    row: dict[str, Any] = {"step": step, "attempt": attempt, "time": time.time(), **metrics}
    # The two guards cost about 1 us for 20 metrics; looking at each value in Python would double the cost of a row.
    if len(row) != _OWN_KEYS + len(metrics) or "resumed_from" in metrics:
        raise ValueError(f"metric names {', '.join(RESERVED)} are reserved, got {', '.join(metrics)}")
    if type(step) is int and _PLAIN.issuperset(map(type, metrics.values())):
        line = _ENCODER.encode_lines((row,))
        if b"null" not in line and b"\\" not in line:
            return line
    row["step"] = int(step)
    for name, value in metrics.items():
        if _FORBIDDEN & set(name):
            raise ValueError(f"metric name {name!r} holds a quote, a backslash or a control character")
        row[name] = _number(name, value)
    return _ENCODER.encode_lines((row,))


def encode_resume(step: int, attempt: int) -> bytes:
    """The mark with which an attempt says where it took up the work of a former one."""
    row = {"step": step, "attempt": attempt, "time": time.time(), "resumed_from": step}
    return _ENCODER.encode_lines((row,))


def _number(name: str, value: object) -> Value:
    if isinstance(value, np.bool_):
        value = bool(value)
    if not isinstance(value, Real):
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise TypeError(
            f"metric {name!r} must be a float, got {kind}; pass float(x), or x.item() for a tensor or array"
        )
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


@dataclass(frozen=True)
class Table:
    """All metric rows of a run that count, superseded ones left out.

    Attributes:
        columns: metric name -> its curve; only names that occur.
        rows: rows read, superseded ones included, marks not.
        attempts: attempts that left a row or a mark.
        damaged: numbers (from 1) of lines that could not be read.
        torn_tail: the file ends inside a row: what a crash of the machine leaves, or a row being written just now.
    """

    columns: dict[str, Curve]
    rows: int
    attempts: int
    damaged: list[int]
    torn_tail: bool


def decode(data: bytes, names: Sequence[str] | None = None) -> Table:
    """The rows of a metrics.jsonl; with `names`, only these metrics are read (several times faster than all)."""
    asked = dict.fromkeys(_names(data) if names is None else names)
    wanted = tuple(n for n in asked if n not in RESERVED and not _FORBIDDEN & set(n))
    rows, damaged, torn_tail = _lines(data, _decoder(wanted))
    if not rows:
        return Table({}, 0, 0, damaged, torn_tail)
    step, attempt, resumed, *values = zip(*map(msgspec.structs.astuple, rows), strict=True)
    marks = np.array([mark is not None for mark in resumed], dtype=bool)
    steps = np.array(step, dtype=np.int64)
    attempts = np.array(attempt, dtype=np.int64)
    keep = counts(steps, attempts, marks)
    columns = {name: _column(column, steps, keep) for name, column in zip(wanted, values, strict=True)}
    present = {name: curve for name, curve in columns.items() if len(curve.step)}
    return Table(present, int((~marks).sum()), len(np.unique(attempts)), damaged, torn_tail)


def counts(step: NDArray[np.int64], attempt: NDArray[np.int64], marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) which rows count: not marks, and not gone over again by a later attempt."""
    keep = ~marks
    limit = np.iinfo(np.int64).max
    for number in np.unique(attempt)[::-1]:
        here = attempt == number
        keep &= ~(here & (step >= limit))
        starts = [int(step[here & ~marks].min(initial=limit)), *(int(s) + 1 for s in step[here & marks])]
        limit = min(limit, *starts)
    return keep


def _names(data: bytes) -> dict[str, None]:
    """Every key that occurs; finding the names first and decoding them typed beats dicts of values several times."""
    rows, _, _ = _lines(data, _KEYS)
    return dict.fromkeys(chain.from_iterable(rows))


def _column(values: Sequence[Any], step: NDArray[np.int64], keep: NDArray[np.bool_]) -> Curve:
    if set(map(type, values)) == {float}:  # the usual column, taken whole: ten times faster than value by value
        at, numbers = step[keep], np.array(values, dtype=np.float64)[keep]
    else:
        present = keep & np.fromiter((v is not msgspec.UNSET for v in values), dtype=bool, count=len(values))
        at = step[present]
        numbers = np.array([math.nan if v is None else float(v) for v in compress(values, present)], dtype=np.float64)
    if not (at[1:] > at[:-1]).all():
        order = np.argsort(at, kind="stable")
        # a metric logged twice at one step within an attempt: the later word stands
        order = order[np.append(at[order][1:] != at[order][:-1], True)]
        at, numbers = at[order], numbers[order]
    return Curve(at, numbers)


@lru_cache(maxsize=256)
def _decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """A decoder that skips every key but the asked ones."""
    fields: list[Any] = [("step", int), ("attempt", int), ("resumed_from", int | None, None)]
    fields += [(f"m{i}", Value | msgspec.UnsetType, msgspec.UNSET) for i in range(len(names))]
    row = msgspec.defstruct("Row", fields, rename={f"m{i}": name for i, name in enumerate(names)}, gc=False)
    return msgspec.json.Decoder(row)


def _lines(data: bytes, decoder: msgspec.json.Decoder[Any]) -> tuple[list[Any], list[int], bool]:
    """(rows, numbers of damaged lines, torn tail): in one go when all is well, line by line when it is not."""
    try:
        return decoder.decode_lines(data), [], False
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    rows, damaged = [], []
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                rows.append(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            damaged.append(number)
    torn_tail = bool(damaged) and damaged[-1] == len(lines)
    return rows, damaged[:-1] if torn_tail else damaged, torn_tail


def last_attempt(file: Path) -> int:
    """The number of the latest attempt that wrote to a metrics.jsonl (0: none); reads the end of the file only."""
    try:
        with open(file, "rb") as lines:
            size = lines.seek(0, os.SEEK_END)
            lines.seek(max(0, size - _TAIL))
            tail = lines.read()
    except FileNotFoundError:
        return 0
    for line in reversed(tail.split(b"\n")):
        try:
            return int(_ATTEMPT.decode(line).attempt)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return 0
