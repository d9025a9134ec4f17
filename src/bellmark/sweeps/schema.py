"""A sweep file: one question, what is expected, and the cells, tasks and seeds that answer it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, JsonValue, field_validator, model_validator

from bellmark import yaml12
from bellmark.config import Config, build, knob, part
from bellmark.errors import UserError, nearest

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
SUFFIXES = (".yaml", ".yml")
OWN_KEYS = {"seed": "seeds", "task": "tasks"}  # knobs that a sweep file sets through keys of its own
SWEPT_TASKS = {"task.task", "task.name"}  # the same under grid and zip
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
CLOCK = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}

Settings = dict[str, JsonValue]


class Expect(Config):
    """What the sweep is expected to show, declared before launch: the verdict is computed against it."""

    metric: str = knob(..., "primary metric, such as eval/success")
    summary: Literal["last_mean", "final", "peak"] = knob(
        "last_mean", "one number per run: mean of the last evaluations, the last one, or the highest at equal counts"
    )
    last: int = knob(3, "how many evaluations last_mean averages", ge=1)
    direction: Literal["increase", "decrease"] = knob("increase", "which way the cells should move the metric")
    minimum_effect: float = knob(
        0.0, "smallest difference worth having", unit="the metric's, divided by the task's scale", ge=0
    )
    alpha: float = knob(0.05, "error rate of the verdict over all arms and looks", gt=0, lt=0.5)
    looks: tuple[int, ...] = Field(
        default=(),
        description="seed counts at which the sweep is judged, such as [3, 5, 10]; default: once, at the end",
    )
    scales: dict[str, float] = Field(
        default_factory=dict, description="task -> number that its differences are divided by, to make tasks comparable"
    )

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if any(n < 2 for n in self.looks) or sorted(set(self.looks)) != list(self.looks):
            raise ValueError(f"expect.looks={list(self.looks)}: must be growing seed counts from 2, such as [3, 5]")
        for task, scale in self.scales.items():
            if scale <= 0:
                raise ValueError(f"expect.scales.{task}={scale:g}: must be above 0")
        return self


class Resources(Config):
    """What one run needs."""

    cpus: int = knob(1, "threads of a run", ge=1)
    gpus: float = knob(0.0, "GPUs of a run; 0.25 packs four runs on one GPU, 0 hides GPUs from the run", ge=0)
    memory: str = knob("", "memory of a run, such as 4GB; fewer run at once where it would not suffice")
    walltime: str = knob("", "longest time of one job, such as 2h or 1h30m; for clusters, not used on one machine")

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"resources.gpus={self.gpus:g}: above 1 a whole number is needed")
        _ = self.memory_bytes, self.walltime_seconds
        return self

    @property
    def memory_bytes(self) -> int:
        """Memory of a run in bytes; 0 when not declared."""
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", self.memory.lower())
        if not self.memory:
            return 0
        if found is None or found[2] == "i":
            raise ValueError(f"resources.memory={self.memory!r}: write a number and a unit, such as 4GB or 500MB")
        return int(float(found[1]) * UNITS[found[2]])

    @property
    def walltime_seconds(self) -> int:
        """Longest time of one job in seconds; 0 when not declared."""
        parts = re.findall(r"(\d+)\s*([dhms])", self.walltime.lower())
        if "".join(f"{n}{unit}" for n, unit in parts) != re.sub(r"\s", "", self.walltime.lower()):
            raise ValueError(f"resources.walltime={self.walltime!r}: write it as 2h, 90m or 1h30m")
        return sum(int(n) * CLOCK[unit] for n, unit in parts)


class ListCell(Config):
    """One cell written out: overrides on the base, or on another recipe."""

    name: str = knob("", "what the report calls it; default: from its recipe or its overrides")
    recipe: str = knob("", "another recipe (name or file) instead of the base; its whole difference counts as declared")
    set: Settings = Field(default_factory=dict, description="overrides of this cell, after the sweep's own `set`")

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.recipe and not self.set:
            raise ValueError("a cell under list needs a recipe or overrides under set")
        _no_own_keys("list", self.set)
        return self


class Sweep(Config):
    """One question and the runs that answer it."""

    name: str = knob("", "folder of the runs and title of the report; default: the file's name")
    question: str = knob(..., "what is to be found out, in a sentence")
    hypothesis: str = knob("", "what is believed before the runs, and why")
    expect: Expect = Field(..., description="the declared expectation")
    base: str = knob(..., "recipe (name or file), or another sweep's file for its baseline")
    set: Settings = Field(default_factory=dict, description="overrides of every cell, by dotted key")
    grid: dict[str, tuple[JsonValue, ...]] = Field(
        default_factory=dict, description="dotted key -> values; the cells are their product"
    )
    zip: dict[str, tuple[JsonValue, ...]] = Field(
        default_factory=dict, description="dotted key -> values taken together, one cell per position; times the grid"
    )
    list: tuple[ListCell, ...] = Field(default=(), description="cells written out, besides those of grid and zip")
    exclude: tuple[Settings, ...] = Field(
        default=(), description="cells of grid and zip to leave out: each entry names some swept keys and their values"
    )
    tasks: tuple[str | Settings, ...] = Field(
        default=(), description="names of tasks, or their knobs as a group; default: the recipe's own task"
    )
    seeds: tuple[int, ...] = Field(
        default=(1, 2, 3), description="a list such as [1, 2, 3], a range such as 1-10, or a count such as 3"
    )
    steps: int | None = knob(None, "length of every run; default: the recipe's", unit="real environment steps", ge=1)
    baseline: str | Settings | None = Field(
        default=None,
        description="what the cells are compared with: a cell (its name, or its swept keys and values), a recipe, or "
        "another sweep's file; default: the base with `set` and nothing swept",
    )
    resources: Resources = part(Resources(), "what one run needs")
    notes: str = knob("", "anything else; kept in the report")

    @field_validator("list", mode="before")
    @classmethod
    def _cells(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not all(isinstance(item, dict) for item in value):
            raise ValueError("list must hold cells such as {name: big, set: {policy.hidden: 512}}")
        return tuple(build(ListCell, item) for item in value)

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds(cls, value: Any) -> Any:
        return parse_seeds(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not re.fullmatch(NAME, self.name or "x"):
            raise ValueError(f"name={self.name!r}: letters, digits, '.', '_' and '-' only, it becomes a folder")
        for where in ("set", "grid", "zip"):
            _no_own_keys(where, getattr(self, where))
            if self.steps is not None and "steps" in getattr(self, where):
                raise ValueError(f"steps={self.steps} and {where}.steps both say how long the runs are; keep one")
        for where, axis in (("grid", self.grid), ("zip", self.zip)):
            for key, values in axis.items():
                if not values:
                    raise ValueError(f"{where}.{key} has no values")
        lengths = {key: len(values) for key, values in self.zip.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"zip needs equally many values per key, got {lengths}")
        for key in self.grid.keys() & self.zip.keys():
            raise ValueError(f"key {key!r} stands under grid and under zip; keep one")
        for key in self.set.keys() & (self.grid.keys() | self.zip.keys()):
            raise ValueError(f"key {key!r} is fixed under set and swept as well; keep one")
        swept = {**self.grid, **self.zip}
        for entry in self.exclude:
            for key, value in entry.items():
                if key not in swept:
                    close = nearest(key, swept, most=1)
                    hint = f"; did you mean {close[0]}?" if close else ""
                    raise ValueError(f"exclude names {key!r}, which is not swept{hint}")
                if value not in swept[key]:
                    raise ValueError(f"exclude: {key}={value} fits no cell; its values: {list(swept[key])}")
        for task in self.tasks:
            if self.tasks.count(task) > 1:
                raise ValueError(f"tasks: {task} stands there twice")
        return self


def _no_own_keys(where: str, settings: dict[str, Any]) -> None:
    for key in settings.keys() & OWN_KEYS.keys():
        raise ValueError(f"{where}.{key}: {key}s are listed under the sweep's own key {OWN_KEYS[key]!r}")
    for key in settings.keys() & SWEPT_TASKS if where != "set" else ():
        raise ValueError(f"{where}.{key}: tasks are listed under the sweep's own key 'tasks'")


def parse_seeds(value: Any) -> tuple[int, ...]:
    """Seeds from a list, a count (`3` is 1, 2, 3), or text (`1-5`, `1,2,7`).

    Raises:
        ValueError: not seeds, none at all, or one of them twice.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        seeds = list(range(1, value + 1))
    elif isinstance(value, str):
        seeds = []
        for piece in value.split(","):
            found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", piece)
            if found is None:
                raise ValueError(f"seeds={value!r}: write them as 1,2,3 or 1-3")
            seeds += range(int(found[1]), int(found[2] or found[1]) + 1)
    elif isinstance(value, list | tuple) and all(type(seed) is int and seed >= 0 for seed in value):
        seeds = list(value)
    else:
        raise ValueError(f"seeds={value!r}: must be whole numbers from 0, such as [1, 2, 3] or 1-3")
    if not seeds:
        raise ValueError(f"seeds={value!r} names no seed")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds={value!r} names a seed twice")
    return tuple(seeds)


