"""Policies over choices and over numbers: what their network's outputs mean.

Axes: A choices or action dimensions. States are columns: outputs are (A, N) for choices, (2 A, N) for numbers.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from bellmark.ops import categorical


class Actor(Protocol):
    """A distribution over actions from a network's outputs."""

    @property
    def outputs(self) -> int:
        """Numbers per state that it reads."""
        ...

    def noise(self, steps: int, count: int, generator: torch.Generator) -> Tensor:
        """Random numbers for `draw`, of (steps, ..., count)."""
        ...

    def draw(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """Actions (A, N), without gradient."""
        ...

    def best(self, outputs: Tensor) -> Tensor:
        """The most likely action (A, N)."""
        ...

    def uniform(self, noise: Tensor) -> Tensor:
        """Uniformly random actions (A, N), whatever the network says."""
        ...

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        """(N,)."""
        ...

    def entropy(self, outputs: Tensor) -> Tensor:
        """(N,) in nats."""
        ...


class Chooser:
    """One of A choices, with a share of uniform."""

    def __init__(self, actions: int, unimix: float) -> None:
        self.outputs = self.actions = actions
        self._unimix = unimix

    def noise(self, steps: int, count: int, generator: torch.Generator) -> Tensor:
        """(steps, N) uniform."""
        return categorical.uniforms((steps, count), generator)

    def draw(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """One-hot."""
        return categorical.draw(self.probs(outputs), noise, 0)

    def best(self, outputs: Tensor) -> Tensor:
        """One-hot."""
        return categorical.mode(outputs, 0)

    def uniform(self, noise: Tensor) -> Tensor:
        """One-hot."""
        return categorical.one_hot((noise * self.actions).long(), self.actions, 0)

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        """ln p of the choice."""
        return (self.probs(outputs).log() * action).sum(0)

    def entropy(self, outputs: Tensor) -> Tensor:
        """-sum p ln p."""
        return categorical.entropy(self.probs(outputs), 0)

    def probs(self, outputs: Tensor) -> Tensor:
        """(A, N)."""
        return categorical.mixed(outputs, self._unimix, 0)


class Mover:
    """A normal per dimension: mean tanh, deviation between two bounds; what is beyond [-1, 1] the environment clips."""

    def __init__(self, actions: int, min_std: float, max_std: float) -> None:
        self.actions, self.outputs = actions, 2 * actions
        self._low, self._high = min_std, max_std

    def noise(self, steps: int, count: int, generator: torch.Generator) -> Tensor:
        """(steps, A, N) normal."""
        return torch.randn((steps, self.actions, count), generator=generator, device=generator.device)

    def draw(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """mean + std * noise."""
        mean, std = self.moments(outputs.detach())
        return mean + std * noise

    def best(self, outputs: Tensor) -> Tensor:
        """The mean."""
        return self.moments(outputs)[0]

    def uniform(self, noise: Tensor) -> Tensor:
        """In [-1, 1]: 2 Phi(noise) - 1."""
        return torch.erf(noise / math.sqrt(2))

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        """Density of the action before it is clipped."""
        mean, std = self.moments(outputs)
        return -(((action - mean) / std).square() / 2 + std.log() + 0.5 * math.log(2 * math.pi)).sum(0)

    def entropy(self, outputs: Tensor) -> Tensor:
        """ln std + (1 + ln 2 pi) / 2 per dimension."""
        return (self.moments(outputs)[1].log() + 0.5 * (1 + math.log(2 * math.pi))).sum(0)

    def moments(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Means and deviations, (A, N) each."""
        mean, spread = outputs.chunk(2)
        return mean.tanh(), self._low + (self._high - self._low) * (spread + 2.0).sigmoid()
