"""Multi-layer perceptrons with the initialisation that policy-gradient code relies on."""

from __future__ import annotations

import math

import torch
from torch import nn


def tanh_mlp(
    inputs: int, outputs: int, hidden: int, layers: int, *, last_gain: float, generator: torch.Generator
) -> nn.Sequential:
    """`layers` tanh layers of width `hidden`, then a linear one; orthogonal weights of gain sqrt 2, zero biases.

    `last_gain` is the gain of the last layer (0.01 sqrt 2 for a policy mean, so that it starts near zero).
    Source: Andrychowicz et al. 2021; CleanRL's ppo_continuous_action.
    """
    modules: list[nn.Module] = []
    width = inputs
    for _ in range(layers):
        modules += [_linear(width, hidden, math.sqrt(2), generator), nn.Tanh()]
        width = hidden
    return nn.Sequential(*modules, _linear(width, outputs, last_gain, generator))


def _linear(inputs: int, outputs: int, gain: float, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
