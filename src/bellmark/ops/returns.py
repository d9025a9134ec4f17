"""Returns and advantages of time-major trajectories that may hold several episodes."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
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
