"""`bellmark sweep`: plan, run and watch the runs that answer a question."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bellmark.cli.track import track_option
from bellmark.errors import UserError

if TYPE_CHECKING:
    from bellmark.sweeps.schema import Sweep
    from bellmark.sweeps.seats import Seat
    from bellmark.sweeps.work import Plan

F = TypeVar("F", bound=Callable[..., Any])

file_argument = click.argument("file", type=click.Path(path_type=Path))
runs_option = click.option(
    "--runs",
    "root",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where runs are kept.",
)
seeds_option = click.option("--seeds", metavar="SEEDS", help="Other seeds than the file's: 1,2,3 or 1-5.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def seat_options(function: F) -> F:
    """Options that say how many runs go on at once."""
    for option in (
        click.option("--pin", is_flag=True, help="Give each worker CPUs of its own (Linux)."),
        click.option("--threads", type=click.IntRange(1), help="Threads of a worker. [default: resources.cpus, 1]"),
        click.option("--workers", type=click.IntRange(1), help="Runs at once. [default: what CPUs and GPUs hold]"),
    ):
        function = option(function)
    return function


@click.group(no_args_is_help=True)
def sweep() -> None:
    """Plan, run and watch the runs that answer a question.

    A sweep file (YAML) holds one question: what is expected, and the cells, tasks and seeds that decide it. A run whose
    configuration, task and seed are those of an earlier run is never repeated; its record is shared.

    \b
    Examples:
      bellmark sweep plan sweeps/quickstart.yaml
      bellmark sweep run sweeps/quickstart.yaml --report reports/quickstart
      bellmark sweep status sweeps/quickstart.yaml
    """


@sweep.command("plan")
@file_argument
@runs_option
@seeds_option
@seat_options
@json_option
def plan_sweep(
    file: Path, root: Path, seeds: str | None, workers: int | None, threads: int | None, pin: bool, as_json: bool
) -> None:
    """Show every run of the sweep in FILE, which of them exist, what they will cost, and what looks wrong.

    Nothing is run or written.

    \b
    Examples:
      bellmark sweep plan sweeps/quickstart.yaml
      bellmark sweep plan sweeps/quickstart.yaml --seeds 1-5 --workers 4
      bellmark sweep plan sweeps/quickstart.yaml --json | jq '.runs[] | select(.state == "new") | .name'
    """
    from bellmark.cli.sweep_tables import plan_object, print_plan

    found = _plan(file, root, seeds)
    if as_json:
        click.echo(json.dumps(plan_object(found), indent=2))
        return
    seats, notes = _seats(found, workers, threads, pin)
    print_plan(found, len(seats), notes)


@sweep.command("run")
@file_argument
@seat_options
@runs_option
@seeds_option
@click.option("--retry-failed", is_flag=True, help="Also go on with runs that failed or were stopped earlier.")
@click.option("--dry-run", is_flag=True, help="Show the plan and leave.")
@click.option("--no-report", is_flag=True, help="Do not write a report after the last run.")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="DIR", help="Where to write it. [default: reports/NAME]"
)
@track_option
def run_sweep(
    file: Path,
    workers: int | None,
    threads: int | None,
    pin: bool,
    root: Path,
    seeds: str | None,
    retry_failed: bool,
    dry_run: bool,
    no_report: bool,
    report: Path | None,
    track: tuple[str, ...],
) -> int:
    """Run what is missing of the sweep in FILE on this machine, then write its report.

    The same command continues an interrupted sweep: finished runs are kept, others go on from their last checkpoint.
    The first Ctrl-C asks the workers to save themselves and waits for them; the second kills them.

    \b
    Exit codes:
      0   every run is done
      1   a run failed (its log.txt says why); the others were carried on with
      2   bad input
      75  stopped: everything is saved, the same command goes on

    \b
    Examples:
      bellmark sweep run sweeps/quickstart.yaml
      bellmark sweep run sweeps/quickstart.yaml --workers 4 --threads 2 --seeds 1-5
      bellmark sweep run sweeps/quickstart.yaml --retry-failed --report reports/second_try
    """
    from bellmark.cli.screen import console
    from bellmark.cli.sweep_tables import print_outcome, print_plan, print_start
    from bellmark.sweeps.local import launch_local
    from bellmark.sweeps.table import view_for
    from bellmark.trackers.live import ENVIRONMENT

    found = _plan(file, root, seeds)
    seats, notes = _seats(found, workers, threads, pin)
    if dry_run:
        print_plan(found, len(seats), notes)
        return 0
    if track:
        os.environ[ENVIRONMENT] = ",".join(track)  # every launcher hands its environment to the workers
    screen = console()
    print_start(found, len(seats), notes, retry_failed)
    outcome = launch_local(found, seats, retry_failed=retry_failed, view=view_for(screen, found.sweep.expect.metric))
    print_outcome(found, outcome)
    if not no_report and not outcome.left:
        _report(found, file, report or Path("reports") / found.sweep.name)
    return outcome.exit_code


@sweep.command("status")
@file_argument
@runs_option
@seeds_option
@json_option
def status_sweep(file: Path, root: Path, seeds: str | None, as_json: bool) -> None:
    """Show how far each run of the sweep in FILE is; works while it runs and afterwards.

    \b
    Examples:
      bellmark sweep status sweeps/quickstart.yaml
      watch bellmark sweep status sweeps/quickstart.yaml
      bellmark sweep status sweeps/quickstart.yaml --json | jq .states
    """
    from bellmark.cli.sweep_tables import print_status, status_object

    found = _plan(file, root, seeds)
    if as_json:
        click.echo(json.dumps(status_object(found), indent=2))
    else:
        print_status(found)


def _plan(file: Path, root: Path, seeds: str | None) -> Plan:
    from bellmark.cli.families import resolve
    from bellmark.sweeps.plan import plan
    from bellmark.sweeps.schema import load_sweep

    return plan(_with_seeds(load_sweep(file), seeds), resolve, root)


def _with_seeds(sweep: Sweep, seeds: str | None) -> Sweep:
    from bellmark.sweeps.schema import parse_seeds

    if seeds is None:
        return sweep
    try:
        return sweep.model_copy(update={"seeds": parse_seeds(seeds)})
    except ValueError as error:
        raise UserError(f"--seeds: {error}") from None


def _seats(found: Plan, workers: int | None, threads: int | None, pin: bool) -> tuple[list[Seat], list[str]]:
    from bellmark.sweeps.seats import Machine, seats

    return seats(found.sweep.resources, Machine.here(), workers=workers, threads=threads, pin=pin)


def _report(found: Plan, file: Path, folder: Path) -> None:
    """Write the report on all that came out, and name its files."""
    from bellmark.reports import build_report

    for path in build_report(found, found.results(), folder, source=str(file)):
        click.echo(f"report: {path}")
