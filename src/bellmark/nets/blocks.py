"""Layers of the tdmpc family: Linear, LayerNorm, Mish (Hansen et al. 2024, appendix on architecture).

Initialisation as published: weights from a normal of 0.02 cut at two, biases 0, norms 1 and 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bellmark.ops.activations import norm, norm_mish

WEIGHT_STD = 0.02


def initial_weight(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Weights of any shape from N(0, 0.02^2), truncated at +-2."""
    return nn.init.trunc_normal_(torch.empty(*shape), std=WEIGHT_STD, generator=generator)


class NormedLinear(nn.Module):
    """Linear, then LayerNorm, then Mish unless told otherwise (`active=False`: what follows is the caller's)."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator, *, active: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(initial_weight((outputs, inputs), generator))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = nn.Parameter(torch.ones(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        finish = norm_mish if self.active else norm
        return finish(F.linear(x, self.weight), self.scale, self.shift, self.bias)


class Linear(nn.Module):
    """A linear layer with the family's initialisation."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(initial_weight((outputs, inputs), generator))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return F.linear(x, self.weight, self.bias)


def normed_mlp(widths: Sequence[int], generator: torch.Generator) -> list[nn.Module]:
    """Normed layers through `widths`: the first is the input's, every later one a layer's."""
    return [NormedLinear(a, b, generator) for a, b in pairwise(widths)]
