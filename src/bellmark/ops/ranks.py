"""How well scores rank rows."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def auc(score: Float[Tensor, "*N"], positive: Bool[Tensor, "*N"]) -> Float[Tensor, ""]:
    """The probability that a positive row scores higher than a negative one, ties counting half (Mann and Whitney).

    1 ranks perfectly, 1/2 is chance. Both kinds of rows must occur.
    """
    high, low = score[positive], score[~positive].sort().values
    below, not_above = torch.searchsorted(low, high), torch.searchsorted(low, high, right=True)
    return (below + not_above).to(score).mean() / (2 * len(low))
