"""`bellmark probe`: a short check of what a recipe's agent is able to learn."""

from __future__ import annotations

import json

import click

from bellmark.cli.complete import Override, RecipeName
from bellmark.errors import unknown

FAILED = 3  # exit code where an ability is missing


@click.command()
@click.argument("recipe", type=RecipeName())
@click.argument("overrides", nargs=-1, type=Override())
@click.option("--only", multiple=True, metavar="NAME", help="Only this probe; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON.")
def probe(recipe: str, overrides: tuple[str, ...], only: tuple[str, ...], as_json: bool) -> int:
    """Train a recipe's agent on tasks with known answers, to see which ability is broken.

    Seven tasks, from a constant reward to time limits that must not look like ends; sizes and lengths are made small,
    options stay as they are. Each task needs one ability more than the one before it: the first that fails says where
    to look. The exit code is 3 when one fails.

    \b
    Examples:
      bellmark probe gae_ppo_finetune
      bellmark probe tdmpc2 target.values=mean
      bellmark probe dreamer_cartpole_state --only policy
    """
    from bellmark.cli.families import resolve
    from bellmark.envs.probe import PROBES
    from bellmark.train import probing

    for name in only:
        if name not in PROBES:
            raise unknown("probe", name, PROBES)
    resolved = resolve(recipe, overrides)
    chosen = [name for name in PROBES if name in only]
    answers = []
    for answer in probing.probe(resolved.family, resolved.tree, chosen):
        answers.append(answer)
        if not as_json:
            mark = {True: "ok", False: "FAILED", None: "-"}[answer.passed]
            click.echo(f"{answer.probe:<16} {mark:<7} {answer.about}")
            if not answer.passed:
                wanted = f"expected {answer.expected}; found " if answer.expected else "not asked: "
                click.echo(f"{'':<24} {wanted}{answer.found}")
    if as_json:
        click.echo(json.dumps([answer._asdict() for answer in answers], indent=2))
    return FAILED if any(answer.passed is False for answer in answers) else 0
