"""The cells of a sweep, before tasks and seeds: which recipe, which settings, and what each of them is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from bellmark import yaml12
from bellmark.errors import UserError, unknown
from bellmark.sweeps.names import cell_name, value_text
from bellmark.sweeps.schema import Settings, Sweep, is_file, load_sweep

DEEPEST = 8  # sweep files that refer to one another: more is a circle


@dataclass(frozen=True)
class Variant:
    """One arm before tasks and seeds."""

    arm: str
    recipe: str
    settings: dict[str, Any]  # fixed and swept, by dotted key
    swept: dict[str, Any]  # the part in which the cells of the sweep differ from one another
    whole: bool = False  # a recipe of its own: all of its difference to the baseline is declared


@dataclass(frozen=True)
class Outline:
    """The variants of a sweep and which of them is the baseline."""

    variants: tuple[Variant, ...]  # those the file lists, without a baseline that is none of them
    baseline: Variant
    tasks: tuple[str | Settings, ...]  # the sweep's own, else those of the sweep it is based on


Prune = Callable[["Variant"], "Variant"]  # without the settings that cannot take effect in it


def outline(sweep: Sweep, prune: Prune, depth: int = 0) -> Outline:
    """Work out all variants of a sweep; cells of the grid that pruning makes equal are one.

    Raises:
        UserError: a baseline that fits no cell, two cells of one name, sweep files in a circle.
    """
    if depth > DEEPEST:
        raise UserError(
            f"sweep {sweep.name}: base and baseline lead through more than {DEEPEST} sweep files: a circle?"
        )
    recipe, inherited, tasks = _base(sweep, prune, depth)
    fixed = {**inherited, **sweep.set}
    swept = [prune(Variant("", recipe, {**fixed, **cell}, cell)) for cell in _grid_cells(sweep)]
    if (sweep.grid or sweep.zip) and not swept:
        raise UserError(f"sweep {sweep.name}: exclude leaves no cell of grid and zip")
    named = {arm: replace(v, arm=arm) for v in swept for arm in [cell_name(v.swept) or _stem(recipe)]}
    variants = [*named.values(), *(prune(v) for v in _list_cells(sweep, recipe, fixed))]
    names = [v.arm for v in variants]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"sweep {sweep.name}: two cells are called {name!r}; give them names of their own")
    baseline = _baseline(sweep, variants, prune(Variant(_stem(sweep.base), recipe, fixed, {})), prune, depth)
    return Outline(tuple(variants) or (baseline,), baseline, sweep.tasks or tasks)


def _base(sweep: Sweep, prune: Prune, depth: int) -> tuple[str, dict[str, Any], tuple[str | Settings, ...]]:
    """The recipe all cells start from; settings and tasks that the base adds when it is another sweep's baseline."""
    if is_file(sweep.base) and _is_sweep(sweep.base):
        start, tasks = _from_sweep(sweep.base, prune, depth)
        return start.recipe, start.settings, tasks
    return sweep.base, {}, ()


def _from_sweep(file: str, prune: Prune, depth: int) -> tuple[Variant, tuple[str | Settings, ...]]:
    """The baseline of another sweep file, with that sweep's length, and its tasks."""
    other = load_sweep(file)
    found = outline(other, prune, depth + 1)
    length = {} if other.steps is None else {"steps": other.steps}
    return replace(found.baseline, settings={**found.baseline.settings, **length}), found.tasks


def _grid_cells(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """The swept keys and values of each cell of grid x zip that is not excluded."""
    if not sweep.grid and not sweep.zip:
        return
    rows = [dict(zip(sweep.zip, row, strict=True)) for row in zip(*sweep.zip.values(), strict=True)] or [{}]
    for values in product(*sweep.grid.values()):
        for row in rows:
            cell = {**dict(zip(sweep.grid, values, strict=True)), **row}
            if not any(_matches(cell, entry) for entry in sweep.exclude):
                yield cell


def _matches(cell: Mapping[str, Any], entry: Settings) -> bool:
    return bool(entry) and all(key in cell and cell[key] == value for key, value in entry.items())


def _list_cells(sweep: Sweep, recipe: str, fixed: Mapping[str, Any]) -> Iterator[Variant]:
    for cell in sweep.list:
        arm = cell.name or ",".join(filter(None, (_stem(cell.recipe), cell_name(cell.set))))
        if cell.recipe:
            yield Variant(arm, cell.recipe, {**sweep.set, **cell.set}, cell.set, whole=True)
        else:
            yield Variant(arm, recipe, {**fixed, **cell.set}, cell.set)


def _baseline(sweep: Sweep, variants: list[Variant], base: Variant, prune: Prune, depth: int) -> Variant:
    wanted = sweep.baseline
    if wanted is None:
        return replace(base, arm=_free(base.arm, variants))
    if not isinstance(wanted, str):
        return _cell_with(sweep, variants, prune(replace(base, swept=wanted)).swept)  # in the family's own words
    for variant in variants:
        if variant.arm == wanted:
            return variant
    if not is_file(wanted) and ("=" in wanted or " " in wanted):
        raise UserError(f"sweep {sweep.name}: {unknown('baseline cell', wanted, [v.arm for v in variants])}")
    if is_file(wanted) and _is_sweep(wanted):
        other, _ = _from_sweep(wanted, prune, depth)
        return Variant(_free(other.arm, variants), other.recipe, other.settings, {}, other.whole)
    return Variant(_free(_stem(wanted), variants), wanted, {}, {})


def _cell_with(sweep: Sweep, variants: list[Variant], wanted: Settings) -> Variant:
    """The one cell whose swept keys have these values."""
    keys = {key for variant in variants for key in variant.swept}
    for key in wanted:
        if key not in keys:
            raise UserError(f"sweep {sweep.name}: baseline names a key that is not swept: {unknown('key', key, keys)}")
    found = [v for v in variants if _matches(v.swept, wanted)]
    if len(found) != 1:
        text = ", ".join(f"{key}={value_text(value)}" for key, value in wanted.items())
        which = f"fits {len(found)} cells: {', '.join(v.arm for v in found)}" if found else "fits no cell"
        raise UserError(f"sweep {sweep.name}: baseline {{{text}}} {which}")
    return found[0]


def _free(name: str, variants: list[Variant]) -> str:
    """A name for a baseline that is no cell, distinct from every cell's."""
    taken = {v.arm for v in variants}
    return next(n for n in (name, f"{name} (baseline)", "baseline", "the baseline") if n not in taken)


def _stem(reference: str) -> str:
    if not is_file(reference):
        return reference
    return reference.rsplit("/", 1)[-1].rsplit(".", 1)[0]


def _is_sweep(file: str) -> bool:
    """Whether a YAML file holds a sweep, not a recipe; a missing one is left to whoever reads recipes."""
    path = Path(file)
    if not path.is_file():
        return False
    try:
        content = yaml12.load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(content, dict) and ("base" in content or "question" in content)
