"""Implicit Q-learning (Kostrikov et al. 2021) on a fixed set of rows.

Q towards r + ... + gamma^n V(s_n) by mean squared error, V towards the slow Q's expectile, the slow Q by Polyak
averaging, Adam with decay and a cosine to a thirtieth of the learning rate. A tenth of the rows is held out and
scores every epoch. Deviation from the paper, as in the user's scripts: one Q network unless `twins=2`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bellmark import ops
from bellmark.agents.finetune.networks import ActionValues, pair
from bellmark.agents.finetune.transitions import Transitions, minibatches, transitions
from bellmark.agents.finetune.values import follow, reset
from bellmark.nets.fused_adam import cut_and_step

if TYPE_CHECKING:
    from bellmark.agents.finetune.critics import Iql, Preparation
    from bellmark.agents.finetune.rollout import Rollout

HELD_OUT, MOST_HELD_OUT = 0.1, 10_000
MAX_NORM = 0.5
FLOOR = 1 / 30  # of the learning rate at the end of its cosine


def train(option: Iql, critic: ActionValues, rollouts: Sequence[Rollout], given: Preparation) -> dict[str, float]:
    """Train Q and V of `critic` in place; returns the metrics of the epoch kept."""
    if option.weights == "reset":
        reset(critic, given.generator)
        critic.slow_q.load_state_dict(critic.q.state_dict())
    best, best_epoch, kept, metrics = -math.inf, 0, copy.deepcopy(critic.state_dict()), {}
    epoch = 0
    for epoch, scores in enumerate(learn(option, critic, *parts(option, rollouts, given), given.generator), start=1):
        given.watch(epoch / option.epochs)
        score = SCORE[option.select](scores, epoch)
        if score > best:
            best, best_epoch, kept, metrics = score, epoch, copy.deepcopy(critic.state_dict()), scores
        elif epoch - best_epoch >= option.patience:
            break
    critic.load_state_dict(kept)
    return {**metrics, "critic/epochs": float(epoch), "critic/epoch_kept": float(best_epoch)}


def parts(option: Iql, rollouts: Sequence[Rollout], given: Preparation) -> tuple[Transitions, Transitions]:
    """The rows that are learned from, and those held out."""
    data = Transitions.concatenate([transitions(r, given.gamma, option.n, option.time_limit) for r in rollouts])
    order = torch.randperm(len(data), generator=given.generator)
    held = min(MOST_HELD_OUT, max(1, round(HELD_OUT * len(data))))
    return data.take(order[held:]), data.take(order[:held])


def learn(
    option: Iql, critic: ActionValues, data: Transitions, test: Transitions, generator: torch.Generator
) -> Iterator[dict[str, float]]:
    """Train `critic` in place, epoch by epoch; yields each epoch's scores on the held-out rows."""
    trained = [p for p in critic.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=option.lr, weight_decay=option.weight_decay, fused=True)
    for epoch in range(option.epochs):
        cosine = 0.5 * (1 + math.cos(math.pi * epoch / option.epochs))
        optimizer.param_groups[0]["lr"] = option.lr * (FLOOR + (1 - FLOOR) * cosine)
        for rows in minibatches(len(data), option.batch_size, 1, generator):
            gradient_step(critic, data.take(rows), option.expectile, optimizer)
            follow(critic.slow_q, critic.q, option.polyak)
        yield judge(critic, test, option.expectile)


# What a higher number of means a better epoch.
SCORE = {
    "last": lambda scores, epoch: float(epoch),
    "return_correlation": lambda scores, epoch: scores["critic/return_correlation"],
    "td_loss": lambda scores, epoch: -scores["critic/td_loss"],
}


def gradient_step(critic: ActionValues, batch: Transitions, expectile: float, optimizer: torch.optim.Adam) -> None:
    """One step on the losses of Q and V together: neither reaches the other's parameters."""
    with torch.enable_grad():
        loss_q, loss_v = losses(critic, batch, expectile)
        (loss_q + loss_v).backward()
    cut_and_step(optimizer, MAX_NORM)


def losses(critic: ActionValues, batch: Transitions, expectile: float) -> tuple[Tensor, Tensor]:
    """IQL eq. 6 (half the squared TD error of each Q, summed) and eq. 5 (the expectile loss of V)."""
    inputs = pair(batch.obs_BO, batch.action_BA)
    with torch.no_grad():
        target = batch.reward_B + batch.discount_B * critic.v(batch.next_obs_BO)
        slow = torch.stack([q(inputs) for q in critic.slow_q]).amin(0)
    loss_q = torch.stack([q.loss(inputs, target) for q in critic.networks]).sum()
    return loss_q, ops.returns.expectile_loss(slow - critic.v(batch.obs_BO), expectile)


@torch.no_grad()
def judge(critic: ActionValues, test: Transitions, expectile: float) -> dict[str, float]:
    """Scores on held-out rows: the TD losses, and how well Q ranks the returns that were seen (Spearman)."""
    loss_q, loss_v = losses(critic, test, expectile)
    q = critic.action_value(test.obs_BO, test.action_BA)
    return {
        "critic/td_loss": float(loss_q + loss_v),
        "critic/return_correlation": float(rank_correlation(q, test.return_B)),
        "value/mean": float(critic.v(test.obs_BO).mean()),
    }


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of two vectors; ties share their mean rank; 0 where one is constant."""
    ranks = torch.stack([_ranks(a), _ranks(b)])
    centred = ranks - ranks.mean(1, keepdim=True)
    spread = centred.square().sum(1).prod().sqrt()
    return torch.where(spread > 0, centred.prod(0).sum() / spread.clamp(min=1e-12), 0.0)


def _ranks(x: Tensor) -> Tensor:
    _, place, count = x.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    return (last - (count - 1) / 2)[place]
