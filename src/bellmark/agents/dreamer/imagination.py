"""Dreams: one batched rollout of the world model under the policy, from all states at once, and what it is worth.

Nothing here has a gradient: the policy learns by REINFORCE and its outputs are computed anew, all states in one batch.

Axes: H steps, N dreams, D recurrent state, S latents, K classes, A action, F features. States are columns.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bellmark.agents.dreamer.learning import Learning
from bellmark.agents.dreamer.world import Networks
from bellmark.ops import categorical
from bellmark.ops.lambda_return import lambda_return


class Dream(NamedTuple):
    """H steps from N states: row 0 are the states dreams began at."""

    features_FHN: Tensor  # (F, H + 1, N)
    action_AHN: Tensor  # (A, H, N), taken at row h, leading to row h + 1


class Worth(NamedTuple):
    """What a dream is worth to the policy that dreamed it."""

    reward: Tensor  # (H + 1, N), row 0 unused
    alive: Tensor  # (H + 1, N), continuation
    value_HN: Tensor  # from which returns bootstrap and which advantages are measured against
    target_HN: Tensor  # lambda returns
    weight_HN: Tensor  # probability that the dream has got to this row
    slow_HN: Tensor  # the slow critic's values

    def lessons(self) -> tuple[Tensor, Tensor, Tensor]:
        """Targets, the slow critic's values and weights, (H N,) each."""
        return self.target_HN.flatten(), self.slow_HN.flatten(), self.weight_HN.flatten()


WEIGHTS = {
    "continue": lambda alive: alive.cumprod(0),
    "one": torch.ones_like,
}


@torch.no_grad()
def dream(nets: Networks, start_FN: Tensor, horizon: int, generator: torch.Generator) -> Dream:
    """Roll the model forward from N states; actions come from the policy, latents from the prior."""
    rssm, count = nets.rssm, start_FN.shape[1]
    uniform = categorical.uniforms((horizon, rssm.latents, count), generator)
    noise = nets.actor.noise(horizon, count, generator)
    seen = start_FN.new_empty(horizon + 1, count, len(start_FN))  # rows: the heads' first layers read them so
    actions = start_FN.new_empty(nets.actions, horizon, count)
    seen[0] = start_FN.t()
    imagine = rssm.imagination(count)
    for h in range(horizon):
        here, there = seen[h].t(), seen[h + 1].t()
        actions[:, h] = action = nets.actor.draw(nets.policy(here), noise[h])
        imagine(here, action, uniform[h], there)
    return Dream(seen.permute(2, 0, 1), actions)


@torch.no_grad()
def judge(nets: Networks, dreamed: Dream, value: Tensor, learning: Learning, gamma: float) -> Worth:
    """Rewards, continuation and values along a dream, and the returns they make (Hafner et al. 2025, eq. 7).

    Args:
        value: (H + 1, N) of the online critic, computed once for the loss as well.
    """
    seen, critic = dreamed.features_FHN.flatten(1), learning.critic
    discount = learning.discount.continuation.discount(gamma)
    reward = nets.reward.mean_bin(seen, nets.bins).view_as(value)
    alive = nets.continuation(seen).sigmoid().view_as(value)
    slow = nets.slow_value.mean_bin(seen, nets.bins).view_as(value)
    base = {"online": value, "slow": slow}[critic.target]
    target = lambda_return(reward, alive * discount, critic.lambda_, base)
    weight = WEIGHTS[learning.imagination.weights](alive * discount) / discount
    return Worth(reward, alive, base[:-1], target, weight[:-1], slow[:-1])
