"""PPO's learner written plainly: what single-file implementations do, for comparison of speed.

Separate tanh networks, one torch.distributions Normal per minibatch, unfused Adam, every statistic read out at every
step. Written from the algorithm's description, in the order in which CleanRL's continuous PPO takes its steps.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal


def layer(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """An orthogonal layer."""
    made = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(made.weight, gain)
    nn.init.zeros_(made.bias)
    return made


def network(inputs: int, outputs: int, gain: float) -> nn.Sequential:
    """Three tanh layers of 256."""
    hidden = [layer(inputs, 256, math.sqrt(2)), layer(256, 256, math.sqrt(2)), layer(256, 256, math.sqrt(2))]
    body = [module for linear in hidden for module in (linear, nn.Tanh())]
    return nn.Sequential(*body, layer(256, outputs, gain))


class PlainPpo(nn.Module):
    """Actor, critic and their update."""

    def __init__(self, obs: int, actions: int, minibatches: int = 32, epochs: int = 4) -> None:
        super().__init__()
        self.mean, self.value = network(obs, actions, 0.01 * math.sqrt(2)), network(obs, 1, math.sqrt(2))
        self.log_std = nn.Parameter(torch.full((1, actions), -0.5))
        self.minibatches, self.epochs = minibatches, epochs
        self.random = np.random.default_rng(0)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=3e-4, eps=1e-5)

    def judged(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, entropies and values."""
        normal = Normal(self.mean(obs), self.log_std.exp().expand(len(obs), -1))
        return normal.log_prob(action).sum(1), normal.entropy().sum(1), self.value(obs).view(-1)

    def update(self, obs: Tensor, action: Tensor, old: Tensor, advantage: Tensor, target: Tensor) -> list[float]:
        """Epochs of shuffled minibatches; returns the shares of clipped rows."""
        rows, size = np.arange(len(obs)), len(obs) // self.minibatches
        clipped = []
        for _ in range(self.epochs):
            self.random.shuffle(rows)
            for start in range(0, len(obs), size):
                at = rows[start : start + size]
                log_prob, entropy, value = self.judged(obs[at], action[at])
                log_ratio = log_prob - old[at]
                ratio = log_ratio.exp()
                with torch.no_grad():
                    kl = ((ratio - 1) - log_ratio).mean()
                    clipped.append(((ratio - 1).abs() > 0.2).float().mean().item())
                weighed = advantage[at]
                weighed = (weighed - weighed.mean()) / (weighed.std() + 1e-8)
                surrogate = torch.max(-weighed * ratio, -weighed * ratio.clamp(0.8, 1.2)).mean()
                loss = surrogate + 0.5 * 0.5 * ((value - target[at]) ** 2).mean() - 0.0 * entropy.mean()
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.parameters(), 0.5)
                self.optimizer.step()
                assert math.isfinite(kl.item())
        return clipped