def load_sweep(path: str | Path) -> Sweep:
    """The sweep in a YAML file; recipe and sweep files it names are taken relative to it.

    Raises:
        UserError: no such file, not YAML, an unknown or missing key, or a bad value.
    """
    path = Path(path)
    content = _read(path)
    for group, where in ((Sweep, content), (Expect, content.get("expect"))):
        missing = [k for k, f in group.model_fields.items() if f.is_required() and k not in (where or {})]
        if missing and isinstance(where, dict):
            unknown_keys = [k for k in where if k not in group.model_fields]
            close = [k for k in unknown_keys if nearest(str(k), missing, most=1)]
            instead = f" (is {close[0]!r} meant for it?)" if close else ""
            prefix = "expect." if group is Expect else ""
            about = group.model_fields[missing[0]].description
            raise UserError(f"sweep {path}: key {prefix}{missing[0]} is missing{instead}; it says: {about}")
    try:
        sweep = build(Sweep, content)
    except UserError as error:
        raise UserError(f"sweep {path}: {error}") from None
    moved = {
        "name": sweep.name or path.stem,
        "base": _beside(path, sweep.base),
        "list": tuple(c.model_copy(update={"recipe": _beside(path, c.recipe)}) for c in sweep.list),
    }
    if isinstance(sweep.baseline, str):
        moved["baseline"] = _beside(path, sweep.baseline)
    if not re.fullmatch(NAME, str(moved["name"])):
        raise UserError(f"sweep {path}: the file's name cannot be a folder's name; give the sweep a name of its own")
    return sweep.model_copy(update=moved)


def is_file(text: str) -> bool:
    """Whether a reference names a file, not something by its name."""
    return "/" in text or text.endswith(SUFFIXES)


def _beside(path: Path, text: str) -> str:
    return f"{path.parent}/{text}" if is_file(text) and not Path(text).is_absolute() else text


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        known = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        close = nearest(str(path), known, most=1)
        raise UserError(f"sweep file {str(path)!r} does not exist" + (f"; did you mean {close[0]}?" if close else ""))
    try:
        content = yaml12.load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"sweep {path}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"sweep {path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"sweep {path} must hold keys: {', '.join(Sweep.model_fields)}")
    return content
