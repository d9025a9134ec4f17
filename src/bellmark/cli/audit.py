"""`bellmark audit`: what is wrong or weak in runs, sweep files and hand-kept logs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bellmark.errors import UserError

if TYPE_CHECKING:
    from bellmark.audits import Case, Finding

YAML, MARKDOWN = (".yaml", ".yml"), (".md", ".markdown")
WIDTH = 118
ORDER = ("wrong", "weak", "note")


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--runs",
    "root",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where runs are kept.",
)
@click.option("--only", multiple=True, metavar="ID", help="Only this audit; may be given several times.")
@click.option("--metric", metavar="NAME", help="What to look at where no sweep file declares it, such as eval/return.")
@click.option("--list", "listing", is_flag=True, help="List the audits and leave.")
@click.option("--strict", is_flag=True, help="Exit with 1 when something is wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def audit(
    paths: tuple[str, ...],
    root: Path,
    only: tuple[str, ...],
    metric: str | None,
    listing: bool,
    strict: bool,
    as_json: bool,
) -> int:
    """Find what is wrong or weak in runs, sweep files and hand-kept logs.

    PATH is a folder of runs or one run, a sweep file, or an experiment log in Markdown. "wrong" contradicts what is
    there, "weak" does not carry its conclusion, "note" is worth knowing.

    \b
    Examples:
      bellmark audit runs/quickstart
      bellmark audit sweeps/quickstart.yaml --strict
      bellmark audit experiment_log.md --only miscopy --only confound
      bellmark audit --list
    """
    from bellmark.audits import AUDITS, audit

    if listing:
        for name, rule in AUDITS.items():
            about, _, _ = (rule.__doc__ or "").partition("\n\n")
            click.echo(f"{name:<12} {' '.join(about.split())}")
        return 0
    if not paths:
        raise UserError(
            "name a folder of runs, a sweep file or a log, such as `bellmark audit runs` (--list: the audits)"
        )
    found = [finding for path in paths for finding in audit(_case(path, root, metric), only)]
    if as_json:
        import msgspec

        click.echo(json.dumps(json.loads(msgspec.json.encode(found)), indent=2))
    else:
        _print(found, paths)
    return int(strict and any(f.weight == "wrong" for f in found))


def _case(path: str, root: Path, metric: str | None) -> Case:
    from bellmark.audits import case_of_log, case_of_records, read_log

    if path.endswith(MARKDOWN):
        return case_of_log(read_log(path))
    if path.endswith(YAML):
        from bellmark.cli.families import resolve
        from bellmark.reports import collect_plan
        from bellmark.sweeps.plan import plan
        from bellmark.sweeps.schema import load_sweep

        planned = plan(load_sweep(path), resolve, root)
        return case_of_records(collect_plan(planned, planned.results(), path), path)
    from bellmark.records import open_run, scan
    from bellmark.reports import collect_runs

    folder = Path(path)
    runs = scan(folder) if folder.is_dir() and not (folder / "run.json").exists() else [open_run(path, root)]
    if not runs:
        raise UserError(f"{path}: no runs in this folder")
    return case_of_records(collect_runs(runs, name=folder.resolve().name, source=path, metric=metric), path)


def _print(found: Sequence[Finding], paths: Sequence[str]) -> None:
    for finding in found:
        place = f"{finding.where}:{finding.line}" if finding.line else finding.where
        click.echo(f"{place}  {finding.audit} ({finding.weight})")
        click.echo(textwrap.fill(finding.message, WIDTH, initial_indent="    ", subsequent_indent="    "))
    counts = [f"{sum(f.weight == weight for f in found)} {weight}" for weight in ORDER]
    click.echo(f"{len(found)} findings: {', '.join(counts)}" if found else f"nothing found in {', '.join(paths)}")
