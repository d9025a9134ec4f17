"""Multi-layer perceptrons with the initialisation that policy-gradient code relies on."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bellmark.nets.fused_tanh import tanh_layers
from bellmark.ops.native import fused


class TanhMlp(nn.Sequential):
    """Linear layers with a tanh between them; by one fused pass of C where there is one for the rows it is given."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        parameters = list(self.parameters())
        first = parameters[0]
        alike = x.dtype == first.dtype and x.shape[-1] == first.shape[1] and all(p.is_contiguous() for p in parameters)
        wanted = torch.is_grad_enabled() and x.requires_grad  # the fused pass has no gradient of its input
        if fused(x) is None or wanted or not alike or not x.numel():
            out: Tensor = super().forward(x)
            return out
        return tanh_layers(x.reshape(-1, x.shape[-1]), parameters).view(*x.shape[:-1], -1)


def tanh_mlp(
    inputs: int, outputs: int, hidden: int, layers: int, *, last_gain: float, generator: torch.Generator
) -> TanhMlp:
    """`layers` tanh layers of width `hidden`, then a linear one; orthogonal weights of gain sqrt 2, zero biases.

    `last_gain` is the gain of the last layer (0.01 sqrt 2 for a policy mean, so that it starts near zero).
    Source: Andrychowicz et al. 2021; CleanRL's ppo_continuous_action.
    """
    modules: list[nn.Module] = []
    width = inputs
    for _ in range(layers):
        modules += [_linear(width, hidden, math.sqrt(2), generator), nn.Tanh()]
        width = hidden
    return TanhMlp(*modules, _linear(width, outputs, last_gain, generator))


def _linear(inputs: int, outputs: int, gain: float, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
