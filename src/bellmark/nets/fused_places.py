"""RMSNorm over channels and SiLU at every place of pictures, by the fused passes of `ops/native`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bellmark.nets.fused import norm_rows, norm_rows_back
from bellmark.ops.native import call

NARROW = 32  # channels up to which many places are worked on at a time: `places.c`


class _NormedPlaces(torch.autograd.Function):
    """silu(scale norm(x)) of rows, few or many numbers wide."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        normed, inverse = x.clone(memory_format=torch.contiguous_format), x.new_empty(len(x))
        out = torch.empty_like(normed)
        if len(scale) > NARROW:
            norm_rows(normed, None, scale, out, inverse)
        else:
            call("norm_silu_narrow", len(x), len(scale), normed, scale, normed, out, inverse)
        ctx.save_for_backward(normed, inverse, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        normed, inverse, scale = ctx.saved_tensors
        if len(scale) > NARROW:
            into, of_scale, _ = norm_rows_back(gradient, normed, inverse, scale)
            return into, of_scale
        gradient = gradient.contiguous()
        into, of_scale = torch.empty_like(gradient), torch.zeros_like(scale)
        call("norm_silu_narrow_back", len(normed), len(scale), gradient, normed, inverse, scale, into, of_scale)
        return into, of_scale


def normed_places(x: Tensor, scale: Tensor) -> Tensor:
    """Rows (N, channels) -> the same: `rms.Norm`."""
    out: Tensor = _NormedPlaces.apply(x, scale)
    return out
