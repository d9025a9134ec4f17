"""`bellmark import`: runs that were recorded elsewhere, as run folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from bellmark.trackers.imported import Foreign

F = TypeVar("F", bound=Callable[..., Any])


def where_options(function: F) -> F:
    """The path to read, and where the runs go."""
    for decorate in (
        click.option("--group", metavar="NAME", help="The folder below the runs. [default: the kind of source]"),
        click.option(
            "--runs", "root", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
            help="Where runs are kept.",
        ),
        click.argument("path", type=click.Path(path_type=Path)),
    ):  # fmt: skip
        function = decorate(function)
    return function


@click.group("import", no_args_is_help=True)
def import_group() -> None:
    """Import runs from other trackers, CSV files and hand-kept logs.

    Imported runs are read by `bellmark runs`, `bellmark report` and `bellmark audit` like any other. Importing the same
    source twice changes nothing.

    \b
    Examples:
      bellmark import tensorboard logs/
      bellmark import log experiment_log.md
    """


@import_group.command("tensorboard")
@where_options
def import_tensorboard(path: Path, root: Path, group: str | None) -> None:
    """Import TensorBoard event files: every folder below PATH that holds some is one run.

    \b
    Examples:
      bellmark import tensorboard logs/
      bellmark import tensorboard logs/old_run --group old
    """
    _tracker("tensorboard", path, root, group)


@import_group.command("wandb")
@where_options
def import_wandb(path: Path, root: Path, group: str | None) -> None:
    """Import W&B offline runs: every run-*.wandb file below PATH.

    \b
    Examples:
      bellmark import wandb wandb/
      bellmark import wandb wandb/offline-run-20260217_205200-ab12cd34
    """
    _tracker("wandb", path, root, group)


@import_group.command("mlflow")
@where_options
def import_mlflow(path: Path, root: Path, group: str | None) -> None:
    """Import the runs of an MLflow store: a folder such as mlruns, or an address.

    \b
    Examples:
      bellmark import mlflow mlruns
      bellmark import mlflow sqlite:///mlflow.db
    """
    _tracker("mlflow", path, root, group)


@import_group.command("csv")
@where_options
def import_csv(path: Path, root: Path, group: str | None) -> None:
    """Import CSV files: one run per file, a column of steps and a column per metric.

    \b
    Examples:
      bellmark import csv results.csv
      bellmark import csv exports/csv --group second_machine
    """
    _tracker("csv", path, root, group)


@import_group.command("log")
@where_options
def import_log(path: Path, root: Path, group: str | None) -> None:
    """Import an experiment log kept by hand in Markdown.

    Settings tables, commands, per-iteration tables, notes and run folders are read; every number keeps its line, in the
    run's log.txt and in log.json. `bellmark audit PATH` says what is wrong in the log.

    \b
    Examples:
      bellmark import log experiment_log.md
      bellmark import log notes/research_protocol.md --group cartpole
    """
    from bellmark.audits import read_log
    from bellmark.audits.as_runs import runs_of
    from bellmark.records.layout import pretty, write_atomic

    log = read_log(path)
    name = group or path.stem
    _write(runs_of(log), root, name)
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "log.json", pretty(log))
    click.echo(f"{len(log.entries)} entries, with the line of every number: {folder / 'log.json'}")


def _tracker(kind: str, path: Path, root: Path, group: str | None) -> None:
    from bellmark.trackers.sinks import SINKS, check

    check([kind], tuple(SINKS))
    read: Callable[[Path], Iterable[Foreign]] = import_module(SINKS[kind][0]).read
    _write(read(path), root, group or kind)


def _write(found: Iterable[Foreign], root: Path, group: str) -> None:
    from bellmark.errors import UserError
    from bellmark.trackers.imported import write_run

    made = kept = 0
    for foreign in found:
        try:
            folder, new = write_run(foreign, root, group)
        except UserError as error:
            click.echo(f"skipped: {error}", err=True)
            continue
        made, kept = made + new, kept + (not new)
        click.echo(f"{'imported' if new else 'there already'}: {folder}")
    if not made + kept:
        raise UserError("nothing could be imported")
    click.echo(f"{made} runs imported, {kept} there already")
