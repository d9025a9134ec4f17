"""Perceptrons of tanh layers by the fused passes of `ops/native`, with their gradients written by hand.

What is computed is what `mlp.TanhMlp` says in PyTorch. For the layer h = tanh(x w^T + b) and a gradient g of h:
e = g (1 - h^2), the gradients are e^T x of w, the sum of e over rows of b, and e w of x.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bellmark.nets.fused import pointers, structure
from bellmark.ops.native import call

PORTION = 200  # rows at most that go through all layers at a time: what a cache holds beside the weights
_P, _N = ctypes.c_void_p, ctypes.c_int64
_Dense = structure("dense", ("weight bias into_weight into_bias", _P), ("inputs outputs", _N))


class _TanhLayers(torch.autograd.Function):
    """Rows through the layers of (weight, bias, weight, bias, ...); the rows get no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        hidden = [x.new_empty(len(x), len(bias)) for bias in parameters[1:-2:2]]
        ctx.save_for_backward(x, *parameters, *hidden)
        return _forward(x, parameters, hidden, kept=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        count = (len(ctx.saved_tensors) - 1 + 1) // 3  # layers, and hidden ones one fewer
        x, *rest = ctx.saved_tensors
        parameters, hidden = rest[: 2 * count], rest[2 * count :]
        into = [torch.empty_like(p) for p in parameters]
        widest, portion = max(len(bias) for bias in parameters[1::2]), _portion(x)
        work, layers = x.new_empty(2, portion, widest), _layers(parameters, into)
        call(
            "tanh_layers_back",
            *(layers, count, len(x), portion, x, _addresses(hidden), gradient.contiguous(), work, widest),
        )
        return (None, *into)


def tanh_layers(x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Rows (N, inputs) to (N, outputs); `parameters` are weight (outputs, inputs) and bias of every layer in turn."""
    x = x.contiguous()
    if torch.is_grad_enabled() and any(p.requires_grad for p in parameters):
        out: Tensor = _TanhLayers.apply(x, *parameters)
        return out
    portion = _portion(x)
    return _forward(x, parameters, [x.new_empty(portion, len(bias)) for bias in parameters[1:-2:2]], kept=False)


def _forward(x: Tensor, parameters: Sequence[Tensor], hidden: Sequence[Tensor], *, kept: bool) -> Tensor:
    out = x.new_empty(len(x), len(parameters[-1]))
    layers, portion = _layers(parameters, [None] * len(parameters)), _portion(x)
    call("tanh_layers", layers, len(parameters) // 2, len(x), portion, kept, x, _addresses(hidden), out)
    return out


def _portion(x: Tensor) -> int:
    """Rows at a time, so that portions are about equal: a small rest would be multiplied slowly."""
    return math.ceil(len(x) / max(1, math.ceil(len(x) / PORTION)))


def _layers(parameters: Sequence[Tensor], into: Sequence[Tensor | None]) -> ctypes.Array[Any]:
    """`struct dense` of every layer."""
    here, there = pointers(parameters), pointers(into)
    rows = [
        (here[i], here[i + 1], there[i], there[i + 1], parameters[i].shape[1], parameters[i].shape[0])
        for i in range(0, len(parameters), 2)
    ]
    return (_Dense * len(rows))(*rows)  # type: ignore[misc]  # tuples become structs


def _addresses(tensors: Sequence[Tensor]) -> ctypes.Array[Any]:
    return (_P * len(tensors))(*pointers(tensors))
