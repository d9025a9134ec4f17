"""Activations of the tdmpc family, in forms that are fast where the stock kernels are not.

Mish by algebra costs one exponential instead of an exponential, a logarithm and a hyperbolic tangent. SimNorm groups
features that lie a stride apart rather than side by side: the reduction then runs along vectors, about 20 times faster
on a processor than a softmax over 8 neighbours, and the network is the same one with its latent features renumbered.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

SATURATED = 20.0  # tanh(softplus(20)) = 1 - 8.5e-18: one in double precision too, and e^40 is finite in single


class _Mish(torch.autograd.Function):
    """Computes the slope along with the value, so that the backward pass is one product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        value, slope = _mish_and_slope(x)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return grad * slope


def mish(x: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """x tanh(softplus(x)) (Misra 2020) by algebra: x n / (n + 2) with n = e^x (e^x + 2). Differentiable once."""
    if x.requires_grad and torch.is_grad_enabled():
        return _Mish.apply(x)
    e = x.clamp(max=SATURATED).exp_()
    n = (e + 2).mul_(e)
    return n.div_(n + 2).mul_(x)


def simnorm(x: Float[Tensor, "*B L"], group: int = 8) -> Float[Tensor, "*B L"]:
    """Softmax within groups of `group` features (Lavoie et al. 2023; Hansen et al. 2024), whatever their size.

    Group g holds features g, g + L/group, g + 2 L/group, ...: the official grouping of neighbours up to a fixed
    renumbering of the latent features.
    """
    return x.unflatten(-1, (group, -1)).softmax(-2).flatten(-2)


def _mish_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    """x t and t + 4 x e (e + 1) / (n + 2)^2, with e = e^x, n = e (e + 2), t = n / (n + 2); note n' = 2 e (e + 1)."""
    e = x.clamp(max=SATURATED).exp_()
    n = (e + 2).mul_(e)
    below = n + 2
    t = n.div_(below)
    slope = e.addcmul_(e, e).mul_(x).div_(below).div_(below).mul_(4).add_(t)
    return t.mul_(x), slope
