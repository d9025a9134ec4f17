"""Small dreamer agents and made-up batches for tests."""

from __future__ import annotations

import torch
from torch import Tensor
from traced import Trace, traced

from bellmark.agents.api import Batch, Spec
from bellmark.agents.dreamer.agent import DreamerAgent
from bellmark.agents.dreamer.config import Dreamer
from bellmark.config import build

SPEC = Spec(obs_shape=(4,), pixels=False, actions=2, discrete=True, horizon=50, action_repeat=1)
CONTINUOUS = SPEC._replace(discrete=False)
PICTURES = SPEC._replace(obs_shape=(16, 16, 3), pixels=True)
NETWORKS = (
    "model.size=1m", "model.deter=16", "model.units=8", "model.classes=3", "model.depth=2", "model.latents=4",
)  # fmt: skip
SMALL = (
    *NETWORKS, "steps=100", "batch=3", "length=5", "learning.imagination.horizon=4", "optimizer.warmup=2",
    "optimizer.lr=1e-3", "collect.random_steps=10",
)  # fmt: skip
BASES: dict[str, tuple[str, ...]] = {  # between them, every option can be chosen and every knob makes a difference
    "published": (),
    "protocol": (
        "model.cell=independent", "model.norm=none", "model.posterior=encoder",
        "learning.discount.continuation=outside", "learning.divergence.free=straight_through",
        "learning.critic.target=slow", "gating=gated",
        "gating.focus=on", "gating.rate=surprise", "gating.ratio=cosine", "optimizer.clipping=norm",
        "learning.entropy=cosine", "optimizer.course=cosine",
    ),
    "numbers": ("learning.scales.advantages=deviation", "learning.imagination.last=3", "evaluation.latents=mode"),
    "pictures": ("model.units=6",),
}  # fmt: skip
SPECS = {"published": SPEC, "protocol": SPEC, "numbers": CONTINUOUS, "pictures": PICTURES}


def config(*overrides: str, base: str = "published") -> Dreamer:
    """A small configuration on one of the bases; options are chosen before knobs are set."""
    return build(Dreamer, {}, [*SMALL, *BASES[base], *sorted(overrides, key=lambda o: o.partition("=")[0].count("."))])


def agent(*overrides: str, base: str = "published", spec: Spec | None = None) -> DreamerAgent:
    """A small agent."""
    return DreamerAgent(config(*overrides, base=base), spec or SPECS[base], "cpu")


def batch(made: DreamerAgent, seed: int = 0) -> Batch:
    """Random slices of the shape an agent asks for, with ends, resets and stored states among them."""
    generator = torch.Generator().manual_seed(seed)
    shape = (made.window.length, made.window.batch)
    actions, spec = made.spec.actions, made.spec

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*shape, *sizes, generator=generator)

    def choices(count: int, *sizes: int) -> Tensor:
        return torch.randint(count, (*shape, *sizes), generator=generator)

    first = normal() > 1.2
    ends = torch.cat((first[1:], torch.zeros_like(first[:1]))) & (normal() > -0.5)
    rssm = made.nets.rssm
    return Batch(
        obs=choices(256, *spec.obs_shape).to(torch.uint8) if spec.pixels else normal(*spec.obs_shape),
        action=torch.nn.functional.one_hot(choices(actions), actions).to(torch.get_default_dtype())
        if spec.discrete
        else normal(actions),
        reward=normal().masked_fill(first, 0.0),
        terminated=ends,
        first=first,
        extras={
            "deter": normal(rssm.deter).tanh().half(),
            "stoch": choices(rssm.classes, rssm.latents).to(torch.uint8),
        },
        rows=torch.arange(shape[0] * shape[1]).view(shape),
    )


def trace(made: DreamerAgent, updates: int = 4) -> Trace:
    """Everything observable of a few updates on made-up batches."""
    seen = traced(made, batch, updates)
    assert "writeback" in seen  # every update gives replay its fresh latents
    return seen
