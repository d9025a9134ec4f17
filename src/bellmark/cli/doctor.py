"""`bellmark doctor`: what is wrong with runs, from their records."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bellmark.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from bellmark.health import Finding
    from bellmark.records import Run

CRITICAL = 3  # exit code where something critical was found
STYLE = {"critical": "bold red", "warning": "yellow", "info": "dim"}
IMPORTED = "imported"  # the family of records from elsewhere
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 32


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@click.option("--only", multiple=True, metavar="RULE", help="Only this rule; may be given several times.")
@click.option("--rules", "listing", is_flag=True, help="List the rules and leave.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(paths: tuple[Path, ...], only: tuple[str, ...], listing: bool, as_json: bool) -> int:
    """Name what is wrong with runs, from their records.

    PATH is a run folder, or a folder of runs such as a sweep's. Findings come gravest first, each with what was seen,
    the likeliest cause and what to try. The exit code is 3 when one is critical. docs/health.md explains every rule.

    \b
    Examples:
      bellmark doctor runs/quickstart
      bellmark doctor runs/single/ppo-s1-3fa2c1 --only peak_then_collapse
      bellmark doctor --rules
    """
    from bellmark.cli.screen import console
    from bellmark.health import RULES, case_of, diagnose, unseen
    from bellmark.records import scan

    if listing:
        for rule in RULES.values():
            symptom = rule.about.partition("\n\n")[0].removeprefix("Symptom: ")
            click.echo(f"{rule.id:<22} {rule.severity:<9} {' '.join(symptom.split())}")
        return 0
    if not paths:
        raise UserError("name a run or a folder of runs, such as `bellmark doctor runs` (--rules: the rules)")
    runs = [run for path in paths for run in scan(path)]
    if not runs:
        raise UserError(f"no run that can be read in {', '.join(map(str, paths))}")
    found = {run.path: diagnose(case_of(run), only) for run in runs}
    if as_json:
        records = [{"run": str(path), "findings": [asdict(f) for f in findings]} for path, findings in found.items()]
        click.echo(json.dumps(records, indent=2))
    else:
        for run in runs:
            print_findings(console(), run.meta.name, found[run.path], run)
            blind = [] if only else unseen(case_of(run))
            if blind:
                click.echo(f"  not judged, for lack of metrics: {', '.join(rule.id for rule in blind)}")
            if blind and run.meta.family == IMPORTED:
                click.echo("  rules read metrics by the names of docs/metrics.md, and this record has its own")
    return CRITICAL if any(f.severity == "critical" for findings in found.values() for f in findings) else 0


def print_findings(screen: Console, name: str, findings: Sequence[Finding], run: Run | None = None) -> None:
    """One paragraph per finding: what was seen, a small plot, the cause, what to try."""
    screen.print(f"{name}: {len(findings) or 'no'} finding{'s' if len(findings) != 1 else ''}", style="bold")
    for finding in findings:
        since = "" if finding.step is None else f", since step {finding.step:,}"
        screen.print(f"  {finding.severity}: {finding.rule}{since}", style=STYLE[finding.severity])
        lines = [finding.sentence]
        if run is not None:
            lines += [spark for metric in finding.plot[:2] if (spark := _spark(run, metric))]
        advice, following = _typed(finding.advice, name, run), _next(finding, run)
        lines.append(f"likely: {finding.cause}")
        lines += [] if advice == following else [f"try: {advice}"]
        lines += [f"next: {following}"] if following else []
        screen.print("\n".join(f"    {line}" for line in lines))


def _typed(advice: str, name: str, run: Run | None) -> str:
    """Advice about this run: what is probed is a recipe, everything else is done to the run's folder."""
    recipe = run.meta.recipe if run is not None else name
    return advice.replace("probe RUN", f"probe {recipe}").replace("RUN", str(run.path) if run is not None else name)


def _next(finding: Finding, run: Run | None) -> str:
    """The next experiment as a command; empty where there is none."""
    from bellmark.cli.families import recipe_names
    from bellmark.health import Subject, case_of, command

    if run is None:
        return ""
    recipe = run.meta.recipe if run.meta.recipe in recipe_names() else ""  # imported records have none of ours
    return command(finding, case_of(run), Subject(recipe, run.meta.overrides, str(run.path)))


def _spark(run: Run, metric: str) -> str:
    """A metric's course in one line of characters; empty where it was not recorded."""
    import numpy as np

    curve = run.curves([metric]).get(metric)
    if curve is None or len(curve.value) < 2:
        return ""
    values = np.array([part.mean() for part in np.array_split(curve.value, min(SPARK_WIDTH, len(curve.value)))])
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        return ""
    levels = ((values - values.min()) / np.ptp(values) * (len(SPARKS) - 1)).round().astype(int)
    return f"{values.min():.3g} {''.join(SPARKS[k] for k in levels)} {values.max():.3g}  {metric}"
