"""`bellmark probe-start`: whether a checkpoint is a start from which methods can be told apart."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from bellmark.cli.hardware import threads_option


@click.command("probe-start")
@click.argument("checkpoint")
@click.option("--task", metavar="NAME", help="Another task of the same sizes than the checkpoint's own.")
@click.option("--starts", type=click.IntRange(min=1), default=256, show_default=True, help="Start states.")
@click.option("--samples", type=click.IntRange(min=2), default=20, show_default=True, help="Episodes from each.")
@click.option("--seed", type=click.IntRange(min=0), default=90_001, show_default=True, help="Seed of the start states.")
@click.option("--json", "as_json", is_flag=True, help="One object instead of text.")
@threads_option
def probe_start(
    checkpoint: str, task: str | None, starts: int, samples: int, seed: int, as_json: bool, threads: int
) -> None:
    """Say whether finetuning from a checkpoint can tell methods apart.

    CHECKPOINT is a shipped checkpoint, a run folder or a file. Its mean action and its sampled actions are judged on
    fixed start states, several times from each: how much of the gap is action noise, and how many start states are
    undecided, so that actions matter there.

    \b
    Examples:
      bellmark probe-start pickcube_weak
      bellmark probe-start runs/single/ppo-s1-3fa2c1 --starts 512
    """
    from bellmark.train.starts import UNDECIDED, examine

    start = examine(checkpoint, task=task, starts=starts, samples=samples, seed=seed, threads=threads)
    if as_json:
        told = {**asdict(start), "noise_gap": start.noise_gap, "advice": start.advice}
        click.echo(json.dumps({"checkpoint": checkpoint, **told}, indent=2))
        return
    low, high = UNDECIDED
    click.echo(f"{checkpoint}: {start.starts} start states, {start.samples} sampled episodes from each")
    click.echo(f"  success by the mean action     {start.deterministic:6.1%}")
    click.echo(f"  success by sampled actions     {start.sampled:6.1%}   (log_std {start.log_std:.2f})")
    click.echo(f"  lost to action noise           {start.noise_gap:6.1%}   (between the two)")
    click.echo(f"  sampled, log_std cut to -1.5   {start.quieter:6.1%}")
    click.echo(
        f"  start states with {low} < P < {high}  {start.undecided:6.1%}   "
        f"({start.dead:.1%} dead, {start.solved:.1%} solved)"
    )
    if not start.advice:
        click.echo("This start can tell methods apart.")
    for line in start.advice:
        click.echo(f"Against it: {line}.")
