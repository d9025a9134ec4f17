"""`bellmark lint`: what is wrong with a recipe or with a sweep before its first step."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bellmark.cli.complete import Override, RecipeName
from bellmark.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from bellmark.health import Finding

CRITICAL = 3  # exit code where something critical was found
STARTS, SAMPLES, SEED = 64, 4, 90_001


@click.command()
@click.argument("recipe", type=RecipeName())
@click.argument("overrides", nargs=-1, type=Override())
@click.option("--play", is_flag=True, help="Also play the start checkpoints, mean against sampled actions.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def lint(recipe: str, overrides: tuple[str, ...], play: bool, as_json: bool) -> int:
    """Name what is wrong with a configuration before its first step.

    RECIPE is a recipe, or a sweep's file: then every cell is looked at, and whether seeds and episodes can show the
    effect that the file expects. The exit code is 3 when a finding is critical.

    \b
    Examples:
      bellmark lint gae_ppo_finetune update.target_kl=0.1
      bellmark lint dreamer_cartpole_state model.bin_limit=5
      bellmark lint sweeps/finetune/8_awr_beta.yaml
    """
    from bellmark.cli.doctor import print_findings
    from bellmark.cli.screen import console

    found = _sweep(Path(recipe), overrides, play) if _is_sweep(recipe) else _recipe(recipe, overrides, play)
    if as_json:
        click.echo(json.dumps({name: [asdict(f) for f in findings] for name, findings in found.items()}, indent=2))
    else:
        for name, findings in found.items():
            print_findings(console(), name, findings)
    return CRITICAL if any(f.severity == "critical" for findings in found.values() for f in findings) else 0


def _is_sweep(name: str) -> bool:
    """A YAML file with a question."""
    from bellmark import yaml12

    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    tree = yaml12.load(path.read_text())
    return isinstance(tree, dict) and "question" in tree


def _recipe(recipe: str, overrides: tuple[str, ...], play: bool) -> dict[str, list[Finding]]:
    from bellmark.cli.families import resolve
    from bellmark.config import flatten
    from bellmark.health import lint as check

    resolved = resolve(recipe, overrides)
    config = flatten(resolved.tree)
    found = check(resolved.family, config)
    return {resolved.recipe: found + (_played(resolved.recipe, [config]) if play else [])}


def _played(name: str, configs: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """What speaks against the stored policies that these configurations start from, each played once.

    Raises:
        UserError: none of them improves a stored policy.
    """
    from bellmark.health import Finding
    from bellmark.train.starts import examine

    starts = {(c["start.checkpoint"], c["start.max_log_std"]) for c in configs if "start.max_log_std" in c}
    if not starts:
        raise UserError(f"--play: {name} starts from no stored policy that it improves (start=stored)")
    found = []
    for checkpoint, cut in sorted(starts):
        start = examine(checkpoint, task=None, starts=STARTS, samples=SAMPLES, seed=SEED, max_log_std=cut)
        seen = f"mean actions succeed in {start.deterministic:.0%}, sampled ones in {start.sampled:.0%}"
        numbers = {"deterministic": start.deterministic, "sampled": start.sampled}
        found += [
            Finding(doubt.kind, "warning", None, f"{checkpoint}: {seen}", doubt.seen, doubt.advice, numbers)
            for doubt in start.doubts
        ]
    return found


def _sweep(file: Path, overrides: tuple[str, ...], play: bool) -> dict[str, list[Finding]]:
    """The design's findings under the sweep's name, then those of each cell that its baseline does not have."""
    from bellmark.cli.families import resolve
    from bellmark.config import flatten
    from bellmark.health import Case, Design, lint_design
    from bellmark.health import lint as check
    from bellmark.sweeps.plan import plan
    from bellmark.sweeps.schema import load_sweep

    if overrides:
        raise UserError(f"{overrides[0]}: a sweep's settings are in its file, under `set`")
    sweep = load_sweep(file)
    planned = plan(sweep, resolve, Path("runs"))
    trees = {run.arm: run.resolved for run in planned.runs}
    cases = [Case(r.family, flatten(r.tree), {}, "pending") for r in trees.values()]
    design = Design(
        metric=sweep.expect.metric,
        effect=sweep.expect.minimum_effect * min(sweep.expect.scales.values(), default=1.0),
        last=sweep.expect.last if sweep.expect.summary == "last_mean" else 1,
        alpha=sweep.expect.alpha,
        seeds=len(sweep.seeds),
        cases=cases,
    )
    cells = {arm: check(r.family, flatten(r.tree)) for arm, r in trees.items()}
    shared = {f.sentence for f in next(iter(cells.values()))} if cells else set()
    shared = {s for s in shared if all(s in {f.sentence for f in found} for found in cells.values())}
    common = [f for f in next(iter(cells.values()), []) if f.sentence in shared]
    own = {arm: [f for f in found if f.sentence not in shared] for arm, found in cells.items()}
    played = _played(planned.sweep.name, [case.config for case in cases]) if play else []
    whole = {planned.sweep.name: [*lint_design(design), *common, *played]}
    return {**whole, **{arm: found for arm, found in own.items() if found}}
