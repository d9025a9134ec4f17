"""Probe environments solved in seconds: values, discount, policy, policy from observations.

Two probes say nothing here. `discount` under imagined targets: ends are read off the latent a step leads to, and both
its steps lead to the same one. `terminal`: its observations are multiples of one another, which the LayerNorm of an
encoder without biases yet maps to one latent, so that telling them apart takes longer than a test may.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bellmark.agents.tdmpc.agent import TdmpcAgent
from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.config import build
from bellmark.envs.probe import PROBES, ProbeName
from bellmark.train.evaluate import play
from bellmark.train.online import Online
from bellmark.train.worlds import spec_of

pytestmark = pytest.mark.usefixtures("tiny")
UPDATES = 300
SMALL = (
    "model.size=1", "model.episodic=true", "slices.size=32", "slices.horizon=1", "planner.horizon=1",
    "planner.samples=32", "planner.elites=8", "planner.policy_plans=8", "planner.iterations=4", "steps=1000",
    "collect.random_steps=500", f"collect.pretrain={UPDATES}", "collect.insert_every=1", "optimizer.lr=5e-3",
    "model.bin_limit=2",
    "optimizer.encoder=1", "target.slow_rate=0.1", "model.critic.dropout=0", "evaluation.every=500", "discount=fixed",
    "discount.gamma=0.9", "collect.envs=5",
)  # fmt: skip
KINDS = {
    "tdmpc2": (),
    "bmpc": ("model.critic=state", "model.policy=clipped", "target=imagined", "policy.improvement=distillation"),
    "gradient": ("model.critic=state", "target=imagined", "model.dynamics.heads=2", "target.heads.values=local"),
}


def learned(probe: ProbeName, kind: str, folder: Path) -> Online:
    """A learner after its first burst of updates on random steps."""
    options = (*KINDS[kind], "task=probe", f"task.name={probe}")
    config = build(Tdmpc, {}, [*options, *SMALL])
    env = config.task.make(config.collect.envs)
    online = Online(config, TdmpcAgent(config, spec_of(env), "cpu"), env, folder, "cpu")
    while online.updates < UPDATES:
        online.iterate()
    return online


def value(online: Online, x: Tensor) -> Tensor:
    """What the agent thinks numbers (K, 1) are worth under its policy."""
    agent = online.learner
    assert isinstance(agent, TdmpcAgent)
    with torch.no_grad():
        z = agent.nets.world.encode(x)
        action = agent.nets.world.policy.act(z, torch.zeros(len(x), 1))
        return agent.nets.world.critic(z, action).mean(0)


slow = pytest.mark.slow
VALUES = [
    pytest.param("tdmpc2", "discount", [0.0, 1.0]),
    pytest.param("tdmpc2", "constant", [0.0], marks=slow),
    pytest.param("tdmpc2", "from-obs", [-1.0, 1.0], marks=slow),
    pytest.param("bmpc", "constant", [0.0], marks=slow),
    pytest.param("bmpc", "from-obs", [-1.0, 1.0]),
    pytest.param("gradient", "from-obs", [-1.0, 1.0], marks=slow),
]
POLICIES = [
    pytest.param("gradient", "policy-from-obs"),
    pytest.param("tdmpc2", "policy-from-obs", marks=slow),
    pytest.param("bmpc", "policy-from-obs", marks=slow),
    pytest.param("tdmpc2", "policy", marks=slow),
    pytest.param("bmpc", "policy", marks=slow),
]


@pytest.mark.parametrize(("kind", "probe", "starts"), VALUES)
def test_values(kind: str, probe: ProbeName, starts: list[float], tmp_path: Path) -> None:
    found = value(learned(probe, kind, tmp_path), torch.tensor(starts)[:, None])
    x = torch.tensor(starts).double().numpy()
    assert found.tolist() == pytest.approx(PROBES[probe].value(x, 0.9).tolist(), rel=0.2)


@pytest.mark.parametrize(("kind", "probe"), POLICIES)
def test_policies(kind: str, probe: ProbeName, tmp_path: Path) -> None:
    online = learned(probe, kind, tmp_path)
    worlds = online.config.task.make(20)  # type: ignore[attr-defined]
    episodes = play(online.policy, worlds, seed=1, deterministic=True)
    assert episodes.returns.mean() > 0.95  # 1 is the best; always the same extreme action gets -0.25
