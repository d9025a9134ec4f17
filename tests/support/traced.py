"""What can be observed of a small learner, as numbers: two are equal where nothing they do differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch

from bellmark.agents.api import Batch, Learner

LAST_STEP = 100
Trace = dict[str, list[float]]


class Small(Learner, Protocol):
    """A learner whose networks and task are at hand."""

    nets: Any
    spec: Any


T = TypeVar("T", bound=Small)


def traced(made: T, batch: Callable[[T, int], Batch], updates: int) -> Trace:
    """Everything observable of a few updates spread over a run, and of what the agent does before and after them."""
    seen: Trace = {
        "window": [float(x) for x in made.window],
        "schedule": [float(x) for x in made.schedule],
        "blank": [float(x) for v in made.blank.values() for x in v.flatten()],
    }
    for count in range(updates):
        metrics, writeback = made.update(batch(made, count), LAST_STEP * count // (updates - 1))
        for name, value in metrics.items():
            seen.setdefault(name, []).append(float(value))
        if writeback is not None:
            seen.setdefault("writeback", []).extend(float(v.sum()) for v in writeback.values.values())
            seen["writeback"] += writeback.rows.tolist()
    for deterministic in (True, False):
        seen[f"act {deterministic}"] = acted(made, deterministic)
    seen["parameters"] = [float(p.double().sum()) for p in made.nets.state_dict().values()]
    return seen


def acted(made: Small, deterministic: bool) -> list[float]:
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
        found += [float(x) for v in decision.extras.values() for x in v.nan_to_num().flatten()]
    return found


def shaken(made: T) -> T:
    """The agent with random weights where they start at zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in made.nets.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return made
