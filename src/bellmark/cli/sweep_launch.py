"""`bellmark sweep run`, `resume` and `extend` on the launcher that is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bellmark.errors import UserError

if TYPE_CHECKING:
    from bellmark.records import Run
    from bellmark.sweeps.cluster import Cluster
    from bellmark.sweeps.launch import Outcome
    from bellmark.sweeps.progress import View
    from bellmark.sweeps.seats import Seat
    from bellmark.sweeps.work import Plan

F = TypeVar("F", bound=Callable[..., Any])

# option -> the launcher that it belongs to
OWNER = {
    **dict.fromkeys(("partition", "time", "account", "qos", "constraint", "grace", "sbatch", "detach"), "slurm"),
    "address": "ray",
    **dict.fromkeys(("threads", "pin"), "local"),
}
NEVER_KEPT = ("detach", "retry_failed")  # about one call, not about the sweep


def seat_options(function: F) -> F:
    """Options that say how many runs go on at once."""
    for option in (
        click.option("--pin", is_flag=True, help="Local: give each worker CPUs of its own (Linux)."),
        click.option("--threads", type=click.IntRange(1), help="Local: threads of a worker. [default: resources.cpus]"),
        click.option("--workers", type=click.IntRange(1), help="Runs at once. [default: what CPUs and GPUs hold; all]"),
    ):
        function = option(function)
    return function


def launcher_options(function: F) -> F:
    """Options that say where the runs go on."""
    for option in (
        click.option("--address", help="Ray: the cluster's address, such as auto or 10.0.0.1:6379."),
        click.option("--detach", is_flag=True, help="Slurm: submit everything and leave."),
        click.option("--sbatch", multiple=True, metavar="KEY=VALUE", help="Slurm: any other option of sbatch."),
        click.option("--grace", type=click.IntRange(1), help="Slurm: seconds to save before a job's time ends. [60]"),
        click.option("--constraint", help="Slurm: features that a node must have."),
        click.option("--qos", help="Slurm: quality of service."),
        click.option("--account", help="Slurm: account to charge."),
        click.option("--time", help="Slurm: longest time of a job, 10:00:00 or 2h. [default: resources.walltime]"),
        click.option("--partition", help="Slurm: partition. [default: the cluster's]"),
        click.option(
            "--launcher",
            type=click.Choice(["local", "slurm", "ray"]),
            default="local",
            show_default=True,
            help="Where the runs go on: this machine, a Slurm cluster, a Ray cluster.",
        ),
    ):
        function = option(function)
    return function


def chosen(launcher: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, as `sweep resume` needs them.

    Raises:
        UserError: an option of another launcher.
    """
    given = {key: value for key, value in options.items() if value not in (None, False, ())}
    for key in given:
        owner = OWNER.get(key, launcher)
        if owner != launcher:
            raise UserError(f"--{key.replace('_', '-')} belongs to --launcher {owner}, not to {launcher}")
    return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}


def seats_of(found: Plan, options: Mapping[str, Any]) -> tuple[list[Seat], list[str]]:
    """The seats of this machine."""
    from bellmark.sweeps.seats import Machine, seats

    return seats(
        found.sweep.resources,
        Machine.here(),
        workers=options.get("workers"),
        threads=options.get("threads"),
        pin=bool(options.get("pin")),
    )


def at_once(found: Plan, launcher: str, options: Mapping[str, Any]) -> tuple[int, list[str]]:
    """How many runs go on at once at most, for the estimate of time, and what is worth saying about it."""
    other = _other_code(found)
    if launcher == "local":
        seats, notes = seats_of(found, options)
        return len(seats), [*notes, *other]
    notes = _short_jobs(found, options) if launcher == "slurm" else []
    return int(options.get("workers") or max(1, len(found.to_run()))), [*notes, *other]


