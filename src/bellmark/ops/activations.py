"""Activations of the tdmpc family, in forms that are fast where the stock kernels are not.

Mish by algebra costs one sigmoid instead of an exponential, a logarithm and a hyperbolic tangent. SimNorm groups
features that lie a stride apart rather than side by side: the reduction then runs along vectors, about 20 times faster
on a processor than a softmax over 8 neighbours, and the network is the same one with its latent features renumbered.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from bellmark.ops.native import call, fused

CACHED = 2**17  # elements that a processor works through at a time: half a megabyte, several of which fit its cache


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
    """x tanh(softplus(x)) (Misra 2020), within 1e-6; differentiable once.

    With u = sigmoid(x), e^x = u / (1 - u) turns tanh(ln(1 + e^x)) into h / (1 - h), h = u - u^2 / 2: nothing
    overflows, and small values keep their digits. On accelerators the stock kernel, which is one launch.
    """
    if x.device.type != "cpu":
        return F.mish(x)
    if x.requires_grad and torch.is_grad_enabled():
        return _Mish.apply(x)
    u = x.sigmoid()
    h = u.addcmul_(u, u, value=-0.5)
    below = 1 - h
    return h.mul_(x).div_(below)


def norm_mish(
    x: Float[Tensor, "*B D"],
    scale: Float[Tensor, " D"],
    shift: Float[Tensor, " D"],
    bias: Float[Tensor, " D"] | None = None,
) -> Float[Tensor, "*B D"]:
    """Mish of the layer norm of x + bias over the last axis, within 2e-6.

    `x` is what a product gave and is used up: the result may stand in its place. On a processor without the fused pass
    and without gradient in fewer passes: the norm gives -x by negated scale and shift, and with q = sigmoid(-x) and
    d = (1 + q^2) / 2 Mish is -x - (-x) / d.
    """
    if fused(x) and x.is_contiguous():
        return _fused_norm(x, scale, shift, bias, True)
    x = x if bias is None else x + bias
    learns = torch.is_grad_enabled() and (x.requires_grad or scale.requires_grad)
    if learns or x.device.type != "cpu":
        return mish(F.layer_norm(x, scale.shape, scale, shift))
    negative = F.layer_norm(x, scale.shape, -scale, -shift)
    q = negative.sigmoid()
    below = torch.addcmul(_half(x.dtype), q, q, value=0.5, out=q)
    return negative.addcdiv_(negative, below, value=-1)


def norm(
    x: Float[Tensor, "*B D"],
    scale: Float[Tensor, " D"],
    shift: Float[Tensor, " D"],
    bias: Float[Tensor, " D"] | None = None,
) -> Float[Tensor, "*B D"]:
    """The layer norm of x + bias over the last axis; `x` is used up, as by `norm_mish`."""
    if fused(x) and x.is_contiguous():
        return _fused_norm(x, scale, shift, bias, False)
    return F.layer_norm(x if bias is None else x + bias, scale.shape, scale, shift)


def simnorm(x: Float[Tensor, "*B L"], group: int = 8) -> Float[Tensor, "*B L"]:
    """Softmax within groups of `group` features (Lavoie et al. 2023; Hansen et al. 2024), whatever their size.

    Group g holds features g, g + L/group, g + 2 L/group, ...: the official grouping of neighbours up to a fixed
    renumbering of the latent features.
    """
    if fused(x) and x.is_contiguous():
        simplices: Tensor = _SimNorm.apply(x, group)
        return simplices
    return x.unflatten(-1, (group, -1)).softmax(-2).flatten(-2)


def _fused_norm(x: Tensor, scale: Tensor, shift: Tensor, bias: Tensor | None, active: bool) -> Tensor:
    rows = x.view(-1, len(scale))
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, scale, bias)):
        out: Tensor = _FusedNorm.apply(rows, scale, shift, bias, active)
        return out.view_as(x)
    call("layer_norm", *rows.shape, active, rows, bias, scale, shift, None, None, rows)
    return x


class _FusedNorm(torch.autograd.Function):
    """LayerNorm of rows (n, D), with Mish or without, by the fused passes of `ops/native`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, bias: Tensor | None, active: bool) -> Tensor:
        out, normed, inverse = torch.empty_like(x), torch.empty_like(x), x.new_empty(len(x))
        call("layer_norm", *x.shape, active, x, bias, scale, shift, normed, inverse, out)
        ctx.save_for_backward(normed, inverse, scale, shift)
        ctx.kind = bias is not None, active
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        normed, inverse, scale, shift = ctx.saved_tensors
        biased, active = ctx.kind
        into, sums = torch.empty_like(normed), normed.new_zeros(3, len(scale))
        call("layer_norm_back", *into.shape, active, grad.contiguous(), normed, inverse, scale, shift, into, sums)
        return into, sums[0], sums[1], sums[2] if biased else None, None


class _SimNorm(torch.autograd.Function):
    """Softmax over strided groups by the fused passes of `ops/native`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: int) -> Tensor:
        out, wide = torch.empty_like(x), x.shape[-1]
        ctx.sizes = x.numel() // wide, wide // group, group
        call("simnorm", *ctx.sizes, x, out)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        into = torch.empty_like(out)
        call("simnorm_back", *ctx.sizes, grad.contiguous(), out, into)
        return into, None


@cache
def _half(dtype: torch.dtype) -> Tensor:
    return torch.tensor(0.5, dtype=dtype)


def _mish_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    """x t and its derivative t + x u (1 - t^2), where t = h / (1 - h) is the hyperbolic tangent."""
    value, slope = (torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(2))
    flat = [y.view(-1) for y in (x.contiguous(), value, slope)]
    for source, t, u in zip(*(y.split(CACHED) for y in flat), strict=True):
        torch.sigmoid(source, out=u)
        h = torch.addcmul(u, u, u, value=-0.5, out=t)
        below = 1 - h
        h.div_(below)
        u.mul_(source)
        u.addcmul_(u, torch.mul(t, t, out=below), value=-1).add_(t)
        t.mul_(source)
    return value, slope
