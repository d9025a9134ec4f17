"""Perceptrons of normed Mish layers of sixteen bits without gradient, one pass of C per member (`ops/native/packed.h`).

What is computed is what `ensemble.Ensemble` says in PyTorch within `ops.products.precision(...)`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from bellmark.nets.fused import pointers, structure
from bellmark.ops.native import call

Layer = tuple[Tensor, Tensor, Tensor | None, Tensor | None]  # weight (inputs, outputs), bias, scale, shift
Packed = tuple[Tensor, Tensor]  # panels of weights, and what undoes their scales
Kept = dict[tuple[object, ...], tuple[Packed, list[Tensor]]]  # by where weights lie; while they are held, no others do
_Normed = structure("normed", ("weight bias scale shift", ctypes.c_void_p), ("inputs outputs", ctypes.c_int64))
_KEPT: ContextVar[Kept | None] = ContextVar("packed weights", default=None)
ACROSS = 64  # columns of a panel, as in `ops/native/reduced.h`


@contextmanager
def weights_kept() -> Iterator[None]:
    """No weight changes inside, so that each is packed once."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def perceptron(passes: str, x: Tensor, layers: Sequence[Layer], *, joined: bool) -> Tensor:
    """Rows (n, inputs) to (n, outputs) of the last layer; `joined`: x is (n, outputs) of the first one's product.

    `passes` is what `ops.products.reduced` says.
    """
    x = x.contiguous()
    out = x.new_empty(len(x), len(layers[-1][1]))
    rows = [(*pointers(layer), *layer[0].shape) for layer in layers]
    described = (_Normed * len(rows))(*rows)  # type: ignore[misc]  # tuples become structs
    panels, back = _packed(passes, described, layers, joined)
    call(f"{passes}_perceptron", described, len(rows), panels, back, len(x), x, joined, out)
    return out


def _packed(passes: str, described: Any, layers: Sequence[Layer], joined: bool) -> Packed:
    """The layers' weights (but for the first one's where x is `joined`), packed now or before."""
    kept, weights = _KEPT.get(), [layer[0] for layer in layers]
    key = (passes, joined, *(weight.data_ptr() for weight in weights))
    if kept is not None and key in kept:
        return kept[key][0]
    shapes = [weight.shape for weight in weights[joined:]]
    size = sum((outputs + ACROSS - 1) // ACROSS * ACROSS * (inputs + inputs % 2) for inputs, outputs in shapes)
    made = torch.empty(size, dtype=torch.int16), torch.empty(len(layers))
    call(f"{passes}_pack", described, len(layers), joined, *made)
    if kept is not None:
        kept[key] = made, weights
    return made
