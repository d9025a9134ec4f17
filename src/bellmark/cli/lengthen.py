"""`bellmark runs lengthen`: go on with runs that are over, for more steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from bellmark.cli.run_argument import RunName, root_option
from bellmark.errors import UserError

if TYPE_CHECKING:
    from bellmark.records import Run
    from bellmark.train.families import RunConfig


@click.command("lengthen")
@click.argument("names", metavar="RUN...", nargs=-1, required=True, type=RunName())
@click.option("--steps", required=True, help="Real environment steps that the longer runs have, such as 1e5.")
@root_option
def lengthen(names: tuple[str, ...], steps: str, root: str) -> None:
    """Go on with runs that are over, for more steps.

    Each gets a folder of its own beside the old one, which stays: the run of that length, trained so far as the old
    one was. `bellmark train` with the new number of steps goes on with it, and so does a sweep whose file asks for as
    many. Refused where a setting follows the length of the run, as a schedule does: such a run would have been another
    from its first step.

    A length that was chosen after seeing the shorter runs is a second look at them; lengthen all that are compared.

    \b
    Examples:
      bellmark runs lengthen tdmpc2-s1-3fa29c --steps 100_000
      bellmark runs lengthen runs/my_sweep/*/ --steps 1e5
    """
    from bellmark.cli.screen import console
    from bellmark.records import open_run
    from bellmark.reports.tables import command_of

    found = [open_run(name, root) for name in names]
    made = [longer(run, steps) for run in found]
    for run, new in zip(found, made, strict=True):
        at, total = new.status.step, new.meta.steps
        console().print(f"{new.path}: at step {at:,} of {total:,}, from {run.name}", soft_wrap=True)
    alone = [new for new in made if new.meta.sweep is None]
    elsewhere = [] if root == "runs" else ["--runs", root]
    for new in alone:
        click.echo(f"go on with: {command_of(new.meta.recipe, [*new.meta.overrides, *elsewhere])}")
    if len(alone) < len(made):
        click.echo(f"the sweep goes on with them once its file says steps: {made[0].meta.steps}")


def longer(run: Run, steps: str) -> Run:
    """The run that differs in its length alone, made from what there is of `run`; the one that is there already.

    Raises:
        UserError: a run that has not ended, ended early or follows its length; no longer length; a folder that cannot
            be written.
    """
    from msgspec.structs import replace

    from bellmark.cli.families import config_class
    from bellmark.config import build, fingerprint
    from bellmark.records import Run, begin_from, collect_provenance, now_utc
    from bellmark.sweeps.names import run_name

    meta = run.meta
    overrides = [*(o for o in meta.overrides if o.partition("=")[0] != "steps"), f"steps={steps}"]
    config: RunConfig = build(cast(Any, config_class(meta.family)), meta.config, [f"steps={steps}"])
    tree = config.tree()
    _check(run, tree["steps"], config.follows_length())
    name = run_name(meta.recipe, overrides, meta.seed, fingerprint(tree))
    folder = run.path.parent / name
    if folder.exists():
        return Run(folder)
    new = replace(
        meta,
        name=name,
        overrides=overrides,
        config=tree,
        fingerprint=fingerprint(tree),
        steps=tree["steps"],
        continues=run.name,
        created=now_utc(),
        command=collect_provenance().command,
    )
    return Run(begin_from(run, folder, new))


def _check(run: Run, steps: int, follow: list[str]) -> None:
    """Whether a run can go on to `steps`; `follow` are its settings that depend on its length."""
    status = run.status
    if status.state != "done":
        raise UserError(
            f"{run.name} is {status.state} at step {status.step:,} of {status.total:,}: only a run that is done can be "
            "lengthened; run it to its end first"
        )
    if status.reason:
        raise UserError(f"{run.name} {status.reason}: with more steps it would have ended there too")
    if steps <= run.meta.steps:
        raise UserError(f"steps={steps} is not more than the {run.meta.steps} of {run.name}")
    if follow:
        raise UserError(
            f"{', '.join(follow)} of {run.name} follow the length of the run: one of {steps:,} steps is another from "
            "its first step on; train it anew"
        )
    if run.last_checkpoint() is None:
        raise UserError(f"{run.name} has no checkpoint to go on from")
