"""What instruments and the doctor cost: processor seconds per evaluation, beside the training time between two.

    python benchmarks/health_cost.py             # prints the table, writes benchmarks/results/health_cost.json

Per family one recipe as shipped. Training is timed over some steps with updates; instruments on a tape of 16 worlds and
32 steps; the doctor on a record as long as the whole run's, its dearest moment. The goal is 3%; reported, not asserted.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import provenance
import torch

from bellmark.agents.api import Agent, Doctor
from bellmark.cli.families import resolve
from bellmark.cli.train import run_folder
from bellmark.records import RunWriter
from bellmark.train.doctor import Attendant
from bellmark.train.families import make_agent, read_config
from bellmark.train.instruments import MOST_STEPS, MOST_WORLDS, Tape, Watcher
from bellmark.train.worlds import as_obs, spec_of

GOAL = 0.03
RECIPES = {  # per family: a recipe, what only shortens its beginning, and the steps that are timed
    "finetune": ("gae_ppo_finetune", (), 5_000),
    "tdmpc": ("svg_ensemble", ("collect.random_steps=60", "collect.pretrain=0", "collect.log_every=10"), 10),
    "dreamer": ("dreamer_cartpole_state", ("collect.random_steps=300", "collect.log_every=20"), 60),
}


class Cost(NamedTuple):
    """Seconds per evaluation."""

    training: float  # between two evaluations
    instruments: float
    doctor: float

    @property
    def share(self) -> float:
        """Of the training time."""
        return (self.instruments + self.doctor) / self.training


def measured(family: str, root: Path) -> Cost:
    """One family's costs."""
    recipe, shorter, steps = RECIPES[family]
    whole = resolve(recipe, [])
    chosen = resolve(recipe, [*shorter, "evaluation.every=10000"] if shorter else [])
    config: Any = read_config(family, chosen.tree)
    agent = make_agent(config, root / family, 1, "cpu")
    training = per_step(agent, steps) * whole.tree["evaluation"]["every"]
    watcher, tape = Watcher(agent, family), recorded(config)
    watcher.measure(tape)
    return Cost(training, median(lambda: watcher.measure(tape), 5), doctor(recipe, whole.tree, root))


def per_step(agent: Agent, steps: int) -> float:
    """Seconds per agent step once there are updates."""
    while not agent.steps_taken().get("steps/updates", 1.0):
        agent.iterate()
    first, began = agent.step, time.process_time()
    while agent.step < first + steps:
        agent.iterate()
    return (time.process_time() - began) / (agent.step - first)


def recorded(config: Any) -> Tape:
    """Random actions from the task's start states."""
    rng, tape = np.random.default_rng(0), Tape()
    with closing(config.task.make(MOST_WORLDS)) as env:
        spec = spec_of(env)
        obs, _ = env.reset(seed=0)
        alive = np.arange(MOST_WORLDS)
        for _ in range(MOST_STEPS):
            numbers = rng.uniform(-1, 1, (len(alive), spec.actions)).astype(np.float32)
            action = torch.as_tensor(numbers)
            if spec.discrete:
                action = torch.nn.functional.one_hot(action.argmax(1), spec.actions).float()
            moved = env.advance(alive, action.argmax(1).numpy() if spec.discrete else numbers)
            tape(alive, as_obs(obs, spec), action, moved)
            alive, obs = alive[~moved.terminated], moved.obs[~moved.terminated]
            if not len(alive):
                break
    return tape


def doctor(recipe: str, tree: dict[str, Any], root: Path) -> float:
    """Seconds of one examination at the end of a run of that length, 60 metrics a row."""
    folder = run_folder(resolve(recipe, []), root)
    every = tree["evaluation"]["every"]
    between = tree["collect"].get("log_every") or tree["collect"]["envs"] * tree["collect"]["steps"]
    rng = np.random.default_rng(0)
    with RunWriter(folder) as record:
        for step in range(0, tree["steps"] + 1, between):
            row = {f"loss/part_{k}": float(x) for k, x in enumerate(rng.normal(size=50))}
            row |= {"loss/policy": 0.1, "value/mean": step / 1000, "policy/log_std": -1.0, "loss/consistency": 0.01}
            if step % every < between:
                row |= {"eval/return": step / 100, "eval/return_std": 1.0, "eval/episodes": 10.0}
                row |= {"value/start": step / 200, "eval/discounted": step / 200, "model/action_gap": 1.0}
            record.log(step, row)
        record.finish("done")
    attendant = Attendant(folder, Doctor(), lambda line: None)
    return median(attendant.examine, 3)


def median(work: Callable[[], object], times: int) -> float:
    """Median seconds of some repetitions."""
    spent = []
    for _ in range(times):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return float(np.median(spent))


@click.command()
@click.option("--only", type=click.Choice(list(RECIPES)), multiple=True, help="Only this family.")
@click.option("--no-save", is_flag=True, help="Do not write the result file.")
def main(only: tuple[str, ...], no_save: bool) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    rows = {}
    with tempfile.TemporaryDirectory() as root:
        for family in only or RECIPES:
            cost = measured(family, Path(root))
            rows[family] = {"recipe": RECIPES[family][0], **cost._asdict(), "share": cost.share}
            click.echo(
                f"{family:<9} {RECIPES[family][0]:<24} training {cost.training:8.1f} s per evaluation, instruments "
                f"{cost.instruments:.3f} s, doctor {cost.doctor:.3f} s: {cost.share:.2%} (goal {GOAL:.0%})"
            )
            if not no_save:
                save(rows)


def save(rows: dict[str, dict[str, Any]]) -> None:
    """Keep what was measured, beside what an earlier call measured of other families."""
    file = provenance.RESULTS / "health_cost.json"
    former = json.loads(file.read_text())["families"] if file.exists() else {}
    here = {"machine": provenance.machine(), "commit": provenance.commit()}
    families = {**former, **{family: {**row, **here} for family, row in rows.items()}}
    file.write_text(json.dumps({"goal": GOAL, "families": families}, indent=1) + "\n")


if __name__ == "__main__":
    main()
