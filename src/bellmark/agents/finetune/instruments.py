"""Measurements of the finetune family on rows that nobody learns from. Axes: T steps, B slices, A action."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bellmark.agents.api import Batch, Behaviour
from bellmark.agents.finetune.agent import FinetuneAgent


class FinetuneInstruments:
    """Looks at an agent without touching its random state."""

    def __init__(self, agent: FinetuneAgent) -> None:
        self._policy = agent.policy

    @torch.no_grad()
    def behaviour(self, rows: Batch) -> Behaviour:
        """The policy's means and deviations."""
        obs = rows.obs.flatten(0, 1)
        mean = self._policy.sample(obs, torch.zeros(len(obs), self._policy.log_std.shape[-1]))
        return Behaviour(mean, self._policy.log_std.exp().expand_as(mean))

    def measure(self, rows: Batch) -> Mapping[str, Tensor]:
        """Nothing beyond what its updates report: there is no model."""
        return {}
