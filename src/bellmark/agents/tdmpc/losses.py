"""The losses of the world model and of the values, written out.

Axes: T steps of a slice, P of the T + 1 positions, H dynamics heads, R reward heads, M value members, N rollouts,
G discounts, B slices, L latent, A action, K bins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bellmark import ops

if TYPE_CHECKING:
    from bellmark.agents.api import Batch
    from bellmark.agents.tdmpc.auxiliary import Transition
    from bellmark.agents.tdmpc.networks import Auxiliary
    from bellmark.agents.tdmpc.world import World
    from bellmark.ops.two_hot import Bins

# The weight of each of n steps in a loss, from rho^0 ... rho^(n-1).
OVER_TIME = {
    "mean": lambda powers: powers / len(powers),
    "unit": lambda powers: powers / powers.sum(),
    "unit_mean": lambda powers: powers / powers.sum() / len(powers),
}


class Rollout(NamedTuple):
    """What the model makes of a batch's slices."""

    z_THBL: Tensor  # (T + 1, H, B, L) every head's rollout from the encoding of the first observation
    encoded_TBL: Tensor  # (T + 1, B, L) encodings of all observations; only the first takes gradient
    later_TBL: Tensor  # (T, B, L) the later ones with gradient where the encoder learns from them, else without


def step_weights(rho: float, over_time: str, device: torch.device, steps: int) -> Tensor:
    """(steps,) what each step of a slice weighs."""
    powers = rho ** torch.arange(steps, dtype=torch.float32, device=device)
    weights: Tensor = OVER_TIME[over_time](powers)
    return weights


def roll_out(world: World, batch: Batch, *, later_gradient: bool) -> Rollout:
    """z_0 = enc(o_0), z_{t+1} = d_h(z_t, a_t) for every head h; every observation encoded."""
    first_BL = world.encode(batch.obs[0])
    with torch.set_grad_enabled(later_gradient and torch.is_grad_enabled()):
        later_TBL = world.encode(batch.obs[1:])
    z_HBL = first_BL.expand(world.config.dynamics.heads, *first_BL.shape)
    z_THBL = [z_HBL]
    for action_BA in batch.action[:-1]:
        z_HBL = world.next(z_HBL, action_BA, own=True)
        z_THBL.append(z_HBL)
    return Rollout(torch.stack(z_THBL), torch.cat((first_BL[None], later_TBL.detach())), later_TBL)


def model_losses(world: World, rollout: Rollout, batch: Batch, weight_T: Tensor) -> dict[str, Tensor]:
    """Consistency, encoder consistency, reward and termination; each a scalar before its weight."""
    z_THBL, next_THBL = rollout.z_THBL[:-1], rollout.z_THBL[1:]
    target_T1BL = rollout.encoded_TBL[1:, None]
    error_T = (next_THBL - target_T1BL).square().mean((1, 2, 3))
    encoder_T = (next_THBL.detach() - rollout.later_TBL[:, None]).square().mean((1, 2, 3))
    logits_RTHBK = world.reward.logits(z_THBL, batch.action[:-1, None])
    reward_RTHB = ops.two_hot.cross_entropy(world.reward.bins, logits_RTHBK, batch.reward[1:, None])
    return {
        "consistency": (weight_T * error_T).sum(),
        "encoder": (weight_T * encoder_T).sum(),
        "reward": (weight_T * reward_RTHB.mean((0, 2, 3))).sum(),
        "termination": termination_loss(world, next_THBL, batch.terminated[1:, None]),
    }


def termination_loss(world: World, next_THBL: Tensor, terminated_T1B: Tensor) -> Tensor:
    """Binary cross-entropy of predicted ends, unweighted over time; 0 where the model has none."""
    if not world.config.episodic:
        return next_THBL.new_zeros(())
    logit_THB = world.termination.logit(next_THBL)
    return F.binary_cross_entropy_with_logits(logit_THB, terminated_T1B.to(logit_THB).expand_as(logit_THB))


def value_loss(bins: Bins, logits_MPBK: Tensor, target_NPB: Tensor, weight_P: Tensor) -> Tensor:
    """Cross-entropy against the rollouts' mean two-hot, mean over members; targets (N, P, B) or (M, N, P, B)."""
    twohot_PBK = ops.two_hot.encode(bins, target_NPB).mean(-4)
    loss_MPB = ops.two_hot.cross_entropy_weights(logits_MPBK, twohot_PBK)
    return (weight_P * loss_MPB.mean((0, 2))).sum()


def auxiliary_loss(auxiliary: Auxiliary, slow: Auxiliary, bins: Bins, seen: Transition, weight_P: Tensor) -> Tensor:
    """Values of other discounts: y_g = mean_R r + gamma_g keep mean_H V_g(z'), mean over g; 0 where there are none."""
    if not auxiliary.gammas:
        return seen.at_PBL.new_zeros(())
    with torch.no_grad():
        value_GHNPB = bins.decode(slow.logits(seen.next_HNPBL))
        target_GNPB = seen.reward_NPB + auxiliary.gamma_G111 * (seen.keep_HNPB * value_GHNPB).mean(1)
    return value_loss(bins, auxiliary.logits(seen.at_PBL), target_GNPB, weight_P)
