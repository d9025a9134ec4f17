"""`bellmark train`: one run from a recipe, in the foreground."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bellmark.cli.complete import Override, RecipeName
from bellmark.cli.hardware import device_option, threads_option
from bellmark.cli.track import track_option

if TYPE_CHECKING:
    from rich.console import Console

    from bellmark.agents.api import Metrics
    from bellmark.cli.families import Resolved
    from bellmark.records import Run
    from bellmark.train.run import Show


@click.command()
@click.argument("recipe", type=RecipeName())
@click.argument("overrides", nargs=-1, type=Override())
@click.option(
    "--runs",
    "root",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where runs are kept.",
)
@click.option("--video", is_flag=True, help="Film one episode of the final policy into the run's videos/ folder.")
@click.option("--profile", is_flag=True, help="Measure where the time goes; traces into the run's profile/ folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the final metrics as one JSON object.")
@device_option
@threads_option
@track_option
def train(
    recipe: str,
    overrides: tuple[str, ...],
    root: Path,
    video: bool,
    profile: bool,
    as_json: bool,
    device: str,
    threads: int,
    track: tuple[str, ...],
) -> int:
    """Train one agent from a recipe.

    OVERRIDES set knobs, such as update=awr update.beta=0.5 (see `bellmark knobs RECIPE`). The run's folder is named
    after what differs from the recipe; calling the same command again continues it, or says that it is done. Ctrl-C
    saves a checkpoint first.

    \b
    Examples:
      bellmark train gae_ppo_finetune
      bellmark train awr_rerollout advantage.n_q=4 advantage.n_v=4 seed=2
      bellmark train tdmpc2 task=dog-run model.size=1 steps=100000
      bellmark train ppo steps=1e6 --video --threads 2
      bellmark train ppo --track tensorboard,wandb
      bellmark train dreamer_cartpole_state --profile
    """
    from bellmark.cli.families import resolve
    from bellmark.cli.screen import console
    from bellmark.records import Run
    from bellmark.trackers.live import following
    from bellmark.train.run import DONE, REQUEUE, execute

    folder = run_folder(resolve(recipe, overrides), root, device)
    screen = console(stderr=as_json)
    run, code = Run(folder), DONE
    if run.status.state == "done":
        screen.print(f"{folder.name} is done already.")
    else:
        with following(folder, track), _progress(screen, folder.name) as show:
            code = execute(folder, threads=threads, device=device, show=show, say=screen.print, profile=profile)
    if code == REQUEUE:
        screen.print(f"Saved at step {run.status.step:,} of {run.status.total:,}; the same command goes on.")
        return code
    if video:
        from bellmark.train.judge import Judge

        step = run.status.step
        screen.print(f"video: {Judge(str(folder)).film(folder / 'videos' / f'step_{step:09d}.mp4', seed=0)}")
    _summary(run, as_json)
    return code


def run_folder(resolved: Resolved, root: Path, device: str = "cpu") -> Path:
    """The run's folder, made unless the same run is below `root` already, whatever it was called."""
    from bellmark.records import Index, RunMeta, collect_provenance, create_run, now_utc
    from bellmark.sweeps.names import run_name
    from bellmark.sweeps.plan import by_fingerprint, task_name

    tree = resolved.tree
    name = run_name(resolved.recipe, resolved.overrides, tree["seed"], resolved.fingerprint)
    folder = root / "single" / name
    if (folder / "run.json").is_file():
        return folder
    if root.is_dir():
        index = Index(root)
        index.refresh()
        if same := by_fingerprint(index.rows()).get(resolved.fingerprint):
            return same.path
    origin = collect_provenance()
    meta = RunMeta(
        name=name,
        family=resolved.family,
        recipe=resolved.recipe,
        overrides=list(resolved.overrides),
        config=tree,
        fingerprint=resolved.fingerprint,
        model_fingerprint=resolved.model_fingerprint,
        task=task_name(tree),
        seed=tree["seed"],
        steps=tree["steps"],
        parent_checkpoint=tree.get("start", {}).get("checkpoint"),
        commit=origin.commit,
        dirty=origin.dirty,
        host=origin.host,
        device=device,
        versions=origin.versions,
        created=now_utc(),
        command=origin.command,
    )
    return create_run(folder, meta, origin.dirty_diff)


@contextmanager
def _progress(screen: Console, name: str) -> Iterator[Show]:
    """A bar with speed, time left and the newest headline metrics."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from bellmark.train.run import BRIEF, PREPARED

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[news]}"), console=screen) as bar:
        task = bar.add_task(name, news="")
        news: dict[str, float] = {}

        def show(step: int, total: int, metrics: Metrics) -> None:
            news.pop(PREPARED, None)
            news.update({k: metrics[k] for k in (PREPARED, *BRIEF) if k in metrics})
            bar.update(task, completed=step, total=total, news="  ".join(f"{k} {v:.3f}" for k, v in news.items()))

        yield show


def _summary(run: Run, as_json: bool) -> None:
    """The final evaluation, and where everything lies."""
    curves = {name: run.curve(name) for name in run.metric_names() if name.startswith(("eval/", "steps/"))}
    final = {name: float(curve.value[-1]) for name, curve in curves.items()}
    if as_json:
        click.echo(json.dumps({"run": str(run.path), "state": run.status.state, **final}, indent=2))
        return
    for name, value in final.items():
        click.echo(f"{name:24s} {value:,.4g}")
    click.echo(f"run: {run.path}")
