"""Measurements of the finetune family on rows that nobody learns from. Axes: T steps, B slices, A action."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bellmark.agents.api import Batch, Behaviour
from bellmark.agents.finetune.agent import FinetuneAgent
from bellmark.nets.groups import sizes


class FinetuneInstruments:
    """Looks at an agent without touching its random state."""

    def __init__(self, agent: FinetuneAgent) -> None:
        self._agent, self._policy = agent, agent.policy

    @torch.no_grad()
    def behaviour(self, rows: Batch) -> Behaviour:
        """The policy's means and deviations."""
        obs = rows.obs.flatten(0, 1)
        mean = self._policy.sample(obs, torch.zeros(len(obs), self._policy.log_std.shape[-1]))
        return Behaviour(mean, self._policy.log_std.exp().expand_as(mean))

    def measure(self, rows: Batch) -> Mapping[str, Tensor]:
        """How large policy, and a critic trained with it, are, and how far a step moves them."""
        parts = {"policy": list(self._policy.parameters()), "critic": list(self._agent.critic.joint_parameters())}
        asked = [sizes(self._agent.optimizer, name, mine) for name, mine in parts.items() if mine]
        return {name: value for part in asked for name, value in part.items()}
