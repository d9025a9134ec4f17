"""Scalars as distributions over bins: encode a number as two neighbouring weights, regress them, read a number back.

Two axes of bins are in use. `SymlogBins` (TD-MPC2, Hansen et al. 2024): evenly spaced in symlog space, weights linear
and the mean taken in symlog space. `SymexpBins` (DreamerV3, Hafner et al. 2025): the symexp of evenly spaced numbers,
weights linear and the mean taken in raw space, so that the readout is unbiased. Axes: K bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bellmark.ops.native import call, fused


def symlog(x: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """sign(x) ln(1 + |x|)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """sign(x) (e^|x| - 1), the inverse of `symlog`."""
    return x.sign() * x.abs().expm1()


class Place(NamedTuple):
    """Where a number lies: weight 1 - upper on bin `below`, weight `upper` on the next."""

    below: Int[Tensor, "*B"]  # in [0, K - 2]
    upper: Float[Tensor, "*B"]  # in [0, 1]


class Bins(Protocol):
    """An axis of bins."""

    @property
    def count(self) -> int:
        """K."""
        ...

    def place(self, x: Float[Tensor, "*B"]) -> Place:
        """Where numbers lie; those beyond the axis at its end."""
        ...

    def decode(self, logits: Float[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
        """The number a distribution stands for."""
        ...


@dataclass(frozen=True, kw_only=True)
class SymlogBins:
    """K bins evenly spaced in symlog space: encode clip(symlog x), decode symexp(sum_k softmax_k b_k)."""

    low: float = -10.0
    high: float = 10.0
    count: int = 101

    def place(self, x: Float[Tensor, "*B"]) -> Place:
        """Where numbers lie between bins, linear in symlog space."""
        width = (self.high - self.low) / (self.count - 1)
        position = ((symlog(x) - self.low) / width).clamp(0, self.count - 1)
        index = position.floor().clamp_(max=self.count - 2)
        return Place(index.long().clamp_(min=0), position - index)  # what is no number has some bin, and such a weight

    def decode(self, logits: Float[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
        """symexp of the mean bin."""
        if self.low == -self.high and (mean := _fused_mean(logits, self._upper(logits))) is not None:
            return symexp(mean)
        return symexp(logits.softmax(-1) @ _evenly(self.low, self.high, self.count, logits.dtype, logits.device))

    def _upper(self, like: Tensor) -> Tensor:
        return _evenly(self.low, self.high, self.count, like.dtype, like.device)[-(self.count // 2) :]


@dataclass(frozen=True, kw_only=True)
class SymexpBins:
    """K bins at symexp(linspace(-limit, limit)): weights and mean in raw space, symmetric about zero."""

    limit: float = 20.0
    count: int = 255

    def place(self, x: Float[Tensor, "*B"]) -> Place:
        """Where numbers lie between bins, linear in raw space."""
        bins = _symexp_evenly(self.limit, self.count, x.dtype, x.device)
        x = x.clamp(bins[0], bins[-1])
        index = (torch.searchsorted(bins, x.detach().contiguous(), right=True) - 1).clamp_(0, self.count - 2)
        low, high = bins[index], bins[index + 1]
        return Place(index, (x - low) / (high - low))

    def decode(self, logits: Float[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
        """The mean bin, summed in mirrored pairs so that equal weights on b and -b cancel exactly (zero logits: 0)."""
        half, upper = self.count // 2, self.upper(logits)
        mean = _fused_mean(logits, upper)
        if mean is not None:
            return mean
        weights = logits.softmax(-1)
        return (weights[..., -half:] - weights[..., :half].flip(-1)) @ upper

    def upper(self, like: Tensor) -> Float[Tensor, " half"]:
        """The bins above the middle, of the kind of a tensor."""
        return _symexp_evenly(self.limit, self.count, like.dtype, like.device)[-(self.count // 2) :]


def encode(bins: Bins, x: Float[Tensor, "*B"]) -> Float[Tensor, "*B K"]:
    """Two-hot weights of numbers: zero but at two neighbours, sum 1."""
    index, upper = bins.place(x)
    weights = x.new_zeros(*x.shape, bins.count)
    weights.scatter_(-1, index.unsqueeze(-1), (1 - upper).unsqueeze(-1))
    return weights.scatter_(-1, (index + 1).unsqueeze(-1), upper.unsqueeze(-1))


def cross_entropy(bins: Bins, logits: Float[Tensor, "*B K"], target: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """-sum_k twohot(target)_k logsoftmax(logits)_k without writing the weights out; `target` gets no gradient.

    `target` may lack leading axes of `logits` (one target for every member of an ensemble).
    """
    index, upper = bins.place(target.detach())
    shape = logits.shape[:-1]
    at = torch.stack((index, index + 1), -1).expand(*shape, 2)
    low, high = logits.gather(-1, at).unbind(-1)
    return logits.logsumexp(-1) - torch.lerp(low, high, upper)


def cross_entropy_weights(logits: Float[Tensor, "*B K"], weights: Float[Tensor, "*#B K"]) -> Float[Tensor, "*B"]:
    """-sum_k w_k logsoftmax(logits)_k for weights that sum to one (a mean of several two-hots)."""
    return logits.logsumexp(-1) - (weights * logits).sum(-1)


def _fused_mean(logits: Tensor, upper: Tensor) -> Tensor | None:
    """The mean bin by the fused pass, without gradient; None where it cannot be had. `upper`: bins above the middle."""
    if logits.requires_grad or not fused(logits):
        return None
    flat, out = logits.reshape(-1, logits.shape[-1]), logits.new_empty(logits.shape[:-1])
    work = logits.new_empty(logits.shape[-1] + 16)  # in whole vectors
    call("mean_bin", *flat.shape, flat, upper, work, out)
    return out


@cache
def _evenly(low: float, high: float, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.linspace(low, high, count, dtype=torch.float64).to(device=device, dtype=dtype)


@cache
def _symexp_evenly(limit: float, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    upper = symexp(torch.linspace(-limit, limit, count, dtype=torch.float64)[-(count // 2) :])
    middle = upper.new_zeros(count % 2)
    return torch.cat((-upper.flip(0), middle, upper)).to(device=device, dtype=dtype)
