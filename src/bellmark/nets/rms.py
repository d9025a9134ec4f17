"""Layers of the dreamer family: Linear, RMSNorm (eps 1e-4), SiLU.

States are *columns*: activations are (features, N), weights (outputs, inputs). So the blocks of a block-diagonal layer
are slices of memory, and norms and softmaxes of small groups run along rows of N numbers, many states in one
instruction: with PyTorch's own operations several times faster than states as rows. The fused passes of
`ops/native` read a row at a time: where they can be had, what layers give are transposes of (N, outputs).

Weights are drawn from a normal cut at two deviations whose variance is then 1 / inputs (`embodied/jax/nets.py`:
trunc_normal_in); biases start at zero, scales at one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bellmark.nets.fused import LayerWeights, Stack, normed_layer, perceptron, remembered
from bellmark.ops.native import fused

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
    """weight @ x + bias."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator, *, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = initial((outputs, inputs), inputs, generator, scale)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(inputs, N) -> (outputs, N)."""
        return torch.addmm(self.bias.unsqueeze(1), self.weight, x)

    def rows(self, x: Tensor) -> Tensor:
        """(inputs, N) -> (N, outputs): where a network ends and losses begin."""
        return F.linear(x.t(), self.weight, self.bias)


class BlockDense(nn.Module):
    """A linear layer whose matrix is block-diagonal: block i of the outputs sees block i of the inputs alone."""

    def __init__(self, blocks: int, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        fan = inputs // blocks
        self.weight = initial((blocks, outputs // blocks, fan), fan, generator)
        self.bias = nn.Parameter(torch.zeros(blocks, outputs // blocks, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(inputs, N) -> (G, outputs / G, N)."""
        return torch.baddbmm(self.bias, self.weight, x.unflatten(0, (len(self.weight), -1)))


def rms(x: Tensor) -> Tensor:
    """1 / sqrt(mean(x^2) + eps) over the features, (1, N)."""
    return (x * x).mean(-2, keepdim=True).add_(EPS).rsqrt_()


class _NormSilu(torch.autograd.Function):
    """silu(scale * x * rms(x)) with its gradient in few passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        inverse = rms(x)
        normed = x * inverse
        ctx.save_for_backward(normed, inverse, scale)
        return F.silu(normed * scale.unsqueeze(-1), inplace=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        normed, inverse, scale = ctx.saved_tensors
        return norm_silu_backward(gradient, normed, inverse, scale)


def norm_silu_backward(gradient: Tensor, normed: Tensor, inverse: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `x` and of `scale`: for (..., F, N) the former of that shape, the latter (..., F).

    With n = x i and y = scale n: dn = scale dy and dx = i (dn - n mean(n dn)).
    """
    column = scale.unsqueeze(-1)
    inner = torch.ops.aten.silu_backward(gradient, normed * column)
    product = inner * normed
    mean = (scale.unsqueeze(-2) @ product) / scale.shape[-1]
    through = inner.mul_(column).addcmul_(normed, mean, value=-1).mul_(inverse)
    return through, product.sum(-1)


class Norm(nn.Module):
    """RMSNorm over the features, then SiLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(F, N) -> the same."""
        active: Tensor = _NormSilu.apply(x, self.scale)
        return active


class Plain(nn.Module):
    """Other choices of norm (or none) and activation."""

    def __init__(self, width: int, norm: str, activation: str) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width)) if norm == "rms" else None
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(F, N) -> the same."""
        return ACTIVATIONS[self.activation](x if self.scale is None else x * rms(x) * self.scale.unsqueeze(1))


def finish(width: int, norm: str, activation: str) -> nn.Module:
    """What follows a hidden layer's matrix."""
    return Norm(width) if (norm, activation) == ("rms", "silu") else Plain(width, norm, activation)


class Layer(nn.Module):
    """Linear, norm, activation."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator, *, norm: str, activation: str) -> None:
        super().__init__()
        self.dense = Dense(inputs, outputs, generator)
        self.finish = finish(outputs, norm, activation)

    def forward(self, x: Tensor) -> Tensor:
        """(inputs, N) -> (outputs, N)."""
        if isinstance(self.finish, Norm) and fused(x):
            return normed_layer(x.t(), self.dense.weight, self.dense.bias, self.finish.scale).t()
        out: Tensor = self.finish(self.dense(x))
        return out

    def weights(self) -> LayerWeights | None:
        """What the fused passes multiply with; None of a norm before another activation than SiLU."""
        weight, bias, finish = self.dense.weight, self.dense.bias, self.finish
        if isinstance(finish, Norm):
            return LayerWeights(weight, bias, finish.scale, "silu")
        assert isinstance(finish, Plain)
        return None if finish.scale is not None else LayerWeights(weight, bias, None, finish.activation)


class Perceptron(nn.Sequential):
    """Layers one after the other."""

    def weights(self) -> list[LayerWeights] | None:
        """What the fused passes multiply with; None where they do not know a layer."""
        layers = [cast(Layer, layer).weights() for layer in self]
        return None if None in layers else cast("list[LayerWeights]", layers)

    def stack(self, output: Dense | None = None) -> Stack | None:
        """The same, and a linear layer where one is given, as the fused passes take them."""
        last = [] if output is None else [LayerWeights(output.weight, output.bias)]
        witness = last[0].weight if last else cast(Layer, self[0]).dense.weight

        def make() -> Stack | None:
            layers = self.weights()
            return None if layers is None else Stack([*layers, *last])

        return remembered(self, "then" if last else "own", witness, make)

    def then(self, output: Dense, x: Tensor) -> Tensor:
        """(inputs, N) through the layers and a linear one -> (N, outputs)."""
        if not torch.is_grad_enabled() and fused(x) and (stack := self.stack(output)):
            return perceptron(stack, rows(x))
        return output.rows(self(x))

    def forward(self, x: Tensor) -> Tensor:
        """(inputs, N) -> (outputs, N)."""
        if len(self) and not torch.is_grad_enabled() and fused(x) and (stack := self.stack()):
            return perceptron(stack, rows(x)).t()
        out: Tensor = super().forward(x)
        return out


def rows(x: Tensor) -> Tensor:
    """(F, N) -> (N, F), each row in one piece."""
    turned = x.t()
    return turned if turned.stride(1) == 1 or turned.shape[1] == 1 else turned.contiguous()


def mlp(widths: Sequence[int], generator: torch.Generator, *, norm: str, activation: str) -> Perceptron:
    """Layers through `widths`: the first is the input's, every later one a layer's."""
    pairs = pairwise(widths)
    return Perceptron(*(Layer(a, b, generator, norm=norm, activation=activation) for a, b in pairs))


def size_of(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(p.numel() for p in module.parameters())
