"""`bellmark export`: finished runs to other trackers and to CSV, and episodes of their policies to Minari."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bellmark.cli.run_argument import RunName, root_option
from bellmark.errors import UserError

FORMATS = ("csv", "tensorboard", "wandb", "mlflow")
EPISODES = 100


@click.command()
@click.argument("names", nargs=-1, required=True, type=RunName(), metavar="RUN|RUNS_DIR|POLICY...")
@click.option("--to", required=True, type=click.Choice((*FORMATS, "minari")), help="Where to: files of this kind.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder to write into.  [default: exports/KIND, Minari's own]",
)
@click.option("--dataset", metavar="TASK/DATA-v0", help="The Minari dataset's name.")
@click.option(
    "--episodes", type=click.IntRange(min=1), help=f"Episodes of each policy, for Minari.  [default: {EPISODES}]"
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of their start states, for Minari.  [default: 0]")
@click.option("--greedy", is_flag=True, help="Episodes of the policies' mean actions, for Minari.")
@root_option
def export(
    names: tuple[str, ...],
    to: str,
    out: Path | None,
    dataset: str | None,
    episodes: int | None,
    seed: int | None,
    greedy: bool,
    root: str,
) -> None:
    """Write runs to CSV, TensorBoard, W&B (offline) or MLflow, or episodes of their policies to Minari.

    Rows that a later attempt did again are left out; `bellmark import` reads all four back. W&B files stay here until
    you `wandb sync` them; MLflow goes to MLFLOW_TRACKING_URI where that is set.

    Minari datasets are for other libraries' offline learners: policies are named as for `bellmark evaluate`, a run
    folder, a checkpoint file or a shipped checkpoint, and all go into one dataset.

    \b
    Examples:
      bellmark export ppo-s1 --to csv
      bellmark export runs/quickstart --to tensorboard --out logs
      bellmark export ppo-s1 ppo-s2 --to wandb
      bellmark export pickcube_weak pickcube_optimal --to minari --dataset pickcube/mixed-v0
    """
    asked = [option for option, value in MINARI_ONLY.items() if click.get_current_context().params[value]]
    if to == "minari":
        _episodes(names, out, dataset, episodes or EPISODES, seed or 0, greedy)
    elif asked:
        raise UserError(f"{asked[0]} is for --to minari, not --to {to}")
    else:
        _runs(names, to, out or Path("exports") / to, root)


MINARI_ONLY = {"--dataset": "dataset", "--episodes": "episodes", "--seed": "seed", "--greedy": "greedy"}


def _runs(names: tuple[str, ...], to: str, folder: Path, root: str) -> None:
    from bellmark.records import open_run, scan
    from bellmark.trackers.export import export_run
    from bellmark.trackers.sinks import check

    check([to], FORMATS)
    for name in names:
        path = Path(name)
        runs = scan(path) if path.is_dir() and not (path / "run.json").exists() else [open_run(name, root)]
        if not runs:
            raise UserError(f"{name}: no runs in this folder")
        for run in runs:
            click.echo(f"{run.name}: {export_run(run, to, folder)}")


def _episodes(
    policies: tuple[str, ...], out: Path | None, dataset: str | None, episodes: int, seed: int, greedy: bool
) -> None:
    if dataset is None:
        raise UserError("--to minari needs --dataset, a name such as pickcube/mixed-v0")
    from bellmark.train import minari

    if out is not None:
        os.environ["MINARI_DATASETS_PATH"] = str(out.resolve())
    written = minari.export(dataset, policies, episodes, seed, deterministic=greedy)
    click.echo(
        f"{dataset}: {written.total_episodes} episodes, {written.total_steps:,} steps in {written.spec.data_path}"
    )
