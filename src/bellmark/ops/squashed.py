"""Gaussian policies on the box [-1, 1]: squashed by tanh (TD-MPC2) or clipped at its faces (BMPC). Axes: A action."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def bounded_log_std(raw: Float[Tensor, "*B A"], low: float, high: float) -> Float[Tensor, "*B A"]:
    """A network's output as a log standard deviation in (low, high): low + (high - low) (tanh raw + 1) / 2."""
    return low + 0.5 * (high - low) * (raw.tanh() + 1)


def residual_log_prob(noise: Float[Tensor, "*B A"], log_std: Float[Tensor, "*B A"]) -> Float[Tensor, "*B"]:
    """Log density of mean + std * noise under N(mean, std^2), summed over actions, before any squashing; in nats."""
    return -(0.5 * noise.square() + log_std + HALF_LOG_2PI).sum(-1)


def log_jacobian(action: Float[Tensor, "*B A"]) -> Float[Tensor, "*B"]:
    """log |d tanh(u) / du| at a = tanh u, summed over actions: sum log(1 - a^2 + 1e-6)."""
    return (1 - action.square() + 1e-6).log().sum(-1)


def scaled_entropy(
    noise: Float[Tensor, "*B A"],
    log_std: Float[Tensor, "*B A"],
    action: Float[Tensor, "*B A"],
    *,
    jacobian: float = 0.0,
    power: float = 1.0,
) -> Float[Tensor, "*B"]:
    """The entropy bonus of the tdmpc family: A^power (-(log N(noise) - jacobian sum log(1 - a^2 + 1e-6))).

    One sample's, not an expectation. `jacobian` 0 and `power` 1 is what TD-MPC2's code computes: its "entropy scale"
    divides the squashed log-probability out again, so that the density before tanh remains, times the number of
    actions (issues 44 and 76 of the official repository). `jacobian` 1 is the squashed density.
    """
    log_prob = residual_log_prob(noise, log_std)
    if jacobian:
        log_prob = log_prob - jacobian * log_jacobian(action)
    return -(action.shape[-1] ** power) * log_prob


def tanh_sample(
    mean: Float[Tensor, "*B A"], log_std: Float[Tensor, "*B A"], noise: Float[Tensor, "*S A"]
) -> Float[Tensor, "*S A"]:
    """tanh(mean + std noise), the mean being that before squashing."""
    return torch.tanh(mean + log_std.exp() * noise)


def clipped_sample(
    mean: Float[Tensor, "*B A"], log_std: Float[Tensor, "*B A"], noise: Float[Tensor, "*S A"]
) -> Float[Tensor, "*S A"]:
    """clip(mean + std noise, -1, 1): no gradient where a face is hit (Wang et al. 2025, BMPC)."""
    return (mean + log_std.exp() * noise).clamp(-1, 1)
