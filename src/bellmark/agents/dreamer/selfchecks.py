"""What the learner computes, against the same quantities computed a second time, independently, on the same rows.

A healthy learner agrees up to rounding, whatever its task, size and age: these numbers need no reference run.

Axes: T steps, B slices, H steps of a dream, N dreams, F features, S latents, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bellmark.agents.dreamer.agent import DreamerAgent
from bellmark.agents.dreamer.imagination import dream, judge
from bellmark.agents.dreamer.losses import Lesson, model_terms
from bellmark.agents.dreamer.world import Networks
from bellmark.nets.rssm import States
from bellmark.ops import categorical

LEAST = 1e-6
MOST_DREAMS = 64


def divergence_mismatch(agent: DreamerAgent, states: States, lesson: Lesson) -> Tensor:
    """Divergence that the loss reports against that of the prior which dreams draw from, relative, ()."""
    learning, nets = agent.config.learning, agent.nets
    reported = model_terms(nets, states, lesson, learning).kl["dyn"]
    posterior = states.probs_TSKB.movedim(0, 2).flatten(2)
    prior = nets.rssm.prior(states.deter_TDB.movedim(0, 1).flatten(1))
    per_latent = categorical.kl(posterior, prior, 1)
    own = (per_latent.sum(0) if learning.divergence.over_latents == "sum" else per_latent.mean(0)).mean()
    return (reported - own).abs() / (reported.abs() + own.abs() + LEAST)


def targets(agent: DreamerAgent, seen_FN: Tensor, seed: int) -> Mapping[str, Tensor]:
    """How far the learner's value targets are from eq. 7 written out here, and whether they carry a gradient.

    Args:
        seen_FN: states to dream from; the last of them are used.
    """
    nets, learning, device = agent.nets, agent.config.learning, seen_FN.device
    generator = torch.Generator(device).manual_seed(seed)
    dreamed = dream(nets, seen_FN[:, -MOST_DREAMS:], learning.imagination.horizon, generator)
    seen = dreamed.features_FHN.flatten(1)
    value = nets.value.mean_bin(seen, nets.bins).view(dreamed.features_FHN.shape[1:])
    with torch.enable_grad():
        worth = judge(nets, dreamed, value, learning, learning.discount.gamma)
    target, reference = worth.target_HN.detach(), _returns(nets, seen, value, agent)
    return {
        "value/target_error": (target - reference).abs().mean() / reference.abs().mean().clamp(min=LEAST),
        "value/target_gradient": target.new_tensor(float(worth.target_HN.requires_grad)),
    }


def _returns(nets: Networks, seen: Tensor, value_HN: Tensor, agent: DreamerAgent) -> Tensor:
    """Lambda returns of a dream, one step at a time from its end, (H, N)."""
    learning = agent.config.learning
    reward = nets.reward.mean_bin(seen, nets.bins).view_as(value_HN)
    alive = nets.continuation(seen).sigmoid().view_as(value_HN)
    discount = alive * learning.discount.continuation.discount(learning.discount.gamma)
    slow = nets.slow_value.mean_bin(seen, nets.bins).view_as(value_HN)
    worth, lambda_ = slow if learning.critic.target == "slow" else value_HN, learning.critic.lambda_
    following, returns = worth[-1], list[Tensor]()
    for step in range(len(value_HN) - 1, 0, -1):
        following = reward[step] + discount[step] * ((1 - lambda_) * worth[step] + lambda_ * following)
        returns.insert(0, following)
    return torch.stack(returns)
