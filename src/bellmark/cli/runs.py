"""`bellmark runs`: list, show, compare and export runs."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from bellmark.cli.lengthen import lengthen
from bellmark.cli.run_argument import RunName, root_option
from bellmark.config import diff
from bellmark.errors import UserError, unknown
from bellmark.records import SMALL, STATES, Damage, Index, Row, Run, RunMeta, open_run, small_record
from bellmark.reports.code import codes_of

# What may differ between two runs beside their configurations.
ORIGIN = ("recipe", "commit", "dirty", "parent_checkpoint", "model_fingerprint", "device", "host")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


@click.group(no_args_is_help=True)
def runs() -> None:
    """List, show, compare and lengthen runs.

    \b
    Examples:
      bellmark runs list --state running
      bellmark runs show ppo-s1
      bellmark runs diff ppo-s1 awr-s1
    """


runs.add_command(lengthen)


@runs.command("list")
@root_option
@click.option("--sweep", help="Only the runs of this sweep.")
@click.option("--state", type=click.Choice(STATES), help="Only the runs in this state.")
@json_option
def list_runs(root: str, sweep: str | None, state: Any, as_json: bool) -> None:
    """List runs with their state, progress and main metric.

    "lost" is a run whose process is gone without a last word; running it again continues it.

    \b
    Examples:
      bellmark runs list
      bellmark runs list --sweep quickstart --state lost
      bellmark runs list --json | jq '.[].path'
    """
    index = Index(_existing(root))
    damaged = index.refresh()
    rows = index.rows(state=state)
    if sweep is not None:
        sweeps = {row.meta.sweep for row in index.rows()} - {None}
        if sweep not in sweeps:
            raise unknown("sweep", sweep, (s for s in sweeps if s))
        rows = [row for row in rows if row.meta.sweep == sweep]
    if as_json:
        _print_json([_row_object(row) for row in rows])
    elif rows:
        from bellmark.cli.runs_tables import print_rows

        print_rows(rows, [_age_seconds(row.meta, row.status.heartbeat) for row in rows])
    else:
        click.echo(f"no runs{f' in state {state}' if state else ''} below {root}")
    _warn(damaged)


@runs.command("show")
@click.argument("run", type=RunName())
@root_option
@json_option
def show_run(run: str, root: str, as_json: bool) -> None:
    """Show one run with its metrics and checkpoints.

    RUN is a path, a name, group/name, or the beginning of a name or fingerprint that fits one run only.

    \b
    Examples:
      bellmark runs show runs/single/ppo-s1-3fa29c
      bellmark runs show ppo-s1
      bellmark runs show ppo-s1 --json | jq .latest
    """
    found = open_run(run, root)
    if as_json:
        _print_json(_run_object(found))
    else:
        from bellmark.cli.runs_tables import print_run

        print_run(found)
        for problem in found.problems():
            print(f"bellmark: warning: {problem}", file=sys.stderr)


@runs.command("diff")
@click.argument("run", type=RunName())
@click.argument("other", type=RunName())
@root_option
@json_option
def diff_runs(run: str, other: str, root: str, as_json: bool) -> None:
    """Compare the settings and the origin of two runs.

    The origin is code, start checkpoint, device, machine and library versions. Whatever is not listed is equal.

    \b
    Examples:
      bellmark runs diff ppo-s1 awr-s1
      bellmark runs diff runs/single/ppo-s1-3fa29c runs/single/ppo-s2-91be07 --json
    """
    left, right = open_run(run, root), open_run(other, root)
    config = diff(left.meta.config, right.meta.config)
    origin = _origin_diff(left, right)
    if as_json:
        pairs = {"config": config, "origin": origin}
        _print_json({"runs": [str(left.path), str(right.path)], **{k: _pairs(v) for k, v in pairs.items()}})
        return
    if not config and not origin:
        click.echo("no difference in configuration, code or versions")
        return
    from bellmark.cli.runs_tables import print_differences

    print_differences(left.name, right.name, {"configuration": config, "origin": origin})


@runs.command("export")
@click.argument("names", nargs=-1, required=True, type=RunName())
@click.option(
    "--metric",
    "patterns",
    multiple=True,
    default=SMALL,
    show_default=True,
    help="Curves, by name or pattern.",
)
@root_option
def export_runs(names: tuple[str, ...], patterns: tuple[str, ...], root: str) -> None:
    """Print runs in small form, for committing beside a claim.

    One JSON object a line: configuration, seed, commit, versions and the chosen curves, without machine or paths.

    \b
    Examples:
      bellmark runs export ppo-s1 > docs/log/records/ppo.jsonl
      bellmark runs export ppo-s1 ppo-s2 --metric 'eval/*' --metric 'loss/*'
    """
    for name in names:
        run = open_run(name, root)
        recorded = run.metric_names()
        for pattern in patterns if patterns != SMALL else ():
            if not fnmatch.filter(recorded, pattern):
                raise UserError(f"run {run.name}: {unknown('metric', pattern, recorded)}")
        click.echo(json.dumps(small_record(run, patterns)))


def _existing(root: str) -> Path:
    folder = Path(root)
    if not folder.is_dir():
        raise UserError(f"--root {root!r} is not a folder; run `bellmark train` first, or name the folder with runs")
    return folder


def _warn(damaged: Sequence[Damage]) -> None:
    for damage in damaged:
        print(f"bellmark: warning: run skipped: {damage.problem}", file=sys.stderr)


def _print_json(value: object) -> None:
    # unlike the standard library's, msgspec writes values that are not finite as null, which every reader takes
    click.echo(json.dumps(json.loads(msgspec.json.encode(value)), indent=2))


def _row_object(row: Row) -> dict[str, Any]:
    meta, status = row.meta, row.status
    return {
        "path": str(row.path),
        **{key: getattr(meta, key) for key in ("name", "group", "sweep", "arm", "task", "seed", "fingerprint")},
        **{key: getattr(status, key) for key in ("state", "step", "total", "attempt", "reason")},
        "latest": {name: point._asdict() for name, point in sorted(row.latest.items())},
        "age": _age_seconds(meta, status.heartbeat),
    }


def _run_object(run: Run) -> dict[str, Any]:
    return {
        "path": str(run.path),
        "meta": run.meta,
        "status": run.status,
        "latest": {n: {"step": int(c.step[-1]), "value": float(c.value[-1])} for n, c in sorted(run.curves().items())},
        "checkpoints": [checkpoint.facts for checkpoint in run.checkpoints()],
        "problems": run.problems(),
    }


def _origin_diff(left: Run, right: Run) -> dict[str, tuple[Any, Any]]:
    """What differs beside the configuration: code, start checkpoint, machine, library versions."""
    pairs = {key: (getattr(left.meta, key), getattr(right.meta, key)) for key in ORIGIN}
    if left.meta.dirty and right.meta.dirty:
        pairs["uncommitted changes"] = (_dirty_checksum(left), _dirty_checksum(right))
    pairs["carried on by"] = (_later_code(left), _later_code(right))
    for name in sorted({*left.meta.versions, *right.meta.versions}):
        pairs[f"version of {name}"] = (left.meta.versions.get(name), right.meta.versions.get(name))
    return {key: (a, b) for key, (a, b) in pairs.items() if a != b}


def _later_code(run: Run) -> str | None:
    """The code that went on with what other code had begun; None where there is none."""
    return " then ".join(codes_of(run)[1:]) or None


def _dirty_checksum(run: Run) -> str:
    return hashlib.sha256(run.dirty_diff().encode()).hexdigest()[:12]


def _pairs(differences: dict[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
    return {key: {"left": a, "right": b} for key, (a, b) in differences.items()}


def _age_seconds(meta: RunMeta, heartbeat: float) -> float | None:
    """Seconds since the run last gave a sign, or since it was created; None when neither is known."""
    try:
        then = heartbeat or datetime.fromisoformat(meta.created).timestamp()
    except ValueError:
        return None
    return max(0.0, time.time() - then)
