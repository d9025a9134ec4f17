"""`bellmark envs`: what can be simulated, and how fast here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bellmark.envs.facts import Facts

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
# Whose versions the remembered figures belong to.
MEASURED_WITH = ("bellmark", "mujoco", "dm_control", "mani_skill", "gymnasium")


class TaskName(click.ParamType[str]):
    """A task's name."""

    name = "task"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """The known names that begin so."""
        from click.shell_completion import CompletionItem

        from bellmark.envs.suite import TASKS

        return [CompletionItem(name) for name in TASKS if name.startswith(incomplete)]


@click.group(no_args_is_help=True)
def envs() -> None:
    """List, describe and time environments.

    \b
    Examples:
      bellmark envs list
      bellmark envs show dmc/dog-run
      bellmark envs bench h1-walk --num-envs 64 --threads 2
      bellmark envs show my_module:MyEnv
    """


@envs.command("list")
@click.argument("suite", required=False)
@json_option
def list_tasks(suite: str | None, as_json: bool) -> None:
    """Every task, or one SUITE's: spaces, horizon, action repeat, what restoring promises, speed measured here.

    Speeds are those that `bellmark envs bench` measured on this machine; the rest is looked up once and remembered.

    \b
    Examples:
      bellmark envs list
      bellmark envs list dmc --json
    """
    from bellmark.envs.suite import SUITES
    from bellmark.errors import unknown

    if suite is not None and suite not in SUITES:
        raise unknown("suite", suite, SUITES)
    chosen = [suite] if suite else list(SUITES)
    rows = list(_rows([name for key in chosen for name in SUITES[key][1]]))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from rich.table import Table

    from bellmark.cli.screen import console

    out = console()
    by_name = {row["task"]: row for row in rows}
    for key in chosen:
        about, tasks = SUITES[key]
        out.print(f"{key}: {about}")
        table = Table("task", "observation", "action", "horizon", "repeat", "restores", "steps/s here", box=None)
        for name in tasks:
            table.add_row(*_cells(by_name[name]))
        out.print(table)
        out.print()


@envs.command()
@click.argument("name", type=TaskName())
@click.option("--video", type=click.Path(path_type=Path), help="Film an episode of random actions into this file.")
@json_option
def show(name: str, video: Path | None, as_json: bool) -> None:
    """One task: spaces, limits, what restoring promises, and the options that its configuration has.

    \b
    Examples:
      bellmark envs show pick_cube
      bellmark envs show dmc/dog-run --json
      bellmark envs show h1-slide --video slide.mp4
    """
    from bellmark.config import knobs
    from bellmark.envs.facts import describe, film
    from bellmark.envs.suite import parse_task
    from bellmark.errors import UserError

    config = parse_task(name)
    facts = describe(name)
    if facts.missing:
        raise UserError(facts.missing)
    row = {**facts.row(), "speed": _remembered().get(name, {}).get("speed"), "config": config.tree()}
    filmed = str(film(name, video)) if video else None
    if as_json:
        click.echo(json.dumps({**row, "video": filmed}, indent=2))
        return
    first = (type(config).__doc__ or "").strip().splitlines()[0]
    click.echo(f"{name}: {first}")
    titles = ("task", "observation", "action", "horizon", "repeat", "restores", "steps/s here")
    for title, cell in list(zip(titles, _cells(row), strict=True))[1:]:
        click.echo(f"  {title:<14}{cell}")
    click.echo("options")
    for knob in knobs(type(config)):
        value = config.tree()[knob.path]
        click.echo(f"  {knob.path}={value}  {knob.about}{f' ({knob.type})' if '|' in knob.type else ''}")
    if filmed:
        click.echo(f"video: {filmed}")


