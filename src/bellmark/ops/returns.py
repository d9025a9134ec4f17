"""Returns and advantages of time-major trajectories that may hold several episodes."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def gae(
    reward_t: Float[Tensor, "T *N"],
    value_t: Float[Tensor, "T *N"],
    value_tp1: Float[Tensor, "T *N"],
    bootstrap_t: Float[Tensor, "T *N"],
    done_t: Bool[Tensor, "T *N"],
    gamma: float,
    lambda_: float,
) -> Float[Tensor, "T *N"]:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16).

    delta_t = r_t + gamma b_t V(s_{t+1}) - V(s_t);  A_t = delta_t + gamma lambda (1 - done_t) A_{t+1}.

    Args:
        value_tp1: value of the observation the step led to, before any reset.
        bootstrap_t: 1 where the value of s_{t+1} counts, 0 where the task itself ended (a time limit is not an end).
        done_t: an episode ended at this step for whatever reason: the sum stops here.
    """
    delta_t = reward_t + gamma * bootstrap_t * value_tp1 - value_t
    carry_t = gamma * lambda_ * (~done_t).to(delta_t.dtype)
    advantage_t = torch.empty_like(delta_t)
    advantage_tp1 = torch.zeros_like(delta_t[0])
    for t in reversed(range(len(delta_t))):
        advantage_tp1 = delta_t[t] + carry_t[t] * advantage_tp1
        advantage_t[t] = advantage_tp1
    return advantage_t


def discounted(
    reward_t: Float[Tensor, "T *N"], done_t: Bool[Tensor, "T *N"], final: Float[Tensor, "*N"], gamma: float
) -> Float[Tensor, "T *N"]:
    """Monte-Carlo returns G_t = r_t + gamma (1 - done_t) G_{t+1}, with `final` what follows the last row."""
    return_t = torch.empty_like(reward_t)
    return_tp1 = final
    for t in reversed(range(len(reward_t))):
        return_tp1 = reward_t[t] + gamma * torch.where(done_t[t], 0.0, return_tp1)
        return_t[t] = return_tp1
    return return_t


def n_step(
    reward_t: Float[Tensor, "T *N"], done_t: Bool[Tensor, "T *N"], n: int, gamma: float
) -> tuple[Float[Tensor, "T *N"], Int[Tensor, "T *N"]]:
    """Sums of the next n rewards and the row each sum ends in, stopping at ends of episodes and of the data.

    G_t = sum_{k < m} gamma^k r_{t+k} with m = min(n, steps to the end); the target is G_t + gamma^m V(s_{t+m}), and
    s_{t+m} is the next observation of row t + m - 1, the second result.
    """
    rows = torch.arange(len(reward_t)).view(-1, *[1] * (reward_t.dim() - 1)).expand(reward_t.shape)
    total, last = reward_t.clone(), rows.clone()
    going = ~done_t
    for k in range(1, n):
        inside = rows + k < len(reward_t)
        going = going & inside
        ahead = (rows + k).clamp(max=len(reward_t) - 1)
        total = total + torch.where(going, gamma**k * reward_t.gather(0, ahead), 0.0)
        last = torch.where(going, ahead, last)
        going = going & ~done_t.gather(0, ahead)
    return total, last


def expectile_loss(error: Float[Tensor, " B"], expectile: float) -> Float[Tensor, ""]:
    """Asymmetric squared loss |tau - 1(u < 0)| u^2, averaged (IQL eq. 5); at 1/2, half the squared error."""
    weight = torch.where(error < 0, 1 - expectile, expectile)
    return (weight * error.square()).mean()


def horizon_within(gamma: float, tolerance: float) -> int:
    """The fewest steps after which discounting leaves less than `tolerance` of any later reward: gamma^k < tolerance.

    Raises:
        ValueError: `tolerance` or `gamma` outside (0, 1).
    """
    if not (0 < gamma < 1 and 0 < tolerance < 1):
        raise ValueError(f"gamma and tolerance must lie in (0, 1), got {gamma} and {tolerance}")
    steps = 0
    left = 1.0
    while left >= tolerance:
        left *= gamma
        steps += 1
    return steps
