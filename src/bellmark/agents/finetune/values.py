"""Regression of state and action values apart from the policy: n-step TD and Monte-Carlo returns."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bellmark.agents.finetune.networks import ActionValues, Critic, pair
from bellmark.agents.finetune.transitions import fit, minibatches, transitions

if TYPE_CHECKING:
    from bellmark.agents.finetune.critics import Lesson


def fit_td(
    critic: Critic, lesson: Lesson, n: int, epochs: int, batch_size: int, lr: float, *, ema: float
) -> dict[str, float]:
    """Regress V on r + ... + gamma^n V'(s_n), with V' a slow copy that moves by `ema` per gradient step."""
    data = transitions(lesson.rollout, lesson.gamma, n, "bootstrap")
    slow = copy.deepcopy(critic).requires_grad_(False)

    def loss(rows: Tensor) -> Tensor:
        with torch.no_grad():
            follow(slow, critic, ema)
            target = data.reward_B[rows] + data.discount_B[rows] * slow(data.next_obs_BO[rows])
        return critic.loss(data.obs_BO[rows], target)

    rows = minibatches(len(data), batch_size, epochs, lesson.generator)
    return {"loss/value": fit(loss, list(critic.parameters()), rows, lr)}


def fit_returns(critic: ActionValues, lesson: Lesson, epochs: int, batch_size: int, lr: float) -> dict[str, float]:
    """Regress V and every Q on the returns that were seen."""
    data = transitions(lesson.rollout, lesson.gamma, 1, "bootstrap")

    def loss(rows: Tensor) -> Tensor:
        inputs, target = pair(data.obs_BO[rows], data.action_BA[rows]), data.return_B[rows]
        return critic.v.loss(data.obs_BO[rows], target) + sum(
            (q.loss(inputs, target) for q in critic.networks), torch.zeros(())
        )

    trained = [p for p in critic.parameters() if p.requires_grad]
    value = fit(loss, trained, minibatches(len(data), batch_size, epochs, lesson.generator), lr)
    critic.slow_q.load_state_dict(critic.q.state_dict())
    return {"loss/value": value}


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, rate: float) -> None:
    """slow <- slow + rate (fast - slow), parameter by parameter."""
    torch._foreach_lerp_(list(slow.parameters()), list(fast.parameters()), rate)


@torch.no_grad()
def reset(network: nn.Module, generator: torch.Generator) -> None:
    """Random weights again: orthogonal of gain sqrt 2, biases zero, as value networks begin."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, math.sqrt(2), generator=generator)
            nn.init.zeros_(layer.bias)
