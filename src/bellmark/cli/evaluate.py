"""`bellmark evaluate`: a stored policy on fixed start states, with intervals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bellmark.cli.hardware import threads_option

if TYPE_CHECKING:
    from bellmark.agents.api import Watch
    from bellmark.train.evaluate import Episodes

DREAMED = 16  # episodes that dreams are compared with


@click.command()
@click.argument("policy")
@click.option("--task", help="Judge on this task instead of its own: a variant, or its twin in another simulator.")
@click.option("--episodes", type=click.IntRange(min=1), show_default="as in the run", help="Start states.")
@click.option("--seed", type=click.IntRange(min=0), default=90_001, show_default=True, help="Seed of the start states.")
@click.option("--sampled/--greedy-only", default=None, help="Also judge sampled actions (default: as in the run).")
@click.option("--video", type=click.Path(path_type=Path), help="Film the first deterministic episode into this file.")
@click.option("--dreams", is_flag=True, help="Write a dreamer's predictions beside what happened (dreams/ of its run).")
@click.option("--dreams-into", type=click.Path(path_type=Path), help="The same, into this folder.")
@click.option(
    "--dream-steps", type=click.IntRange(min=1), default=45, show_default=True, help="How far dreams go, in steps."
)
@click.option("--json", "as_json", is_flag=True, help="One object instead of a table.")
@threads_option
def evaluate(
    policy: str,
    task: str | None,
    episodes: int | None,
    seed: int,
    sampled: bool | None,
    video: Path | None,
    dreams: bool,
    dreams_into: Path | None,
    dream_steps: int,
    as_json: bool,
    threads: int,
) -> None:
    """Judge a run or a checkpoint on fixed start states.

    POLICY is a run folder (its best checkpoint is taken), a checkpoint file or the name of a shipped checkpoint. Every
    start state is played once, to the first end, in each mode; the same seed gives every policy the
    same start states. The default seed is that of evaluations during training: for a number that selected nothing, give
    another.

    \b
    Examples:
      bellmark evaluate pickcube_weak
      bellmark evaluate runs/single/ppo-s1-3fa2c1 --episodes 1000 --seed 7
      bellmark evaluate pickcube_optimal --video optimal.mp4
      bellmark evaluate pickcube_optimal --task maniskill
      bellmark evaluate runs/single/dreamer_cartpole_pixels-s1-3fa2c1 --dreams
    """
    from bellmark.train.judge import Judge

    judge = Judge(policy, task)
    dreamed = dreams or dreams_into is not None
    written = judge.dream(dreams_into, DREAMED, seed, dream_steps) if dreamed else []
    episodes = episodes or judge.evaluation.episodes
    sampled = judge.evaluation.sampled if sampled is None else sampled
    with _progress(f"{episodes} episodes") as watch:
        judged = judge.judge(episodes, seed, sampled=sampled, threads=threads, watch=watch)
    rows = {"deterministic": _summary(judged.deterministic, judged.succeeds)}
    if judged.sampled is not None:
        rows["sampled"] = _summary(judged.sampled, judged.succeeds)
    filmed = str(judge.film(video, seed)) if video else None
    if as_json:
        facts: dict[str, Any] = {"policy": policy, "task": task, "step": judged.step}
        facts.update({"episodes": episodes, "seed": seed, "video": filmed})
        facts["dreams"] = [str(path) for path in written]
        click.echo(json.dumps({**facts, **rows}, indent=2))
        return
    where = f" on {task}" if task else ""
    _print(rows, f"{policy}{where}, trained for {judged.step:,} real steps; {episodes} episodes, seed {seed}")
    if filmed:
        click.echo(f"video: {filmed}")
    for path in written:
        click.echo(f"dreams: {path}")


@contextmanager
def _progress(name: str) -> Iterator[Watch]:
    """A bar, on a terminal only; episodes may end before it does."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from bellmark.cli.screen import console

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    screen = console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _summary(episodes: Episodes, succeeds: bool) -> dict[str, Any]:
    """Means of one mode with 95% intervals: Wilson's of success where the task knows any, Student's of the return."""
    from bellmark.stats.intervals import t_interval, wilson

    found: dict[str, Any] = {}
    if succeeds:
        share = wilson(int(episodes.success.sum()), len(episodes.success))
        found = {"success": share.estimate, "success_low": share.low, "success_high": share.high}
    found["return"] = float(episodes.returns.mean())
    if len(episodes.returns) > 1:
        interval = t_interval(episodes.returns)
        found |= {"return_low": interval.low, "return_high": interval.high}
    return found | {"length": float(episodes.length.mean())}


def _print(rows: dict[str, dict[str, Any]], title: str) -> None:
    from rich.table import Table

    from bellmark.cli.screen import console

    lines = {mode: list(_cells(row)) for mode, row in rows.items()}
    headers = [header for header, _ in lines["deterministic"]]
    table = Table("mode", *headers, title=title, title_justify="left")
    for mode, cells in lines.items():
        table.add_row(mode, *(text for _, text in cells))
    console().print(table)


def _cells(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Headers and texts of what a mode's row has."""
    for name, form in (("success", "{:.1%}"), ("return", "{:.3f}"), ("length", "{:.1f}")):
        if name in row:
            yield name, form.format(row[name])
        if f"{name}_low" in row:
            yield "95% interval", " to ".join(form.format(row[f"{name}_{end}"]) for end in ("low", "high"))
