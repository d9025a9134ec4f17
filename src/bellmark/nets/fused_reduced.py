"""Perceptrons of normed Mish layers of sixteen bits without gradient, one pass of C per member (`ops/native/packed.h`).

What is computed is what `ensemble.Ensemble` says in PyTorch within `ops.products.precision(...)`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bellmark.nets.fused import pointers, structure
from bellmark.ops.native import call

Layer = tuple[Tensor, Tensor, Tensor | None, Tensor | None]  # weight (inputs, outputs), bias, scale, shift
_Normed = structure("normed", ("weight bias scale shift", ctypes.c_void_p), ("inputs outputs", ctypes.c_int64))
ACROSS = 64  # columns of a panel, as in `ops/native/reduced.h`


class Perceptron(NamedTuple):
    """Layers, and their weights as C wants them."""

    layers: Sequence[Layer]  # of which `described` knows only where they lie
    described: Any
    passes: str  # what `ops.products.reduced` says
    joined: bool  # what comes in is (n, outputs) of the first layer's product
    panels: Tensor
    back: Tensor  # what undoes their scales

    def __call__(self, x: Tensor) -> Tensor:
        """Rows (n, inputs) to (n, outputs) of the last layer."""
        x = x.contiguous()
        out = x.new_empty(len(x), len(self.layers[-1][1]))
        name = f"{self.passes}_perceptron"
        call(name, self.described, len(self.layers), self.panels, self.back, len(x), x, self.joined, out)
        return out


_KEPT: ContextVar[dict[Hashable, Perceptron] | None] = ContextVar("packed weights", default=None)


@contextmanager
def weights_kept() -> Iterator[None]:
    """No weight changes inside, so that each is packed once."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def kept(key: Hashable, make: Callable[[], Perceptron]) -> Perceptron:
    """What was made for this key within `weights_kept`; outside it is made anew."""
    known = _KEPT.get()
    if known is None:
        return make()
    if key not in known:
        known[key] = make()
    return known[key]


def pack(passes: str, layers: Sequence[Layer], *, joined: bool) -> Perceptron:
    """A perceptron of layers, packed (but for the first one's weights where what comes in is `joined`)."""
    described = (_Normed * len(layers))(*[(*pointers(layer), *layer[0].shape) for layer in layers])  # type: ignore[misc]  # tuples become structs
    shapes = [weight.shape for weight, *_ in layers[joined:]]
    size = sum((outputs + ACROSS - 1) // ACROSS * ACROSS * (inputs + inputs % 2) for inputs, outputs in shapes)
    panels, back = torch.empty(size, dtype=torch.int16), torch.empty(len(layers))
    call(f"{passes}_pack", described, len(layers), joined, panels, back)
    return Perceptron(layers, described, passes, joined, panels, back)
