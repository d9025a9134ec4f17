"""The option `--track`: trackers that follow a run while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    if not value:
        return ()
    from bellmark.trackers.sinks import check

    return check([name.strip() for name in value.split(",") if name.strip()])


def track_option(function: F) -> F:
    """`--track tensorboard,wandb`, handed to the command as `track`, a tuple of known and installed trackers."""
    return click.option(
        "--track",
        callback=_names,
        metavar="NAMES",
        envvar="BELLMARK_TRACK",
        help="Also log live to tensorboard, wandb (offline), mlflow: names with commas between.",
    )(function)
