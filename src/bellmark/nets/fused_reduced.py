"""Perceptrons of normed Mish layers of sixteen bits without gradient, one pass of C per member (`ops/native/packed.h`).

What is computed is what `ensemble.Ensemble` says in PyTorch within `ops.products.precision(...)`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from torch import Tensor

from bellmark.nets.fused import pointers, structure
from bellmark.ops.native import call

Layer = tuple[Tensor, Tensor, Tensor | None, Tensor | None]  # weight (inputs, outputs), bias, scale, shift
_Normed = structure("normed", ("weight bias scale shift", ctypes.c_void_p), ("inputs outputs", ctypes.c_int64))


def perceptron(passes: str, x: Tensor, layers: Sequence[Layer], *, joined: bool) -> Tensor:
    """Rows (n, inputs) to (n, outputs) of the last layer; `joined`: x is (n, outputs) of the first one's product.

    `passes` is what `ops.products.reduced` says.
    """
    x = x.contiguous()
    out = x.new_empty(len(x), len(layers[-1][1]))
    rows = [(*pointers(layer), *layer[0].shape) for layer in layers]
    described = (_Normed * len(rows))(*rows)  # type: ignore[misc]  # tuples become structs
    call(f"{passes}_perceptron", described, len(rows), len(x), x, joined, out)
    return out
