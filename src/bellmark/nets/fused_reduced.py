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
_P, _N = ctypes.c_void_p, ctypes.c_int64
_Normed = structure("normed", ("weight bias scale shift", _P), ("inputs outputs", _N))
_Inputs = structure("inputs", ("x more shared", _P), ("wide wide_more each count", _N))
ACROSS, DEEP = 64, 32  # columns of a panel (`ops/native/reduced.h`), and what its depth is a multiple of at most


class Shared(NamedTuple):
    """What the first layer's weights made of inputs that many rows share: of row r it is row r // each % count."""

    rows: Tensor  # (count, outputs of the first layer)
    each: int


class Perceptron(NamedTuple):
    """Layers, and their weights as C wants them."""

    layers: Sequence[Layer]  # of which `described` knows only where they lie
    described: Any
    passes: str  # what `ops.products.reduced` says
    panels: Tensor
    back: Tensor  # what undoes their scales

    def __call__(self, parts: Sequence[Tensor], shared: Shared | None = None) -> Tensor:
        """Rows (n, inputs), whose inputs lie side by side in one or more tensors, to (n, outputs) of the last layer."""
        x, *others = (part.contiguous() for part in parts)
        more = torch.cat(others, -1) if len(others) > 1 else others[0] if others else None
        sharing = (None, 1, 1) if shared is None else (shared.rows.contiguous(), shared.each, len(shared.rows))
        places = pointers((x, more, sharing[0]))
        inputs = _Inputs(*places, x.shape[1], 0 if more is None else more.shape[1], *sharing[1:])
        out = x.new_empty(len(x), len(self.layers[-1][1]))
        weights = self.described, len(self.layers), self.panels, self.back
        call(f"{self.passes}_perceptron", *weights, len(x), ctypes.byref(inputs), out)
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


def pack(passes: str, layers: Sequence[Layer]) -> Perceptron:
    """A perceptron of layers, the first of which may have only some of its weights' rows."""
    rows = [(*pointers(layer), *layer[0].shape) for layer in layers]
    described = (_Normed * len(layers))(*rows)  # type: ignore[misc]  # tuples become structs
    shapes = [weight.shape for weight, *_ in layers]
    size = sum(_whole(outputs, ACROSS) * _whole(inputs, DEEP) for inputs, outputs in shapes)
    panels, back = torch.empty(size, dtype=torch.int16), torch.empty(len(layers))
    call(f"{passes}_pack", described, len(layers), panels, back)
    return Perceptron(layers, described, passes, panels, back)


def _whole(count: int, by: int) -> int:
    return (count + by - 1) // by * by
