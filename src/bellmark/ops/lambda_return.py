"""Lambda returns of time-major trajectories whose rewards arrive with the state they lead to."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def lambda_return(
    reward_t: Float[Tensor, "T *B"],
    discount_t: Float[Tensor, "T *B"],
    trace_t: Float[Tensor, "T *B"] | float,
    value_t: Float[Tensor, "T *B"],
) -> Float[Tensor, "Tm1 *B"]:
    """R_t = r_{t+1} + d_{t+1} ((1 - l_{t+1}) V_{t+1} + l_{t+1} R_{t+1}), ending in R_{T-1} = V_{T-1}.

    Hafner et al. 2025, eq. 7, with the reward and continuation of the *next* state. Row 0 of the first three is unused.

    Args:
        reward_t: r_t, which arrived with state t.
        discount_t: d_t, gamma times the probability that the task has not ended at state t.
        trace_t: l_t, lambda; 0 where the trajectory was cut at state t, so that V_t stands for all that follows.
        value_t: V_t, from which the return of state t - 1 bootstraps.
    """
    if not isinstance(trace_t, Tensor):
        trace_t = torch.full_like(value_t, trace_t)
    follows_t = reward_t + discount_t * (1 - trace_t) * value_t
    carry_t = discount_t * trace_t
    returns = [value_t[-1]]
    for t in reversed(range(1, len(value_t))):
        returns.append(torch.addcmul(follows_t[t], carry_t[t], returns[-1]))
    return torch.stack(returns[:0:-1])
