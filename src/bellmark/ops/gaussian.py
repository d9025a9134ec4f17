"""Diagonal Gaussian policies without squashing."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


class Gaussian(NamedTuple):
    """Independent Gaussians, one per action dimension; what squashes or clips their samples is said elsewhere."""

    mean: Float[Tensor, "*B A"]
    log_std: Float[Tensor, "*B A"]


def log_prob(
    action: Float[Tensor, "*B A"], mean: Float[Tensor, "*B A"], log_std: Float[Tensor, " A"]
) -> Float[Tensor, "*B"]:
    """Log density of actions, summed over the action axis, in nats."""
    z = (action - mean) * torch.exp(-log_std)
    return -0.5 * (z.square().sum(-1) + action.shape[-1] * LOG_2PI) - log_std.sum()


def entropy(log_std: Float[Tensor, " A"]) -> Float[Tensor, ""]:
    """Differential entropy in nats: sum of log_std + (1 + log 2 pi) / 2."""
    return log_std.sum() + 0.5 * len(log_std) * (1 + LOG_2PI)


def noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal numbers from an explicit generator, on its device."""
    return torch.randn(shape, generator=generator, device=generator.device)


def silence(shape: tuple[int, ...]) -> Tensor:
    """Zeros: the noise of a policy that acts on its mean."""
    return torch.zeros(shape)


def kl(
    mean: Float[Tensor, "*B A"],
    std: Float[Tensor, "*#B A"],
    other_mean: Float[Tensor, "*#B A"],
    other_std: Float[Tensor, "*#B A"],
) -> Float[Tensor, "*B A"]:
    """KL(N(mean, std^2) || N(other_mean, other_std^2)) of every dimension, in nats; a diagonal Gaussian's is the sum.

    log(s' / s) + (s^2 + (m - m')^2) / (2 s'^2) - 1/2.
    """
    ratio = (std / other_std).square()
    return 0.5 * (ratio + ((mean - other_mean) / other_std).square() - 1 - ratio.log())
