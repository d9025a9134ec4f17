"""Rollouts as rows to regress on: what a critic's own training sees.

Axes: T time, N environments, B = T N rows, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bellmark import ops
from bellmark.agents.api import Watch, nobody
from bellmark.nets.fused_adam import cut_and_step

if TYPE_CHECKING:
    from bellmark.agents.finetune.rollout import Rollout


@dataclass(frozen=True)
class Transitions:
    """Rows (B, ...): n-step rewards, where they lead, and the Monte-Carlo return from each row."""

    obs_BO: Tensor
    action_BA: Tensor
    reward_B: Tensor  # discounted sum of the next n rewards, or of fewer where the episode or the data ends
    discount_B: Tensor  # what the value of `next_obs_BO` counts: gamma^m, 0 after a terminal step
    next_obs_BO: Tensor
    return_B: Tensor  # discounted rewards to the end of the episode, nothing after the end of the data

    def __len__(self) -> int:
        return len(self.obs_BO)

    def take(self, rows: Tensor) -> Transitions:
        """The indexed rows."""
        return Transitions(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @staticmethod
    def concatenate(parts: Sequence[Transitions]) -> Transitions:
        """The rows of all parts."""
        names = Transitions.__dataclass_fields__
        return Transitions(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def transitions(rollout: Rollout, gamma: float, n: int, time_limit: str) -> Transitions:
    """Every row of a rollout; `time_limit` is "bootstrap", or "terminal" to count time limits as ends of the task."""
    ended = {"bootstrap": rollout.terminated_TN, "terminal": rollout.done_TN}[time_limit]
    reward_TN, last_TN = ops.returns.n_step(rollout.reward_TN, rollout.done_TN, n, gamma)
    rows_TN = torch.arange(len(reward_TN))[:, None].expand_as(last_TN)
    discount_TN = gamma ** (last_TN - rows_TN + 1).float() * (~ended.gather(0, last_TN)).float()
    at = last_TN[..., None].expand_as(rollout.next_obs_TNO)
    nothing = torch.zeros(reward_TN.shape[1])
    return_TN = ops.returns.discounted(rollout.reward_TN, rollout.done_TN, nothing, gamma)
    columns = (
        rollout.obs_TNO,
        rollout.action_TNA,
        reward_TN,
        discount_TN,
        rollout.next_obs_TNO.gather(0, at),
        return_TN,
    )
    return Transitions(*(column.flatten(0, 1) for column in columns))


def minibatches(
    size: int, batch: int, epochs: int, generator: torch.Generator, watch: Watch = nobody
) -> Iterator[Tensor]:
    """Row indices of every gradient step: `epochs` shuffled passes in parts of `batch`, the last one maybe smaller."""
    for epoch in range(epochs):
        watch(epoch / epochs)
        yield from torch.randperm(size, generator=generator).split(batch)


def fit(
    loss: Callable[[Tensor], Tensor],
    parameters: list[torch.nn.Parameter],
    rows: Iterator[Tensor],
    lr: float,
    max_norm: float = 0.5,
) -> float:
    """Adam on `loss(rows)` over all minibatches; returns the last loss."""
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)
    value = torch.zeros(())
    with torch.enable_grad():
        for batch in rows:
            value = loss(batch)
            value.backward()
            cut_and_step(optimizer, max_norm)
    return float(value.detach())
