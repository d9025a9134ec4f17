"""Matrix products of single precision, and, within `precision("half")`, of factors rounded to half precision.

The latter keep 10 bits of a factor's fraction, as TF32 does on GPUs, but 64 products at a time are summed in half
precision too: off by 1.2e-3 of a typical element, some three times TF32's. They take place on processors with AVX-512
FP16, at up to 1.7 times the speed of single precision (`ops/native/half.c`), forwards and backwards; elsewhere
products stay as they are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bellmark.ops.native import call, fused

Precision = Literal["single", "half"]
LEAST = 64  # rows or columns of a factor below which packing costs more than it saves
_HALF: ContextVar[bool] = ContextVar("half precision", default=False)
_NO, _TURNED = b"N", b"T"
_ONE, _ZERO = ctypes.c_float(1.0), ctypes.c_float(0.0)


@contextmanager
def precision(name: Precision) -> Iterator[None]:
    """Products inside are computed so, those of their gradients too, wherever these are asked for."""
    token = _HALF.set(name == "half")
    try:
        yield
    finally:
        _HALF.reset(token)


@cache
def half_available() -> bool:
    """Whether this processor (and its compiler) multiply halves."""
    ready = ctypes.c_int64(0)
    if fused(torch.empty(0)) is not None:
        call("half_ready", ctypes.byref(ready))
    return bool(ready.value)


def halved(x: Tensor) -> bool:
    """Whether products of `x` are to be of halves, and can be."""
    return _HALF.get() and fused(x) is not None and half_available()


def mm(x: Tensor, weight: Tensor) -> Tensor:
    """x (n, k) weight (k, m) -> (n, m)."""
    if min(*x.shape, weight.shape[1]) < LEAST or not (x.is_contiguous() and weight.is_contiguous() and halved(x)):
        return torch.mm(x, weight)
    out: Tensor = _HalfProduct.apply(x, weight)
    return out


class _HalfProduct(torch.autograd.Function):
    """x weight; its gradients are products of halves as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _half(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        into_x, into_weight = ctx.needs_input_grad
        return (
            _half(grad, weight, turned_right=True) if into_x else None,
            _half(x, grad, turned_left=True) if into_weight else None,
        )


def _half(x: Tensor, y: Tensor, *, turned_left: bool = False, turned_right: bool = False) -> Tensor:
    """x y, or x^T y, or x y^T; BLAS counts by columns, so that it is handed the factors in turn."""
    k, n = x.shape if turned_left else x.shape[::-1]
    m = y.shape[0 if turned_right else 1]
    out = x.new_empty(n, m)
    sizes = [ctypes.c_int(size) for size in (m, n, k, y.shape[1], x.shape[1], m)]
    m_, n_, k_, ld_y, ld_x, ld_out = (ctypes.byref(size) for size in sizes)
    turns = (_TURNED if turned_right else _NO, _TURNED if turned_left else _NO)
    one, zero = ctypes.byref(_ONE), ctypes.byref(_ZERO)
    call("half_sgemm", *turns, m_, n_, k_, one, y, ld_y, x, ld_x, zero, out, ld_out)
    return out
