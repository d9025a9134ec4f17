"""Small dreamer agents and made-up batches for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bellmark.agents.api import Batch, Spec
from bellmark.agents.dreamer.agent import DreamerAgent
from bellmark.agents.dreamer.config import Dreamer
from bellmark.config import build

SPEC = Spec(obs_shape=(4,), pixels=False, actions=2, discrete=True, horizon=50, action_repeat=1)
CONTINUOUS = SPEC._replace(discrete=False)
PICTURES = SPEC._replace(obs_shape=(16, 16, 3), pixels=True)
LAST_STEP = 100
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


def trace(made: DreamerAgent, updates: int = 4) -> dict[str, list[float]]:
    """Everything observable of a few updates spread over a run, and of what the agent does before and after them."""
    seen: dict[str, list[float]] = {
        "window": [float(x) for x in made.window],
        "schedule": [float(x) for x in made.schedule],
        "blank": [float(x) for v in made.blank.values() for x in v.flatten()],
    }
    for count in range(updates):
        metrics, writeback = made.update(batch(made, count), LAST_STEP * count // (updates - 1))
        for name, value in metrics.items():
            seen.setdefault(name, []).append(float(value))
        assert writeback is not None
        seen.setdefault("writeback", []).extend(float(v.sum()) for v in writeback.values.values())
        seen["writeback"] += writeback.rows.tolist()
    for deterministic in (True, False):
        seen[f"act {deterministic}"] = acted(made, deterministic)
    seen["parameters"] = [float(p.double().sum()) for p in made.nets.state_dict().values()]
    return seen


def acted(made: DreamerAgent, deterministic: bool) -> list[float]:
    """Three decisions in two worlds, with what they leave."""
    generator = torch.Generator().manual_seed(7)
    state: Any = made.policy.initial(2)
    found: list[float] = []
    for step in range(3):
        obs = torch.randn(2, *made.spec.obs_shape, generator=generator)
        decision = made.policy.act(
            obs, torch.full((2,), step == 0), state, deterministic=deterministic, generator=generator
        )
        state = decision.state
        found += decision.action.flatten().tolist()
        found += [float(x) for v in decision.extras.values() for x in v.flatten()]
    return found


def shaken(made: DreamerAgent) -> DreamerAgent:
    """The agent with random weights where they start at zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in made.nets.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return made
