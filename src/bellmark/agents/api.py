"""The small protocol between an agent and the loop that runs it, and the settings every family's run has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from bellmark.config import Config, knob

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Metrics = dict[str, float]


class Evaluation(Config):
    """When and how a policy is judged: fixed start states, first episodes only, deterministic and sampled actions."""

    every: int = knob(
        5_000, "real environment steps between evaluations; also before the first and after the last", ge=1
    )
    episodes: int = knob(128, "episodes per evaluation and mode, each from its own fixed start state", ge=1)
    seed: int = knob(90_001, "seed of the start states, shared by all runs so that evaluations are paired", ge=0)


class Checkpoints(Config):
    """What is kept on disk besides the last and the best checkpoint."""

    seconds: float = knob(15.0, "at the end of an iteration, save when this much time has passed", unit="s", ge=0)
    every: int = knob(0, "also keep one each time this many real steps have passed; 0 keeps last and best only", ge=0)


class Policy(Protocol):
    """What an evaluation needs of an agent."""

    def act(self, obs: Tensor, *, deterministic: bool, generator: torch.Generator) -> Tensor:
        """Observations (B, *obs) to actions (B, A), not clipped."""
        ...


class Agent(Protocol):
    """What the run loop relies on."""

    step: int  # real environment steps so far

    @property
    def policy(self) -> Policy:
        """The policy as it is now."""
        ...

    def iterate(self) -> Metrics:
        """Collect, estimate, update: one round of the family's algorithm."""
        ...

    def steps_taken(self) -> Metrics:
        """The step counters of the metric vocabulary: `steps/real` and whatever else the family spends."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that decides the future: parameters, optimisers, random state, environments, counters."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue as the agent that was saved would have, bit for bit on the same machine."""
        ...
