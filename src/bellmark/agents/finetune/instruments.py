"""Measurements of the finetune family on rows that nobody learns from. Axes: T steps, B slices, A action."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bellmark.agents.api import Batch, Behaviour
from bellmark.agents.finetune.agent import FinetuneAgent
from bellmark.nets.groups import update_ratio


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
        """How far a gradient step moves the policy, and a critic that is trained with it: there is no model to ask."""
        parts = {"policy": self._policy.parameters(), "critic": self._agent.critic.joint_parameters()}
        ratios = {name: update_ratio(self._agent.optimizer, list(mine)) for name, mine in parts.items()}
        return {f"update_ratio/{name}": ratio for name, ratio in ratios.items() if ratio is not None}
