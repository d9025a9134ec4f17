"""Layers of the dreamer family: Linear, RMSNorm (eps 1e-4), SiLU; convolutions with the same norm over channels.

Weights are (inputs, outputs), drawn from a normal cut at two deviations whose variance is then 1 / inputs
(`embodied/jax/nets.py`: trunc_normal_in); biases start at zero, scales at one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-4
CUT = 1.1368  # a standard normal cut at +-2 has deviation 1 / 1.1368

Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {"silu": F.silu, "relu": F.relu}


def initial(shape: Sequence[int], fan_in: int, generator: torch.Generator, scale: float = 1.0) -> nn.Parameter:
    """Weights of a layer with `fan_in` inputs per output, times `scale`."""
    weight = torch.empty(*shape)
    nn.init.trunc_normal_(weight, a=-2.0, b=2.0, generator=generator)
    return nn.Parameter(weight * (CUT * fan_in**-0.5 * scale))


class Dense(nn.Module):
    """x @ weight + bias."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator, *, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = initial((inputs, outputs), inputs, generator, scale)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return F.linear(x, self.weight.t(), self.bias)


class BlockDense(nn.Module):
    """A linear layer whose matrix is block-diagonal: block i of the outputs sees block i of the inputs alone."""

    def __init__(self, blocks: int, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        fan = inputs // blocks
        self.weight = initial((blocks, fan, outputs // blocks), fan, generator)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, G, inputs / G) -> (B, outputs)."""
        return torch.bmm(x.transpose(0, 1), self.weight).transpose(0, 1).flatten(1) + self.bias


class Rms(nn.Module):
    """x * scale / sqrt(mean(x^2) + eps) over the last axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return F.rms_norm(x, self.scale.shape, self.scale, EPS)


def norm_of(name: str, width: int) -> nn.Module:
    """`rms`, or nothing at all."""
    return Rms(width) if name == "rms" else nn.Identity()


class Layer(nn.Module):
    """Linear, norm, activation."""

    def __init__(
        self, inputs: int, outputs: int, generator: torch.Generator, *, norm: str = "rms", activation: str = "silu"
    ) -> None:
        super().__init__()
        self.dense = Dense(inputs, outputs, generator)
        self.norm = norm_of(norm, outputs)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return self.activation(self.norm(self.dense(x)))


class ConvLayer(nn.Module):
    """5x5 convolution that keeps the size; `active`: then norm over channels and activation by `finish`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        generator: torch.Generator,
        *,
        norm: str = "rms",
        activation: str = "silu",
        kernel: int = 5,
    ) -> None:
        super().__init__()
        self.weight = initial((outputs, inputs, kernel, kernel), inputs * kernel**2, generator)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.norm = norm_of(norm, outputs)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W), linear."""
        return F.conv2d(x, self.weight, self.bias, padding="same")

    def finish(self, x: Tensor) -> Tensor:
        """Norm over channels, then the activation."""
        return self.activation(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


def mlp(widths: Sequence[int], generator: torch.Generator, *, norm: str, activation: str) -> nn.Sequential:
    """Layers through `widths`: the first is the input's, every later one a layer's."""
    pairs = zip(widths[:-1], widths[1:], strict=True)
    return nn.Sequential(*(Layer(a, b, generator, norm=norm, activation=activation) for a, b in pairs))


def size_of(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(prod(p.shape) for p in module.parameters())
