"""The RUN argument and the `--root` option of every command that takes runs by name."""

from __future__ import annotations

from pathlib import Path

import click

from bellmark.records import Index

root_option = click.option(
    "--root", "--runs", "root", default="runs", show_default=True, help="The folder that holds the runs."
)


class RunName(click.ParamType[str]):
    """A run's path, name, or a prefix that fits one run only."""

    name = "run"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """The names below the root; once a path is begun, folders."""
        from click.shell_completion import CompletionItem

        root = Path(ctx.params.get("root") or "runs")
        names = [row.meta.name for row in Index(root).rows()] if root.is_dir() else []
        found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="dir")]
