"""`bellmark export`: finished runs to other trackers and to CSV."""

from __future__ import annotations

from pathlib import Path

import click

from bellmark.cli.runs import RunName, root_option
from bellmark.errors import UserError

FORMATS = ("csv", "tensorboard", "wandb", "mlflow")


@click.command()
@click.argument("names", nargs=-1, required=True, type=RunName(), metavar="RUN|RUNS_DIR...")
@click.option("--to", required=True, type=click.Choice(FORMATS), help="Where to: files of this kind.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="The folder to write into. [default: exports/KIND]"
)
@root_option
def export(names: tuple[str, ...], to: str, out: Path | None, root: str) -> None:
    """Write runs to CSV, TensorBoard, W&B (offline) or MLflow.

    Rows that a later attempt did again are left out; `bellmark import` reads all four back. W&B files stay here until
    you `wandb sync` them; MLflow goes to MLFLOW_TRACKING_URI where that is set.

    \b
    Examples:
      bellmark export ppo-s1 --to csv
      bellmark export runs/quickstart --to tensorboard --out logs
      bellmark export ppo-s1 ppo-s2 --to wandb
    """
    from bellmark.records import open_run, scan
    from bellmark.trackers.export import export_run
    from bellmark.trackers.sinks import check

    check([to], FORMATS)
    folder = out or Path("exports") / to
    for name in names:
        path = Path(name)
        runs = scan(path) if path.is_dir() and not (path / "run.json").exists() else [open_run(name, root)]
        if not runs:
            raise UserError(f"{name}: no runs in this folder")
        for run in runs:
            click.echo(f"{run.name}: {export_run(run, to, folder)}")
