"""`bellmark knobs`: every knob of a recipe, with what it is set to and what it means."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from bellmark.cli.complete import overrides_argument, recipe_argument

if TYPE_CHECKING:
    from rich.table import Table

    from bellmark.cli.families import Resolved
    from bellmark.config import Knob


@dataclass(frozen=True)
class Setting:
    """A knob of a configuration class and its value in one configuration."""

    knob: Knob
    value: Any

    @property
    def changed(self) -> bool:
        """Whether the recipe or an override departs from the default."""
        return bool(self.value != self.knob.default)

    def matches(self, text: str) -> bool:
        """Whether the path, meaning or source contains the text, whatever its case."""
        knob = self.knob
        return text.lower() in f"{knob.path} {knob.about} {knob.source}".lower()


def settings(resolved: Resolved) -> Iterator[Setting]:
    """The knobs that count in a configuration: those of an option that is not chosen are left out."""
    from bellmark.config import flatten
    from bellmark.config import knobs as knobs_of

    flat = flatten(resolved.tree)
    for knob in knobs_of(type(resolved.config)):
        option, _, kind = knob.choice.partition("=")
        if knob.path in flat and (not knob.choice or flat.get(option) == kind):
            yield Setting(knob, flat[knob.path])


@click.command()
@recipe_argument
@overrides_argument
@click.option("--filter", "text", default="", metavar="TEXT", help="Only knobs whose path, meaning or source has TEXT.")
@click.option("--changed", is_flag=True, help="Only knobs that differ from their default.")
@click.option("--json", "as_json", is_flag=True, help="A list of objects instead of a table.")
def knobs(recipe: str, overrides: tuple[str, ...], text: str, changed: bool, as_json: bool) -> None:
    """Show every knob of a recipe with its value and meaning.

    Knobs of an option appear once that option is chosen, in the recipe or by an override.

    \b
    Examples:
      bellmark knobs ppo
      bellmark knobs ppo --filter clip
      bellmark knobs ppo update=awr --changed
      bellmark knobs ppo --json
    """
    from bellmark.cli.families import resolve

    resolved = resolve(recipe, overrides)
    shown = [s for s in settings(resolved) if s.matches(text) and (s.changed or not changed)]
    if as_json:
        rows = [{**asdict(s.knob), "value": s.value, "changed": s.changed} for s in shown]
        click.echo(json.dumps(rows, indent=2))
        return
    from bellmark.cli.screen import console

    screen = console()
    screen.print(f"{resolved.recipe} (family {resolved.family}), run fingerprint {resolved.fingerprint}\n")
    if shown:
        screen.print(_table(shown))
    else:
        screen.print("no knob differs from its default" if changed and not text else "no knob matches")


def _table(shown: Iterable[Setting]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("knob", "value", "default", "type", "meaning", box=None, pad_edge=False)
    headed: tuple[str, ...] = ()
    for setting in shown:
        knob = setting.knob
        *groups, name = knob.path.split(".")
        for depth, group in enumerate(groups):
            if headed[: depth + 1] != tuple(groups[: depth + 1]):
                table.add_row("  " * depth + group)
        headed = (*groups, name) if knob.options else tuple(groups)
        style = "bold" if setting.changed else ""
        about = Text(knob.about)
        notes = [n for n in (knob.source, "model family" if knob.scope == "model" else "") if n]
        if notes:
            about.append(f"  [{'; '.join(notes)}]", style="dim")
        table.add_row(
            Text("  " * len(groups) + name, style=style),
            Text(_plain(setting.value) + (f" {knob.unit}" if knob.unit else ""), style=style),
            _plain(knob.default) if setting.changed else "",
            " | ".join(knob.options) if knob.options else knob.type,
            about,
        )
    return table


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
