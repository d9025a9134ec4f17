"""Diagonal Gaussian policies without squashing. Log densities of single precision are one pass of `native`.

With z = (a - mean) / std, the gradients of the log density are z / std of the mean and z^2 - 1 of log_std.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from bellmark.ops.native import call, fused

LOG_2PI = math.log(2 * math.pi)


class Gaussian(NamedTuple):
    """Independent Gaussians, one per action dimension; what squashes or clips their samples is said elsewhere."""

    mean: Float[Tensor, "*B A"]
    log_std: Float[Tensor, "*B A"]


def log_prob(
    action: Float[Tensor, "*B A"], mean: Float[Tensor, "*B A"], log_std: Float[Tensor, " A"]
) -> Float[Tensor, "*B"]:
    """Log density of actions, summed over the action axis, in nats."""
    alike = (
        action.dtype == mean.dtype == log_std.dtype and action.shape == mean.shape and log_std.shape == mean.shape[1:]
    )
    if fused(mean) is not None and alike and not action.requires_grad:
        out: Tensor = _LogProb.apply(action.contiguous(), mean.contiguous(), log_std.contiguous())
        return out
    return plain_log_prob(action, mean, log_std)


def plain_log_prob(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """The same by PyTorch's own operations, for tensors of any kind."""
    z = (action - mean) * torch.exp(-log_std)
    return -0.5 * (z.square().sum(-1) + action.shape[-1] * LOG_2PI) - log_std.sum()


class _LogProb(torch.autograd.Function):
    """Of rows (B, A); the actions get no gradient."""

    @staticmethod
    def forward(ctx: Any, action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
        z, out = torch.empty_like(mean), mean.new_empty(len(mean))
        constant = -0.5 * len(log_std) * LOG_2PI - float(log_std.sum())
        call("gauss_log_prob", len(mean), len(log_std), action, mean, log_std, constant, z, out)
        ctx.save_for_backward(z, log_std)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        z, log_std = ctx.saved_tensors
        gradient, of_mean, of_log_std = gradient.contiguous(), torch.empty_like(z), torch.empty_like(log_std)
        call("gauss_log_prob_back", *z.shape, gradient, z, log_std, of_mean, of_log_std)
        return None, of_mean, of_log_std


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
