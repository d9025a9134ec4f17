"""Arguments that the shell can complete: recipe names, and overrides by the knobs of the recipe before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from bellmark.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])


class RecipeName(click.ParamType[str]):
    """A recipe's name, or the path of a recipe file."""

    name = "recipe"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Shipped names; once a slash or dot is typed, files."""
        from bellmark.cli.families import recipe_names

        if "/" in incomplete or incomplete.startswith("."):
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(name) for name in recipe_names() if name.startswith(incomplete)]


class Override(click.ParamType[str]):
    """One `key=value`."""

    name = "override"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Keys of the recipe's family, then the values that an option or a list of names may take."""
        try:
            found = dict(_overrides(ctx.params.get("recipe"), incomplete))  # options may share a name
            return [CompletionItem(text, help=about) for text, about in found.items()]
        except UserError:
            return []


def _overrides(recipe: str | None, incomplete: str) -> Iterator[tuple[str, str]]:
    from bellmark.cli.families import config_class, load_recipe
    from bellmark.config import knobs
    from bellmark.envs.suite import SUITES

    if recipe is None:
        return
    key, equals, value = incomplete.partition("=")
    for knob in knobs(config_class(load_recipe(recipe).family)):
        if not equals and knob.path.startswith(key):
            yield f"{knob.path}=", knob.about
        elif equals and knob.path == key:
            names = [*knob.options] or [n for n in knob.type.split(" | ") if " | " in knob.type]
            if key == "task":
                suites = [SUITES[kind][1] for kind in knob.options if kind in SUITES]
                names += [name.removeprefix("dmc/") for suite in suites for name in suite if name not in names]
            yield from ((f"{key}={name}", knob.about) for name in names if name.startswith(value))


def recipe_argument(function: F) -> F:
    """The argument `RECIPE`, handed to the command as `recipe`."""
    return click.argument("recipe", type=RecipeName())(function)


def overrides_argument(function: F) -> F:
    """The arguments `[KEY=VALUE]...`, handed to the command as `overrides`, a tuple of strings."""
    return click.argument("overrides", type=Override(), nargs=-1, metavar="[KEY=VALUE]...")(function)
