"""A running measure of how widely numbers spread, by which losses are divided.

The state is one tensor and the step a pure function, so that a population of learners can carry many of them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def percentile_range(x: Float[Tensor, " B"], low: float = 0.05, high: float = 0.95) -> Float[Tensor, ""]:
    """The distance between two quantiles of a batch, each interpolated linearly between order statistics."""
    ordered = x.detach().flatten().sort().values
    return _quantile(ordered, high) - _quantile(ordered, low)


def running_scale(scale: Float[Tensor, ""], x: Float[Tensor, " B"], rate: float, least: float) -> Float[Tensor, ""]:
    """The next scale: lerp(scale, max(p95 - p5, least), rate) (Hansen et al. 2024, RunningScale).

    Args:
        scale: the scale so far; starts at 1.
        rate: share of the new range.
        least: the smallest range counted, so that losses are never magnified by more than 1 / least.
    """
    return torch.lerp(scale, percentile_range(x).clamp(min=least), rate)


def _quantile(ordered: Float[Tensor, " B"], share: float) -> Float[Tensor, ""]:
    position = share * (len(ordered) - 1)
    below = min(int(position), len(ordered) - 1)
    above = min(below + 1, len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], position - below)
