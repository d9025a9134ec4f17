"""Recipes and families: from a name or file and overrides to a resolved configuration, without importing PyTorch.

A recipe is a YAML file: `family`, `about`, `source`, `config` (a partial tree) and, to start from another recipe,
`extends` (a recipe's name, or a path relative to the file).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from bellmark import yaml12
from bellmark.config import Config, branches, build, carried, fingerprint, kind_of, model_fingerprint, parse_value
from bellmark.errors import UserError, nearest, unknown
from bellmark.shipped import recipes_dir
from bellmark.sweeps.overrides import as_text

FAMILIES = {  # name -> where its configuration class lives
    "finetune": "bellmark.agents.finetune.config:Finetune",
    "tdmpc": "bellmark.agents.tdmpc.config:Tdmpc",
    "dreamer": "bellmark.agents.dreamer.config:Dreamer",
}

KEYS = ("family", "about", "source", "extends", "config")
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Recipe:
    """A whole configuration as data; `tree` is partial, what it leaves out are the class's defaults."""

    name: str
    family: str
    about: str
    source: str
    tree: dict[str, Any]
    path: Path


@dataclass(frozen=True)
class Resolved:
    """A recipe with its overrides applied, validated and spelled out."""

    family: str
    recipe: str
    overrides: tuple[str, ...]
    config: Config
    tree: dict[str, Any]  # plain JSON, every knob present
    fingerprint: str  # equal exactly when two runs would be the same run
    model_fingerprint: str  # equal exactly when checkpoints cross


def config_class(family: str) -> type[Config]:
    """The configuration class of a family.

    Raises:
        UserError: no such family.
    """
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    module, _, name = FAMILIES[family].partition(":")
    cls: type[Config] = getattr(import_module(module), name)
    return cls


def recipe_names() -> list[str]:
    """The names of the recipes that come with Bellmark, sorted."""
    return sorted(path.stem for path in recipes_dir().glob("*.yaml"))


def list_recipes() -> list[Recipe]:
    """All recipes that come with Bellmark, by name."""
    return [load_recipe(name) for name in recipe_names()]


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe by its name, or from a file of one's own.

    Raises:
        UserError: no such recipe or file, or a file that is not a recipe.
    """
    return _load(_locate(str(name_or_path), Path()), ())


def resolve(recipe: Recipe | str | Path, overrides: Sequence[str] = ()) -> Resolved:
    """The configuration that a recipe and overrides (`update=awr update.beta=0.5`) stand for.

    Raises:
        UserError: a wrong recipe, key or value.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    cls = config_class(recipe.family)
    config = build(cls, recipe.tree, _in_our_words(cls, overrides))
    tree = config.tree()
    return Resolved(
        family=recipe.family,
        recipe=recipe.name,
        overrides=tuple(overrides),
        config=config,
        tree=tree,
        fingerprint=fingerprint(tree),
        model_fingerprint=model_fingerprint(config),
    )


def _in_our_words(cls: type[Config], overrides: Sequence[str]) -> list[str]:
    """Overrides with the names that people know replaced by a family's own; all others as they were.

    `task=walker-walk` is a task of some kind (`parse_task`); keys may be those of a family's users (`translate`).

    Raises:
        UserError: no such task, or one knob set to two values under two names.
    """
    ours, together = [], {}
    for override in overrides:
        key, sep, text = (piece.strip() for piece in override.partition("="))
        meant = {key: parse_value(text)} if sep else {}
        if "task" in meant:
            meant = _task(cls, meant["task"])
        together.update(meant)
        known = cls.translate(meant)
        if not sep or list(known) == [key]:
            ours.append(override)
        else:
            ours += [as_text(path, value) for path, value in known.items()]
    cls.translate(together)
    return ours


def _task(cls: type[Config], value: Any) -> dict[str, Any]:
    """The settings that choose a task: its kind, or the kind and what the name of a task says of it."""
    from bellmark.envs.suite import parse_task

    kinds = [str(kind_of(task)) for task in branches(cls.model_fields["task"])]
    if value in kinds or not isinstance(value, str):
        return {"task": value}
    try:
        task = parse_task(value)
    except UserError:
        if nearest(value, kinds, most=1):
            return {"task": value}
        raise
    return {"task": task.kind, **{f"task.{key}": task.model_dump()[key] for key in task.model_fields_set - {"kind"}}}


def _locate(text: str, folder: Path) -> Path:
    """The file that a name (shipped) or a path (relative to `folder`) stands for."""
    if "/" in text or text.endswith(SUFFIXES):
        path = folder / text
        if not path.is_file():
            raise UserError(f"recipe file {text!r} does not exist" + (f" beside {folder}" if folder.parts else ""))
        return path
    names = recipe_names()
    if text not in names:
        raise unknown("recipe", text, names)
    return recipes_dir() / f"{text}.yaml"


def _load(path: Path, below: tuple[Path, ...]) -> Recipe:
    if path.resolve() in below:
        raise UserError(f"recipe {path}: extends itself")
    content = _read(path)
    config = content.get("config") or {}
    if not isinstance(config, Mapping):
        raise UserError(f"recipe {path}: config must be a group of keys, got {config!r}")
    if "extends" not in content:
        return Recipe(path.stem, str(content["family"]), content["about"], content["source"], dict(config), path)
    parent = _load(_locate(str(content["extends"]), path.parent), (*below, path.resolve()))
    if content["family"] and content["family"] != parent.family:
        raise UserError(
            f"recipe {path}: family={content['family']} but extends {parent.name} of family {parent.family}"
        )
    return Recipe(
        name=path.stem,
        family=parent.family,
        about=content["about"] or parent.about,
        source=content["source"] or parent.source,
        tree=overlay(config_class(parent.family), parent.tree, config),
        path=path,
    )


def _read(path: Path) -> dict[str, Any]:
    """The file's content with family, about and source present as text; checked for unknown keys and for a family."""
    try:
        content = yaml12.load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"recipe {path}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"recipe {path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"recipe {path} must hold keys: {', '.join(KEYS)}")
    for key in content:
        if key not in KEYS:
            raise UserError(f"recipe {path}: {unknown('key', str(key), KEYS)}")
    for key in ("family", "about", "source"):
        content[key] = str(content.get(key) or "").strip()
    if not content["family"] and "extends" not in content:
        raise UserError(f"recipe {path} names no family; families: {', '.join(FAMILIES)}")
    if content["family"] and content["family"] not in FAMILIES:
        raise UserError(f"recipe {path}: {unknown('family', content['family'], FAMILIES)}")
    return content


def overlay(cls: type[Config], base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` laid over `base`, partial trees of `cls`: groups merge; another option keeps the knobs that it has too."""
    merged = dict(base)
    for key, value in top.items():
        field = cls.model_fields.get(key)
        below = branches(field) if field else []
        new = {"kind": value} if isinstance(value, str) else value
        if field is None or not below or not isinstance(new, Mapping):
            merged[key] = value
            continue
        old = merged.get(key, {})
        old = {"kind": old} if isinstance(old, str) else dict(old)
        default = kind_of(type(field.default)) if isinstance(field.default, Config) else None
        former = old.get("kind", default)
        chosen = new.get("kind", former)
        before, branch = (next((t for t in below if kind_of(t) == k), below[0]) for k in (former, chosen))
        kind = {"kind": chosen} if chosen is not None else {}
        merged[key] = {**overlay(branch, carried(before, branch, old), new), **kind}
    return merged
