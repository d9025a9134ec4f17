"""`bellmark sweep`: plan, run and watch the runs that answer a question."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bellmark.cli.sweep_launch import at_once, chosen, launch, launcher_options, seat_options
from bellmark.cli.track import track_option
from bellmark.errors import UserError

if TYPE_CHECKING:
    from bellmark.sweeps.schema import Sweep
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


retry_option = click.option("--retry-failed", is_flag=True, help="Also go on with runs that failed or were stopped.")
dry_option = click.option("--dry-run", is_flag=True, help="Show the plan and leave.")


def report_options(function: F) -> F:
    """Options about the report after the last run."""
    for option in (
        click.option(
            "--report",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Where to write it. [default: reports/NAME]",
        ),
        click.option("--no-report", is_flag=True, help="Do not write a report after the last run."),
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
      bellmark sweep run sweeps/quickstart.yaml --launcher slurm --partition main --time 10:00:00
      bellmark sweep status sweeps/quickstart.yaml
      bellmark sweep extend sweeps/quickstart.yaml --seeds 5-7
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
    workers_at_once, notes = at_once(found, "local", {"workers": workers, "threads": threads, "pin": pin})
    if as_json:
        click.echo(json.dumps(plan_object(found, notes), indent=2))
        return
    print_plan(found, workers_at_once, notes)


@sweep.command("run")
@file_argument
@seat_options
@runs_option
@seeds_option
@retry_option
@dry_option
@report_options
@track_option
@launcher_options
def run_sweep(
    file: Path,
    root: Path,
    seeds: str | None,
    retry_failed: bool,
    dry_run: bool,
    no_report: bool,
    report: Path | None,
    launcher: str,
    **options: Any,
) -> int:
    """Run what is missing of the sweep in FILE, here or on a cluster, then write its report.

    The same command continues an interrupted sweep: finished runs are kept, others go on from their last checkpoint.
    Here and with Ray, the first Ctrl-C asks the runs to save themselves and waits for them; the second kills them.
    Slurm's jobs go on after Ctrl-C: the same command follows them again, `bellmark sweep cancel` ends them.

    \b
    Exit codes:
      0   every run is done (with --detach: submitted)
      1   a run failed (its log.txt says why); the others were carried on with
      2   bad input
      75  stopped: everything is saved, the same command goes on

    \b
    Examples:
      bellmark sweep run sweeps/quickstart.yaml
      bellmark sweep run sweeps/quickstart.yaml --workers 4 --threads 2 --seeds 1-5
      bellmark sweep run sweeps/quickstart.yaml --launcher slurm --partition main --time 10:00:00
      bellmark sweep run sweeps/quickstart.yaml --launcher ray --address auto
    """
    found = _plan(file, root, seeds)
    picked = chosen(launcher, {**options, "seeds": seeds})
    return _run(found, file, launcher, picked, retry_failed, dry_run, no_report, report)


@sweep.command("resume")
@file_argument
@runs_option
@retry_option
@dry_option
@report_options
def resume_sweep(
    file: Path, root: Path, retry_failed: bool, dry_run: bool, no_report: bool, report: Path | None
) -> int:
    """Go on with the sweep in FILE on the launcher and with the options of its last launch.

    \b
    Examples:
      bellmark sweep resume sweeps/quickstart.yaml
      bellmark sweep resume sweeps/quickstart.yaml --retry-failed
    """
    from bellmark.sweeps.session import former_launch

    found = _plan(file, root, None)
    former = former_launch(found.home)
    if former is None:
        raise UserError(f"sweep {found.sweep.name} was never launched below {root}; start it with `bellmark sweep run`")
    found = _plan(file, root, former.options.get("seeds"))
    return _run(found, file, former.launcher, former.options, retry_failed, dry_run, no_report, report)


@sweep.command("extend")
@file_argument
@click.option("--seeds", required=True, metavar="SEEDS", help="Seeds to add: 3,4,5 or 3-5.")
@seat_options
@runs_option
@retry_option
@dry_option
@report_options
@track_option
@launcher_options
def extend_sweep(
    file: Path,
    seeds: str,
    root: Path,
    retry_failed: bool,
    dry_run: bool,
    no_report: bool,
    report: Path | None,
    launcher: str,
    **options: Any,
) -> int:
    """Add seeds to the sweep in FILE and run what is missing.

    The seeds are written into FILE, so that status, verdict and report count them; nothing else in it changes. Seeds
    it has already are left out. More seeds than the file declares under `expect.looks` make the verdict a second look.

    \b
    Examples:
      bellmark sweep extend sweeps/quickstart.yaml --seeds 5,6,7 --dry-run
      bellmark sweep extend sweeps/quickstart.yaml --seeds 5-7 --launcher slurm --time 2h
    """
    from bellmark.sweeps.extend import with_seeds, written
    from bellmark.sweeps.schema import load_sweep

    text, every = with_seeds(file, load_sweep(file), _seeds(seeds))
    found = _plan(file, root, ",".join(map(str, every)))
    picked = chosen(launcher, options)
    if not dry_run:
        written(file, text)
    return _run(found, file, launcher, picked, retry_failed, dry_run, no_report, report)


@sweep.command("cancel")
@file_argument
@runs_option
@click.option("--now", is_flag=True, help="Kill what runs instead of letting it save itself.")
def cancel_sweep(file: Path, root: Path, now: bool) -> None:
    """End the sweep in FILE wherever it runs: every run saves itself and leaves, waiting jobs are withdrawn.

    Nothing is lost: `bellmark sweep resume` goes on. With --now Slurm's jobs are killed, and what they did since their
    last checkpoint is done again.

    \b
    Examples:
      bellmark sweep cancel sweeps/quickstart.yaml
      bellmark sweep cancel sweeps/quickstart.yaml --now
    """
    from bellmark.sweeps.session import cancel, former_launch

    found = _plan(file, root, None)
    former = former_launch(found.home)
    if former is None:
        raise UserError(f"sweep {found.sweep.name} was never launched below {root}: there is nothing to cancel")
    cancel(found.home)
    withdrawn = _withdraw(found, now) if former.launcher == "slurm" else 0
    running = sum(run.state == "running" for run in found.runs)
    click.echo(
        f"sweep {found.sweep.name} is cancelled: {running} running, each saves itself and leaves"
        + (f"; {withdrawn} Slurm jobs withdrawn" if withdrawn else "")
        + "; `bellmark sweep resume` goes on"
    )


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
    return sweep if seeds is None else sweep.model_copy(update={"seeds": _seeds(seeds)})


def _seeds(text: str) -> tuple[int, ...]:
    from bellmark.sweeps.schema import parse_seeds

    try:
        return parse_seeds(text)
    except ValueError as error:
        raise UserError(f"--seeds: {error}") from None


def _run(
    found: Plan,
    file: Path,
    launcher: str,
    options: dict[str, Any],
    retry_failed: bool,
    dry_run: bool,
    no_report: bool,
    report: Path | None,
) -> int:
    """Launch, say what came of it, and report."""
    from bellmark.cli.screen import console
    from bellmark.cli.sweep_tables import print_outcome, print_plan, print_start
    from bellmark.sweeps.table import view_for

    workers, notes = at_once(found, launcher, options)
    if dry_run:
        print_plan(found, workers, notes)
        return 0
    print_start(found, workers, notes, retry_failed)
    began = time.monotonic()
    view = view_for(console(), found.sweep.expect.metric)
    outcome = launch(found, launcher, options, view, retry_failed=retry_failed)
    if options.get("detach") and outcome.left and not outcome.failed:
        click.echo(f"{len(outcome.left)} runs are in Slurm's hands; `bellmark sweep status {file}` shows them")
        return 0
    print_outcome(found, outcome, time.monotonic() - began)
    if not no_report and not outcome.left:
        _report(found, file, report or Path("reports") / found.sweep.name)
    return outcome.exit_code


def _withdraw(found: Plan, now: bool) -> int:
    """Take the sweep's waiting jobs out of Slurm's queue, with `now` the running ones too; how many."""
    from bellmark.sweeps.slurm import end_jobs, listed_jobs

    folders = {str(run.dir.absolute()) for run in found.runs}
    jobs = [job for folder, job in (listed_jobs() or {}).items() if folder in folders and (now or not job.running)]
    end_jobs(jobs, now=now)
    return len(jobs)


def _report(found: Plan, file: Path, folder: Path) -> None:
    """Write the report on all that came out, and name its files."""
    from bellmark.reports import build_report

    for path in build_report(found, found.results(), folder, source=str(file)):
        click.echo(f"report: {path}")
