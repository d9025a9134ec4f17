"""Small tdmpc agents and made-up batches for tests."""

from __future__ import annotations

import torch
from torch import Tensor
from traced import Trace, traced

from bellmark.agents.api import Batch, Spec
from bellmark.agents.tdmpc.agent import TdmpcAgent
from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.agents.tdmpc.losses import roll_out
from bellmark.agents.tdmpc.model import Sizes
from bellmark.agents.tdmpc.policies import Practice
from bellmark.agents.tdmpc.slices import SLICES
from bellmark.config import build

TINY = Sizes(encoder_width=16, encoder_layers=2, width=16, latent=16, values=3)  # stands in for size 1
SPEC = Spec(obs_shape=(5,), pixels=False, actions=2, discrete=False, horizon=50, action_repeat=2)
SMALL = (
    "model.size=1", "steps=100", "slices.size=8", "planner.samples=16", "planner.elites=6", "planner.policy_plans=4",
    "planner.iterations=2", "collect.random_steps=10", "collect.pretrain=1", "loss.encoder_from=0",
)  # fmt: skip
BASES: dict[str, tuple[str, ...]] = {  # between them, every option can be chosen and every knob makes a difference
    "tdmpc2": (),
    "bmpc": (
        "model.critic=state", "model.policy=clipped", "target=imagined", "policy.improvement=distillation",
        "reanalysis=lazy", "reanalysis.interval=2", "reanalysis.states=12",
    ),
    "ensemble": (
        "model.critic=state", "target=imagined", "model.dynamics.heads=2", "model.reward.heads=2",
        "model.dynamics.prior_scale=1", "model.reward.prior_scale=1", "model.critic.prior_scale=1",
        "planner.optimism_train=0.5", "planner.optimism_eval=-0.5", "policy.explorer=optimist",
        "target.heads.coef=0.2", "auxiliary=joint", "policy.trust=0.5", "loss.encoder=1", "target.policy=slow",
        "slices.hot=2", "optimizer.by_heads=true", "model.episodic=true", "target.rollouts=2", "cadence.world=2",
    ),
}  # fmt: skip


def config(*overrides: str, base: str = "tdmpc2") -> Tdmpc:
    """A small configuration on one of the bases; options are chosen before knobs are set."""
    return build(Tdmpc, {}, [*SMALL, *BASES[base], *sorted(overrides, key=lambda o: o.partition("=")[0].count("."))])


def agent(*overrides: str, base: str = "tdmpc2", spec: Spec = SPEC) -> TdmpcAgent:
    """A small agent."""
    return TdmpcAgent(config(*overrides, base=base), spec, "cpu")


def batch(made: TdmpcAgent, seed: int = 0) -> Batch:
    """Random slices of the shape an agent asks for."""
    generator = torch.Generator().manual_seed(seed)
    shape = (made.window.length, made.window.batch)
    actions, (observations,) = made.spec.actions, made.spec.obs_shape

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*shape, *sizes, generator=generator)

    plan = torch.cat((normal(actions).tanh(), normal(actions).abs() + 0.1), -1)
    return Batch(
        obs=normal(observations),
        action=normal(actions).clamp(-1, 1),
        reward=normal(),
        terminated=normal() > 1.5,
        first=torch.zeros(shape, dtype=torch.bool),
        extras={"expert": plan},
        rows=torch.arange(shape[0] * shape[1]).view(shape),
    )


def trace(made: TdmpcAgent, updates: int = 4) -> Trace:
    """Everything observable of a few updates on made-up batches."""
    return traced(made, batch, updates)


def practice(made: TdmpcAgent) -> Practice:
    """What the losses of its policies are made from, on a made-up batch."""
    rollout = roll_out(made.nets.world, batch(made), later_gradient=False)
    data = SLICES["single"](rollout, batch(made))
    data = data._replace(z_TBL=data.z_TBL.detach())
    return Practice(
        nets=made.nets,
        data=data,
        config=made.config.policy,
        gamma=made.gamma,
        entropy=0.1,
        largest_std=made.config.planner.max_std,
        scales=made.scales,
        step_weights=made.step_weights,
        generator=made.generator,
    )
