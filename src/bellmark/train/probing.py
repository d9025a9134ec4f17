"""Probe environments for a recipe: which abilities does this agent have?

Each probe needs one ability more than the one before it (after Jones 2021), so the first that fails names what is
broken. The recipe's options stay; sizes and lengths are made small, so that a probe takes half a minute at most.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bellmark.agents.api import Agent
from bellmark.envs.probe import PROBES, Probe, ProbeName
from bellmark.errors import UserError
from bellmark.train.evaluate import play
from bellmark.train.families import make_agent, read_config

WORLDS = 64  # in which a trained policy is judged
VALUE_ERROR, SUCCESS = 0.2, 0.8  # relative error of a value; share of actions within a tenth of the best one

SMALL: Mapping[str, Mapping[str, Any]] = {
    "finetune": {
        "start": "scratch",
        "data": "iterate",
        "steps": 40 * 256,
        "collect.envs": 32,
        "collect.steps": 8,
        "policy.hidden": 16,
        "policy.layers": 2,
        "critic.hidden": 16,
        "critic.layers": 2,
        "gamma": 0.5,
        "optimizer.lr": 1e-2,
        "update.epochs": 8,
        "update.minibatches": 4,
        "update.target_kl": 10.0,
        "advantage.continuation": "current",
        "critic.initial": "fresh",
    },
    "tdmpc": {
        "model.size": 1,
        "model.episodic": True,
        "model.bin_limit": 2,
        "slices.size": 32,
        "slices.horizon": 1,
        "planner.horizon": 1,
        "planner.samples": 32,
        "planner.elites": 8,
        "planner.policy_plans": 8,
        "planner.iterations": 4,
        "steps": 1600,
        "collect.random_steps": 500,
        "collect.pretrain": 300,
        "collect.insert_every": 1,
        "collect.envs": 5,
        "optimizer.lr": 2e-3,
        "optimizer.encoder": 1,
        "target.slow_rate": 0.1,
        "discount": "fixed",
        "discount.gamma": 0.8,
    },
    "dreamer": {
        "model.deter": 64,
        "model.units": 32,
        "model.classes": 4,
        "model.latents": 8,
        "batch": 16,
        "length": 8,
        "train_ratio": 128,
        "steps": 1_200,
        "collect.envs": 4,
        "collect.random_steps": 200,  # the model knows rewards before the policy runs off to one side
        "learning.discount.horizon": 10,
        "learning.scales.returns_least": 0.1,  # the probes' returns are small: a scale of 1 would hide them
        "learning.imagination.horizon": 5,
        "optimizer.lr": 3e-3,
        "optimizer.actor_lr": 1e-3,
        "optimizer.warmup": 50,
    },
}
COMMON = {"collect.log_every": 100, "evaluation.every": 100, "evaluation.episodes": 4}


class Ability(NamedTuple):
    """What one probe said."""

    probe: ProbeName
    about: str
    expected: str
    found: str
    passed: bool | None  # None: this agent has nothing that the probe could ask


def probe(family: str, tree: Mapping[str, Any], names: Sequence[ProbeName] = ()) -> Iterator[Ability]:
    """Train the configuration on each probe (default: all) in turn and judge what it has learned."""
    for name in names or tuple(PROBES):
        config = read_config(family, _small(family, tree, name))
        with tempfile.TemporaryDirectory() as folder:
            agent = make_agent(config, Path(folder), 1, "cpu", lambda line: None)
            agent.prepare()
            while agent.step < agent.total:
                agent.iterate()
            yield judged(agent, name)


def judged(agent: Agent, name: ProbeName) -> Ability:
    """Actions against the best ones where they matter, else values against the true ones."""
    task = PROBES[name]
    if task.best is not None:
        with closing(Probe(name=name).make(WORLDS)) as env:
            share = float(play(agent.policy, env, 0, deterministic=True).success.mean())
        return Ability(name, task.about, "actions within 0.1 of the best", f"{share:.0%} of them", share >= SUCCESS)
    x = np.array(task.starts)
    found = agent.start_values(torch.as_tensor(task.seen(x), dtype=torch.float32)).numpy()
    if len(found) == 0:
        return Ability(name, task.about, "values", "the agent has none", None)
    expected = task.value(x, agent.gamma)
    passed = bool(np.all(np.abs(found - expected) <= VALUE_ERROR * np.maximum(np.abs(expected), 0.5)))
    return Ability(name, task.about, _numbers(expected), _numbers(found), passed)


def _numbers(values: np.ndarray) -> str:
    return "values " + ", ".join(f"{value:.2f}" for value in values)


def _small(family: str, tree: Mapping[str, Any], name: ProbeName) -> dict[str, Any]:
    """The recipe's tree on a probe and at a small size; settings of options that are not chosen are left out."""
    small = {**tree, "task": {"kind": "probe", "name": name}}
    settings = {**COMMON, **SMALL[family]}
    try:
        for _ in range(2):  # the first time chooses options, the second sets what belongs to them
            small = read_config(family, small).tree()
            for path, value in settings.items():
                _set(small, path, value)
        return read_config(family, small).tree()
    except UserError as error:
        raise UserError(f"this recipe cannot be made small enough for probes: {error}") from None


def _set(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path where the tree has it; a name chooses an option, unless it is chosen already."""
    *way, last = path.split(".")
    node: Any = tree
    for key in way:
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node:
        return
    if not isinstance(node[last], dict):
        node[last] = value
    elif node[last]["kind"] != value:
        node[last] = {"kind": value}
