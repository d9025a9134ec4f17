"""`bellmark log`: the experiment log that writes itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bellmark.errors import UserError

if TYPE_CHECKING:
    from bellmark.records import Run
    from bellmark.reports.dossier import Dossier

SWEEP, RUNS = "sweep:", "runs:"


@click.command()
@click.argument("sweeps", nargs=-1, type=click.Path(path_type=Path), metavar="[SWEEP.yaml]...")
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    default=Path("EXPERIMENTS.md"),
    show_default=True,
    help="The log to keep.",
)
@click.option(
    "--runs",
    "root",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where runs are kept.",
)
@click.option(
    "--sweeps",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("sweeps"),
    show_default=True,
    help="Where the files of sweeps that have runs are looked for.",
)
def log(sweeps: tuple[Path, ...], file: Path, root: Path, folder: Path) -> None:
    """Keep EXPERIMENTS.md: every sweep and group of runs with settings, results, verdict.

    An entry has settings, commands, results per evaluation, verdict and run folders, all from the records; what is not
    done yet says (pending). Your notes between an entry's marks, and all you write outside of entries, stay. A sweep
    appears once it has a run, or when its file is named.

    \b
    Examples:
      bellmark log
      bellmark log sweeps/quickstart.yaml
      bellmark log --file docs/EXPERIMENTS.md --runs runs
    """
    from bellmark.reports import judged
    from bellmark.reports.experiments import keys_in, write

    try:
        known = keys_in(file)
        found = dict(_dossiers(sweeps, known, root, folder))
        dossiers = {key: dossier for key, dossier in found.items() if dossier is not None}
        judgements = {key: (dossier, judged(dossier)) for key, dossier in dossiers.items()}
        outcome = write(file, judgements, unread=found.keys() - dossiers.keys())
    except OSError as error:
        raise UserError(f"log {str(file)!r} cannot be kept: {error.strerror or error}") from None
    for word, keys in (("added", outcome.added), ("renewed", outcome.renewed), ("without runs now", outcome.gone)):
        for key in keys:
            click.echo(f"{word}: {key}")
    if outcome.set_aside:
        click.echo(f"an entry had been changed outside of its notes: the former log is {outcome.set_aside}", err=True)
    click.echo(f"{file}: {len(dossiers)} {'entry' if len(dossiers) == 1 else 'entries'} up to date")


def _dossiers(
    named: tuple[Path, ...], known: list[str], root: Path, folder: Path
) -> Iterator[tuple[str, Dossier | None]]:
    """Every entry there is something to say about: sweeps with their file, then runs that belong to none.

    None: a sweep that has runs, whose file does not plan any more.
    """
    from bellmark.records import scan

    runs = scan(root) if root.is_dir() else []
    files = _files(named, folder)
    wanted = {run.meta.sweep for run in runs} | {key.removeprefix(SWEEP) for key in known if key.startswith(SWEEP)}
    wanted |= {name for name, path in files.items() if path in named}
    judged: set[str] = set()
    for name, path in files.items():
        if name in wanted and (path in named or any(run.meta.sweep == name for run in runs)):
            judged.add(name)
            try:
                yield f"{SWEEP}{name}", _planned(path, root)
            except UserError as error:
                if path in named:
                    raise
                click.echo(f"left as it is: {error}", err=True)
                yield f"{SWEEP}{name}", None
    for name in {str(run.meta.sweep) for run in runs} - judged:
        if f"{SWEEP}{name}" in known:  # its file is gone or broken: what was written of it still holds
            judged.add(name)
            yield f"{SWEEP}{name}", None
    yield from _loose([run for run in runs if run.meta.sweep not in judged], root)


def _files(named: tuple[Path, ...], folder: Path) -> dict[str, Path]:
    """The sweep files by the name of their sweep; a file that cannot be read is told of, unless it was asked for."""
    from bellmark.sweeps.schema import load_sweep

    found = {load_sweep(path).name: path for path in named}
    for path in sorted(folder.rglob("*.yaml")) if folder.is_dir() else []:
        try:
            found.setdefault(load_sweep(path).name, path)
        except UserError as error:
            click.echo(f"left out: {error}", err=True)
    return found


def _planned(path: Path, root: Path) -> Dossier:
    from bellmark.cli.families import resolve
    from bellmark.reports import collect_plan
    from bellmark.sweeps.plan import plan
    from bellmark.sweeps.schema import load_sweep

    found = plan(load_sweep(path), resolve, root)
    return collect_plan(found, found.results(), str(path))


def _loose(runs: list[Run], root: Path) -> Iterator[tuple[str, Dossier]]:
    """One entry per group of runs (the folder below the root) without a declared question."""
    from bellmark.reports import collect_runs

    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.meta.group, []).append(run)
    for group, members in sorted(groups.items()):
        yield f"{RUNS}{group}", collect_runs(members, name=group, source=str(root / group))
