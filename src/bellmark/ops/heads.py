"""What is made of an ensemble's opinions: reductions over the axis of its heads, by name, and who is asked.

A reduction takes (heads, ...) and the axis, and gives (...); `local` keeps the axis, so that each member learns from
its own target without a branch. Axes: E heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Reduction = Callable[[Tensor, int], Tensor]
Name = Literal["mean", "min", "max", "local"]

REDUCTIONS: Mapping[Name, Reduction] = {
    "mean": lambda x, dim: x.mean(dim),
    "min": lambda x, dim: x.amin(dim),
    "max": lambda x, dim: x.amax(dim),
    "local": lambda x, dim: x,
}


def by_sign(coef: float) -> Name:
    """What a coefficient on disagreement implies for the reduction: optimism the best head, pessimism the worst."""
    return "max" if coef > 0 else "min" if coef < 0 else "mean"


def spread(x: Tensor, dim: int) -> Tensor:
    """Standard deviation over heads (n - 1 in the denominator), 0 where there is only one."""
    return x.std(dim) if x.shape[dim] > 1 else torch.zeros_like(x.select(dim, 0))


def mean_plus_std(x: Tensor, dim: int, coef: float) -> Tensor:
    """mean + coef * std over heads: optimistic above 0, pessimistic below."""
    return x.mean(dim) + coef * spread(x, dim) if coef else x.mean(dim)


def lean(mean: Float[Tensor, "E *B"], std: Float[Tensor, "E *B"], coef: float) -> Float[Tensor, "*B"]:
    """mean_e + coef * std_e per head, then the reduction that the coefficient's sign implies."""
    return REDUCTIONS[by_sign(coef)](mean + coef * std if coef else mean, 0)


def choose(heads: int, count: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Int[Tensor, " k"]:
    """`count` different heads at random, all of them in order where there are no more.

    `min2` of TD-MPC2 is `min` over two chosen heads, `mean2` the mean: choose first, so that only those are computed.
    """
    if count >= heads:
        return torch.arange(heads, device=device)
    keys = torch.rand(heads, generator=generator, device=generator.device)
    return keys.argsort()[:count].to(device)  # torch.randperm(n)[:k] does not compile on processors
