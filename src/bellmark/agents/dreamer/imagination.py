"""Dreams: one batched rollout of the world model under the policy, from all states at once, and what it is worth.

Nothing here has a gradient: the policy learns by REINFORCE and its outputs are computed anew, all states in one batch.

Axes: H steps, N dreams, D recurrent state, S latents, K classes, A action, F features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bellmark.agents.dreamer.learning import Learning
from bellmark.agents.dreamer.world import Networks, features
from bellmark.ops import categorical
from bellmark.ops.lambda_return import lambda_return


class Dream(NamedTuple):
    """H steps from N states: rows 0 are the states dreams began at."""

    features_HNF: Tensor  # (H + 1, N, F)
    action_HNA: Tensor  # (H, N, A), taken at row h, leading to row h + 1


class Worth(NamedTuple):
    """What a dream is worth to the policy that dreamed it; all (H, N) unless said otherwise."""

    reward: Tensor  # (H + 1, N), row 0 unused
    alive: Tensor  # (H + 1, N), continuation
    value_HN: Tensor  # from which returns bootstrap and which advantages are measured against
    target_HN: Tensor  # lambda returns
    weight_HN: Tensor  # probability that the dream has got to this row
    slow_HN: Tensor  # the slow critic's values


WEIGHTS = {
    "continue": lambda continue_HN: continue_HN.cumprod(0),
    "one": torch.ones_like,
}


@torch.no_grad()
def dream(nets: Networks, deter: Tensor, stoch: Tensor, horizon: int, generator: torch.Generator) -> Dream:
    """Roll the model forward from (N, D) and (N, S, K); actions come from the policy, latents from the prior."""
    count = len(deter)
    latent_noise = categorical.noise((horizon, *stoch.shape), generator)
    action_noise = nets.actor.noise((horizon, count), generator)
    deter, stoch = deter.detach(), stoch.detach()
    rows, actions = [features(deter, stoch)], []
    for h in range(horizon):
        action = nets.actor.draw(nets.policy(rows[-1]), action_noise[h])
        deter = nets.rssm.step(deter, stoch, action)
        stoch = categorical.draw(nets.rssm.prior(deter), latent_noise[h])
        rows.append(features(deter, stoch))
        actions.append(action)
    return Dream(torch.stack(rows), torch.stack(actions))


@torch.no_grad()
def judge(nets: Networks, dreamed: Dream, value_logits: Tensor, learning: Learning, gamma: float) -> Worth:
    """Rewards, continuation and values along a dream, and the returns they make (Hafner et al. 2025, eq. 7).

    Args:
        value_logits: (H + 1, N, K) of the online critic, computed once for the loss as well.
    """
    seen, critic = dreamed.features_HNF, learning.critic
    discount = learning.discount.continuation.discount(gamma)
    reward = nets.bins.decode(nets.reward(seen))
    alive = nets.continuation(seen).squeeze(-1).sigmoid()
    slow = nets.bins.decode(nets.slow_value(seen))
    value = nets.bins.decode(value_logits)
    base = {"online": value, "slow": slow}[critic.target]
    target = lambda_return(reward, alive * discount, critic.lambda_, base)
    weight = WEIGHTS[learning.imagination.weights](alive * discount) / discount
    return Worth(reward, alive, base[:-1], target, weight[:-1], slow[:-1])
