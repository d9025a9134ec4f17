"""`bellmark figures`: a sweep's figures for a paper, and nothing else."""

from __future__ import annotations

from pathlib import Path

import click

from bellmark.cli.report import dossier_of, formats_of
from bellmark.errors import UserError


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="SWEEP.yaml|RUNS_DIR|RUN...")
@click.option("--format", "formats", default="pdf,svg", show_default=True, metavar="FORMATS", help="Of svg, pdf, png.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Where to write them. [default: figures/NAME]"
)
@click.option(
    "--runs",
    "root",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where runs are kept.",
)
@click.option("--metric", metavar="NAME", help="What to draw where no sweep file declares it, such as eval/return.")
def figures(what: tuple[str, ...], formats: str, out: Path | None, root: Path, metric: str | None) -> None:
    """Write a sweep's figures for a paper.

    curves: every arm beside the baseline, seeds as thin lines, mean and 95% t band. together: all arms in one picture.
    effects: each arm's improvement with the bounds of the verdict, and the declared minimum effect. Text stays text,
    and the same records give the same bytes.

    \b
    Examples:
      bellmark figures sweeps/quickstart.yaml
      bellmark figures sweeps/quickstart.yaml --format pdf --out paper/figures
      bellmark figures runs/single --metric eval/return
    """
    from bellmark.reports import judged
    from bellmark.reports.plots import write_figures

    wanted = formats_of(formats)
    if not wanted:
        raise UserError("--format none leaves nothing to write")
    dossier = dossier_of(what, root, metric)
    folder = out or Path("figures") / dossier.name
    try:
        files, note = write_figures(dossier, judged(dossier), folder, wanted)
    except OSError as error:
        raise UserError(f"figures folder {str(folder)!r} cannot be written: {error.strerror or error}") from None
    if note:
        raise UserError(note)
    if not files:
        raise UserError(f"{dossier.name}: no run has been evaluated yet, so there is nothing to draw")
    click.echo("\n".join(str(file) for file in files))
