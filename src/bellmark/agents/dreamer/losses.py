"""The terms of the loss, in the paper's order (Hafner et al. 2025, eqs. 5, 10, 11; `dreamerv3/agent.py`).

Axes: T steps, B slices, H steps of a dream, N dreams, D recurrent state, S latents, K classes or bins. States are
columns.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bellmark.agents.api import Batch
from bellmark.agents.dreamer.imagination import Dream, Worth
from bellmark.agents.dreamer.learning import Critic, Divergence, Learning
from bellmark.agents.dreamer.world import Networks, features
from bellmark.nets.rssm import States
from bellmark.ops import categorical
from bellmark.ops.lambda_return import lambda_return
from bellmark.ops.two_hot import cross_entropy
from bellmark.ops.two_targets import cross_entropy_two

Terms = dict[str, Tensor]
OVER_LATENTS = {"sum": lambda kl: kl.sum(0), "mean": lambda kl: kl.mean(0)}


class Lesson(NamedTuple):
    """T rows of B slices as the model learns from them: the action is the one that *led to* the observation."""

    obs_TBO: Tensor
    action_TBA: Tensor
    reward_TB: Tensor
    terminated_TB: Tensor
    first_TB: Tensor
    last_TB: Tensor  # the row ends its episode; unknown, hence False, in the last row of a slice
    deter: Tensor  # (D, B) before the first row
    stoch: Tensor  # (S, K, B)
    rows_TB: Tensor


class Model(NamedTuple):
    """World-model terms, each (), and the divergence before the clip of free bits."""

    terms: Terms
    kl: Terms


def model_terms(nets: Networks, states: States, lesson: Lesson, learning: Learning) -> Model:
    """Reconstruction, reward, continuation and the two divergences."""
    posterior, shape = states.probs_TSKB.movedim(0, 2).flatten(2), lesson.reward_TB.shape
    seen = features(states.deter_TDB, states.stoch_TSKB)
    alive = learning.discount.continuation.target((~lesson.terminated_TB).to(lesson.reward_TB), learning.discount.gamma)
    kl = divergences(posterior, nets.rssm.prior(seen[: nets.rssm.deter]), learning.divergence)
    free = learning.divergence.free
    return Model(
        {
            "rec": nets.decoder.loss(seen, lesson.obs_TBO.flatten(0, 1)).mean(),
            "rew": cross_entropy(nets.bins, nets.reward.rows(seen), lesson.reward_TB.flatten()).mean(),
            "con": F.binary_cross_entropy_with_logits(nets.continuation(seen).view(shape), alive),
            "dyn": free.of(kl["dyn"]).mean(),
            "rep": free.of(kl["rep"]).mean(),
        },
        {name: value.detach().mean() for name, value in kl.items()},
    )


def divergences(posterior: Tensor, prior: Tensor, chosen: Divergence) -> Terms:
    """KL(posterior || prior) of N states from (S, K, N): `dyn` teaches the prior alone, `rep` the posterior."""
    over = OVER_LATENTS[chosen.over_latents]
    return {
        "dyn": over(categorical.kl(posterior.detach(), prior, 1)),
        "rep": over(categorical.kl(posterior, prior.detach(), 1)),
    }


def policy_term(
    nets: Networks, dreamed: Dream, worth: Worth, advantage_HN: Tensor, coef: float
) -> tuple[Tensor, Tensor]:
    """REINFORCE with an entropy bonus, () each: the term, and the policy's mean entropy.

    Args:
        advantage_HN: scaled.
        coef: weight of the entropy.
    """
    outputs = nets.policy(dreamed.features_FHN.flatten(1)[:, : advantage_HN.numel()])  # the last row's is not learned
    log_prob = nets.actor.log_prob(outputs, dreamed.action_AHN.flatten(1)).view_as(advantage_HN)
    entropy = nets.actor.entropy(outputs).view_as(advantage_HN)
    return -(worth.weight_HN * (log_prob * advantage_HN + coef * entropy)).mean(), entropy.detach().mean()


def value_term(nets: Networks, logits: Tensor, target: Tensor, slow: Tensor, weight: Tensor, chosen: Critic) -> Tensor:
    """Cross entropy against the returns and against the slow critic's means, (): all (N,), logits (N, K)."""
    return (weight * cross_entropy_two(nets.bins, logits, target, slow, chosen.slow_weight)).mean()


def replayed_term(nets: Networks, seen: Tensor, lesson: Lesson, boot_TB: Tensor, learning: Learning) -> Tensor:
    """Values regress to lambda returns of replayed rewards, bootstrapped with the dreamed return at the same state, ().

    A real end is worth nothing; an episode that was cut, or left by the slice, is worth its last row's bootstrap.
    """
    critic, gamma = learning.critic, learning.discount.gamma
    seen = seen[:, : -boot_TB.shape[1]]  # nothing follows the last row
    logits = nets.value.rows(seen if critic.into_model else seen.detach())
    with torch.no_grad():
        alive, going = ((~cut).to(lesson.reward_TB) for cut in (lesson.terminated_TB, lesson.last_TB))
        target = lambda_return(lesson.reward_TB, alive * gamma, going * critic.lambda_, boot_TB)
        slow = nets.slow_value.mean_bin(seen, nets.bins)
    return value_term(nets, logits, target.flatten(), slow, going[:-1].flatten(), critic)


def lesson_of(batch: Batch, context: int, classes: int) -> Lesson:
    """Shift actions to the observation they led to, and begin at the latents stored in the row before the first.

    Without context, slices begin at nothing, after no action.
    """
    deter, stoch = batch.extras["deter"][0].to(batch.reward).t(), batch.extras["stoch"][0].long().t()
    led = torch.cat((torch.zeros_like(batch.action[:1]), batch.action[:-1]))
    ends = torch.cat((batch.first[1:], torch.zeros_like(batch.first[:1]))) | batch.terminated
    return Lesson(
        obs_TBO=batch.obs[context:],
        action_TBA=led[context:],
        reward_TB=batch.reward[context:],
        terminated_TB=batch.terminated[context:],
        first_TB=batch.first[context:],
        last_TB=ends[context:],
        deter=deter * context,
        stoch=categorical.one_hot(stoch, classes, 1) * context,
        rows_TB=batch.rows[context:],
    )
