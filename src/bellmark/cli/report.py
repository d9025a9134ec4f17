"""`bellmark report`: judge a sweep or some runs and write the report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bellmark.errors import UserError, unknown

if TYPE_CHECKING:
    from bellmark.records import Run
    from bellmark.reports.dossier import Dossier
    from bellmark.stats import Verdict

YAML = (".yaml", ".yml")


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="SWEEP.yaml|RUNS_DIR|RUN...")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Where to write it. [default: reports/NAME]"
)
@click.option(
    "--runs",
    "root",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where runs are kept.",
)
@click.option("--metric", metavar="NAME", help="What to look at where no sweep file declares it, such as eval/return.")
@click.option(
    "--figures",
    metavar="FORMATS",
    default="svg,png",
    show_default=True,
    help="Formats of the figures, such as svg,pdf; none leaves them out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print files and verdicts as JSON.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
def report(
    what: tuple[str, ...],
    out: Path | None,
    root: Path,
    metric: str | None,
    figures: str,
    as_json: bool,
    open_page: bool,
) -> None:
    """Judge a sweep or some runs and write the report.

    With a sweep file, every arm is judged against the claim the file declares, and unfinished runs show as pending.
    With runs, or a folder of them, the report only describes: nothing was declared, so nothing is judged.

    Writes index.html (one file, opens anywhere), log.md (your notes in it are kept) and figures/ for papers.

    \b
    Examples:
      bellmark report sweeps/quickstart.yaml
      bellmark report sweeps/quickstart.yaml --out reports/second_look --open
      bellmark report sweeps/quickstart.yaml --figures pdf
      bellmark report runs/single --metric eval/return
      bellmark report ppo-s1 ppo-s2 awr-s1
      bellmark report sweeps/quickstart.yaml --json | jq '.verdicts[] | {arm, kind}'
    """
    from bellmark.reports import judged, write_report

    formats = formats_of(figures)
    dossier = dossier_of(what, root, metric)
    verdicts = judged(dossier)
    paths = write_report(dossier, verdicts, out or Path("reports") / dossier.name, figures=formats)
    if as_json:
        files = {"page": str(paths.page), "log": str(paths.log), "figures": [str(f) for f in paths.figures]}
        click.echo(json.dumps({**files, **_object(dossier, verdicts)}, indent=2))
    else:
        _print(dossier, verdicts)
        click.echo("\n".join(f"report: {path}" for path in paths))
        if paths.note:
            click.echo(paths.note, err=True)
    if open_page:
        click.launch(str(paths.page))


def dossier_of(what: Sequence[str], root: Path, metric: str | None) -> Dossier:
    """What a sweep file, a folder of runs, or the names of runs stand for.

    Raises:
        UserError: none of these, or a metric that no run has.
    """
    return _sweep(what[0], root, metric) if _is_sweep(what) else _runs(what, root, metric)


def formats_of(text: str) -> tuple[str, ...]:
    """`svg,pdf` as formats; none for `none`.

    Raises:
        UserError: a format that figures cannot have.
    """
    from bellmark.reports.plots import FORMATS

    found = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if found == ("none",):
        return ()
    wrong = [name for name in found if name not in FORMATS]
    if wrong:
        raise unknown("figure format", wrong[0], [*FORMATS, "none"])
    return found


def _is_sweep(what: Sequence[str]) -> bool:
    found = [name for name in what if name.endswith(YAML)]
    if found and len(what) > 1:
        raise UserError(f"a sweep file is reported on alone: {found[0]} was given with {len(what) - 1} more")
    return bool(found)


def _sweep(file: str, root: Path, metric: str | None) -> Dossier:
    from bellmark.cli.families import resolve
    from bellmark.reports import Shelf, collect_plan, examine
    from bellmark.sweeps.plan import plan
    from bellmark.sweeps.schema import load_sweep

    sweep = load_sweep(file)
    if metric is not None and metric != sweep.expect.metric:
        raise UserError(
            f"--metric {metric}: sweep {sweep.name} declares {sweep.expect.metric}; change expect.metric there"
        )
    found = plan(sweep, resolve, root)
    return collect_plan(found, [*found.results(), *_strays(found.home)], spoken([file], root), Shelf(examine))


def spoken(what: Sequence[str], root: Path) -> str:
    """The arguments as they are typed again."""
    return shlex.join([*what, *(["--runs", str(root)] if root != Path("runs") else [])])


def _strays(home: Path) -> list[Run]:
    """Every run in the sweep's own folder, so that those its file no longer plans can be named."""
    from bellmark.records import scan

    return scan(home) if home.is_dir() else []


def _runs(what: Sequence[str], root: Path, metric: str | None) -> Dossier:
    from bellmark.records import open_run, scan
    from bellmark.reports import Shelf, collect_runs, examine

    runs: dict[Path, Run] = {}
    for name in what:
        path = Path(name)
        found = scan(path) if path.is_dir() and not (path / "run.json").exists() else [open_run(name, root)]
        if not found:
            raise UserError(f"{name}: no runs in this folder")
        runs.update({run.path.resolve(): run for run in found})
    only = Path(what[0])
    name = only.resolve().name if len(what) == 1 and only.is_dir() else "runs"
    source, shelf = spoken(what, root), Shelf(examine)
    return collect_runs(list(runs.values()), name=name, source=source, metric=metric, shelf=shelf)


def _object(dossier: Dossier, verdicts: Sequence[Verdict]) -> dict[str, object]:
    """What a script wants to know: finite numbers or null, never NaN."""
    import msgspec

    states = {run.name: "failed" if run.failed else run.state for run in dossier.runs}
    found = {"name": dossier.name, "metric": dossier.metric, "verdicts": list(verdicts), "runs": states}
    made: dict[str, object] = json.loads(msgspec.json.encode(found))
    return made


def _print(dossier: Dossier, verdicts: Sequence[Verdict]) -> None:
    from bellmark.reports.page import headline, progress

    _, words = headline(dossier, verdicts)
    click.echo(f"{dossier.name}: {progress(dossier)}")
    if words:
        click.echo(words)
    for verdict in verdicts:
        click.echo(verdict.sentence)
