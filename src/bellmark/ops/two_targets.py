"""Cross entropy of one distribution over bins against two numbers: the return and the slow critic's mean of DreamerV3.

One pass over the logits each way, where two losses would normalise and differentiate them twice.
Axes: N states, K bins.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from bellmark.ops.native import call, fused
from bellmark.ops.two_hot import Bins


def cross_entropy_two(
    bins: Bins, logits: Float[Tensor, "N K"], first: Float[Tensor, " N"], second: Float[Tensor, " N"], weight: float
) -> Float[Tensor, " N"]:
    """CE(logits, first) + weight * CE(logits, second), see `two_hot.cross_entropy`; targets get no gradient."""
    losses: Tensor = _CrossEntropyTwo.apply(bins, logits, first.detach(), second.detach(), weight)
    return losses


class _CrossEntropyTwo(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bins: Bins, logits: Tensor, first: Tensor, second: Tensor, weight: float) -> Tensor:
        places = [bins.place(first), bins.place(second)]
        at = torch.stack([index + side for index, _ in places for side in (0, 1)], -1)  # (N, 4)
        share = torch.stack([x for _, upper in places for x in (1 - upper, upper)], -1)
        share[:, 2:] *= weight
        normaliser = _normaliser(logits)
        ctx.save_for_backward(logits, normaliser, at, share)
        ctx.total = 1 + weight
        return normaliser * ctx.total - (logits.gather(-1, at) * share).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        logits, normaliser, at, share = ctx.saved_tensors
        inner = _weighed_softmax(logits, normaliser, gradient * ctx.total)
        inner.scatter_add_(-1, at, share * -gradient.unsqueeze(-1))
        return None, inner, None, None, None


def _normaliser(logits: Tensor) -> Tensor:
    if not (fused(logits) and logits.is_contiguous()):
        return logits.logsumexp(-1)
    out = logits.new_empty(len(logits))
    call("normaliser", *logits.shape, logits, out)
    return out


def _weighed_softmax(logits: Tensor, normaliser: Tensor, weight: Tensor) -> Tensor:
    if not (fused(logits) and logits.is_contiguous()):
        return (logits - normaliser.unsqueeze(-1)).exp_().mul_(weight.unsqueeze(-1))
    out = torch.empty_like(logits)
    call("weighed_softmax", *logits.shape, logits, normaliser, weight, out)
    return out