@envs.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def replay(file: Path) -> None:
    """Take the step again by which a world failed (the warning in the log names its FILE).

    Worlds fail when an action is not finite or MuJoCo finds that their state is no longer. Exits with 1 if this one no
    longer does.

    \b
    Examples:
      bellmark envs replay ~/.local/state/bellmark/failures/dmc-dog-run-20261121-070911-4242-0.npz
    """
    from bellmark.envs.failures import read
    from bellmark.envs.suite import failed_again

    config, failure = read(file)
    again = failed_again(config, failure)
    settings = " ".join(f"{key}={value}" for key, value in config.items())
    click.echo(f"{settings}\nworld {failure.index} ended as failed: {failure.reason}")
    click.echo(f"action: {' '.join(f'{a:.4g}' for a in failure.action.tolist())}")
    click.echo(f"again: {again or 'the step is taken without failing'}")
    if not again:
        raise SystemExit(1)


@envs.command()
@click.argument("names", nargs=-1, type=TaskName())
@click.option("--num-envs", type=click.IntRange(1), default=64, show_default=True, help="Worlds in the batch.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads that step them.")
@click.option("--seconds", type=float, default=1.0, show_default=True, help="How long to measure each task.")
@json_option
def bench(names: tuple[str, ...], num_envs: int, threads: int, seconds: float, as_json: bool) -> None:
    """Measure agent steps per second under random actions, for the tasks named or for all that can be made here.

    \b
    Examples:
      bellmark envs bench
      bellmark envs bench dmc/dog-run --num-envs 64 --threads 2
    """
    from bellmark.envs.facts import describe, measure
    from bellmark.envs.suite import TASKS, parse_task

    for name in names:
        parse_task(name)
    known = _remembered()
    for name in names or TASKS:
        if not names and describe(name).missing:
            continue
        speed = measure(name, num_envs, threads, seconds)
        found = {"steps_per_second": round(speed.steps_per_second), "num_envs": num_envs, "threads": threads}
        known.setdefault(name, {})["speed"] = found
        if as_json:
            click.echo(json.dumps({"task": name, **found}))
        else:
            click.echo(f"{name:<32}{speed.steps_per_second:>12,.0f} steps/s  ({num_envs} worlds, {threads} threads)")
    _remember(known)


def _rows(names: list[str]) -> Iterator[dict[str, Any]]:
    """Facts and measured speeds, the facts from memory where they are there."""
    from bellmark.envs.facts import describe

    known = _remembered()
    for name in names:
        facts: Facts | None = None
        if "facts" not in known.get(name, {}):
            facts = describe(name)
            if not facts.missing:
                known.setdefault(name, {})["facts"] = facts.row()
        row = facts.row() if facts else known[name]["facts"]
        yield {**row, "speed": known.get(name, {}).get("speed")}
    _remember(known)


def _cells(row: dict[str, Any]) -> list[str]:
    if row["missing"]:
        return [row["task"], f"needs: {row['missing']}", "", "", "", "", ""]
    speed = row["speed"]
    rate = f"{speed['steps_per_second']:,} ({speed['num_envs']} worlds, {speed['threads']} thr.)" if speed else "-"
    numbers = (row["horizon"], row["repeat"])
    return [row["task"], row["observation"], row["action"], *map(str, numbers), row["exactness"], rate]


def _memory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bellmark" / "envs.json"


def _remembered() -> dict[str, dict[str, Any]]:
    """Task -> {facts, speed} of these versions; empty where nothing usable is stored."""
    try:
        stored = json.loads(_memory().read_text())
    except (OSError, ValueError):
        return {}
    fresh = isinstance(stored, dict) and stored.get("versions") == _versions()
    return dict(stored["tasks"]) if fresh else {}


def _remember(tasks: dict[str, dict[str, Any]]) -> None:
    _memory().parent.mkdir(parents=True, exist_ok=True)
    part = _memory().with_name(f".envs-{os.getpid()}.json")
    part.write_text(json.dumps({"versions": _versions(), "tasks": tasks}))
    os.replace(part, _memory())


def _versions() -> dict[str, str]:
    found = {}
    for package in MEASURED_WITH:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found
