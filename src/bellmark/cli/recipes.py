"""`bellmark recipes`: what can be trained."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A list of objects instead of a table.")
def recipes(as_json: bool) -> None:
    """List the recipes that can be trained.

    \b
    Examples:
      bellmark recipes
      bellmark recipes --json
    """
    from bellmark.cli.families import list_recipes

    found = list_recipes()
    if as_json:
        keys = ("name", "family", "about", "source")
        click.echo(json.dumps([{key: getattr(recipe, key) for key in keys} for recipe in found], indent=2))
        return
    from rich.table import Table

    from bellmark.cli.screen import console

    table = Table("recipe", "family", "about", "source", box=None, pad_edge=False)
    for recipe in found:
        table.add_row(recipe.name, recipe.family, recipe.about, recipe.source)
    console().print(table)