def _other_code(found: Plan) -> list[str]:
    """Warnings where runs that are there and runs to come are not of the same code: no verdict will compare them."""
    from bellmark.records import Run, collect_provenance
    from bellmark.reports.code import code_of
    from bellmark.sweeps.work import some

    missing = found.to_run()
    done = [Run(run.dir) for run in found.runs if run.state == "done"]
    begun = [Run(run.dir) for run in missing if run.exists and run.step]
    if not missing or not (done or begun):
        return []
    here = collect_provenance()
    now = code_of(here.commit, here.dirty_diff)
    compared = f"will be compared with {some(len(missing), 'run')} to come of other code ({now})"
    return [
        *_refused(done, now, "finished run", compared),
        *_refused(begun, now, "unfinished run", f"will be carried on by other code ({now})"),
    ]


def _refused(runs: Sequence[Run], now: str, kind: str, what: str) -> list[str]:
    """A warning about those of the runs that the code of now did not make; nothing where there are none."""
    from bellmark.reports.code import codes_of, same_code
    from bellmark.sweeps.work import some

    others = [codes for codes in map(codes_of, runs) if not all(same_code(code, now) for code in codes)]
    if not others:
        return []
    names = ", ".join(sorted({code for codes in others for code in codes}))
    return [
        f"{some(len(others), kind)} ({names}) {what}, and such a verdict is refused: "
        "run all anew in another folder (--runs), or launch from a checkout of that commit"
    ]


def launch(found: Plan, launcher: str, options: Mapping[str, Any], view: View, *, retry_failed: bool) -> Outcome:
    """Run what is missing of a plan."""
    from bellmark.trackers.live import ENVIRONMENT

    track = {ENVIRONMENT: ",".join(options["track"])} if options.get("track") else {}
    kept = {key: value for key, value in options.items() if key not in NEVER_KEPT}
    if launcher == "local":
        from bellmark.sweeps.local import launch_local

        os.environ.update(track)  # the launcher hands its environment to the workers
        seats, _ = seats_of(found, options)
        return launch_local(found, seats, retry_failed=retry_failed, view=view, options=kept)
    from bellmark.sweeps.cluster import cell_environment, launch_cluster

    return launch_cluster(
        found,
        _cluster(found, launcher, options),
        retry_failed=retry_failed,
        most=options.get("workers"),
        detach=bool(options.get("detach")),
        environment={**cell_environment(found.sweep.resources), **track},
        view=view,
        options=kept,
    )


def _cluster(found: Plan, launcher: str, options: Mapping[str, Any]) -> Cluster:
    resources = found.sweep.resources
    if launcher == "ray":
        from bellmark.sweeps.ray import RayCluster

        return RayCluster(options.get("address", ""), resources)
    from bellmark.sweeps.slurm import SlurmCluster

    return SlurmCluster(slurm_of(options), resources, found.home / ".slurm")


def slurm_of(options: Mapping[str, Any]) -> Any:
    """Slurm's options out of those of the command line.

    Raises:
        UserError: a value that is none.
    """
    from bellmark.config import build
    from bellmark.sweeps.slurm import Slurm

    own = {key: options[key] for key in Slurm.model_fields if key in options and key != "sbatch"}
    pairs = {}
    for text in options.get("sbatch", ()):
        key, equals, value = text.lstrip("-").partition("=")
        if not equals:
            raise UserError(f"--sbatch {text}: write it as KEY=VALUE, such as --sbatch nodelist=n1")
        pairs[key] = value
    return build(Slurm, {**own, "sbatch": pairs})


def _short_jobs(found: Plan, options: Mapping[str, Any]) -> list[str]:
    """A warning where a run takes longer than a job: it will go on in another one."""
    from bellmark.sweeps.work import duration

    longest = max((run.seconds for run in found.to_run() if run.seconds is not None), default=0.0)
    limit = 60 * slurm_of(options).minutes(found.sweep.resources)
    if limit and longest > limit:
        return [f"a run takes about {duration(longest)}, a job {duration(limit)}: runs go on over several jobs"]
    return []
