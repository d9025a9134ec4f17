"""Matrix products of single precision, and, within `precision(...)`, of factors rounded to sixteen bits.

half      keeps 10 bits of a factor's fraction, as TF32 does on GPUs, but 64 products at a time are summed in half
          precision too: off by 1.2e-3 of a typical element, some three times TF32's. Needs AVX-512 FP16.
bfloat16  keeps 7 bits and sums in single precision: off by 2.3e-3. Needs AVX-512 BF16; uses AMX where there is any.

Both take place forwards and backwards, at up to twice the speed of single precision (`ops/native/half.c`, `bfloat.c`,
`amx.c`); on other processors products stay as they are. On CUDA devices `half` is TF32, and `bfloat16` is for the
products of `baddbmm`.
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

Precision = Literal["single", "half", "bfloat16"]
INSTRUCTIONS: dict[Precision, str] = {"half": "AVX-512 FP16", "bfloat16": "AVX-512 BF16"}  # that they need
# What the names of their passes begin with, the fastest first.
_PASSES: dict[Precision, tuple[str, ...]] = {"single": (), "half": ("half",), "bfloat16": ("amx", "bfloat")}
LEAST = 64  # rows or columns of a factor below which packing costs more than it saves
_PRECISION: ContextVar[Precision] = ContextVar("precision", default="single")
_NO, _TURNED = b"N", b"T"
_ONE, _ZERO = ctypes.c_float(1.0), ctypes.c_float(0.0)


@contextmanager
def precision(name: Precision) -> Iterator[None]:
    """Products inside are computed so, those of their gradients too, wherever these are asked for."""
    token = _PRECISION.set(name)
    former = torch.get_float32_matmul_precision()
    if name == "half" and torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        _PRECISION.reset(token)
        if torch.get_float32_matmul_precision() != former:
            torch.set_float32_matmul_precision(former)


def available(name: Precision, device: torch.device | str = "cpu") -> bool:
    """Whether a device multiplies factors of this precision; a processor may lack the instructions, or a compiler."""
    kind = torch.device(device).type
    return name == "single" or kind == "cuda" or (kind == "cpu" and _passes(name) is not None)


@cache
def _passes(name: Precision) -> str | None:
    """What the names of a precision's passes begin with on this processor."""
    for passes in _PASSES[name] if fused(torch.empty(0)) is not None else ():
        ready = ctypes.c_int64()
        call(f"{passes}_ready", ctypes.byref(ready))
        if ready.value:
            return passes
    return None


def reduced(x: Tensor) -> str | None:
    """What the names of the passes begin with that multiply `x` in fewer bits, if it is to be and can be."""
    return _passes(_PRECISION.get()) if fused(x) is not None else None


def mm(x: Tensor, weight: Tensor) -> Tensor:
    """x (n, k) weight (k, m) -> (n, m)."""
    passes = reduced(x)
    if passes is None or min(*x.shape, weight.shape[1]) < LEAST or not (x.is_contiguous() and weight.is_contiguous()):
        return torch.mm(x, weight)
    out: Tensor = _Product.apply(x, weight, passes)
    return out


def baddbmm(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """bias (E, 1, m) + x (E, n, k) weight (E, k, m) -> (E, n, m): all members at once, as accelerators like it."""
    if _PRECISION.get() == "bfloat16" and x.device.type == "cuda":
        out: Tensor = _Rounded.apply(x, weight)
        return out.add_(bias)
    return torch.baddbmm(bias, x, weight)


class _Rounded(torch.autograd.Function):
    """x weight of every member, factors rounded to bfloat16 and sums in single precision; its gradients likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _rounded(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        into_x, into_weight = ctx.needs_input_grad
        return (_rounded(grad, weight.mT) if into_x else None, _rounded(x.mT, grad) if into_weight else None)


def _rounded(x: Tensor, y: Tensor) -> Tensor:
    return torch.bmm(x.bfloat16(), y.bfloat16(), out_dtype=torch.float32)


class _Product(torch.autograd.Function):
    """x weight; its gradients are products of the same precision."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, passes: str) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.passes = passes
        return _product(passes, x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        into_x, into_weight, _ = ctx.needs_input_grad
        return (
            _product(ctx.passes, grad, weight, turned_right=True) if into_x else None,
            _product(ctx.passes, x, grad, turned_left=True) if into_weight else None,
            None,
        )


def _product(passes: str, x: Tensor, y: Tensor, *, turned_left: bool = False, turned_right: bool = False) -> Tensor:
    """x y, or x^T y, or x y^T; BLAS counts by columns, so that it is handed the factors in turn."""
    k, n = x.shape if turned_left else x.shape[::-1]
    m = y.shape[0 if turned_right else 1]
    out = x.new_empty(n, m)
    sizes = [ctypes.c_int(size) for size in (m, n, k, y.shape[1], x.shape[1], m)]
    m_, n_, k_, ld_y, ld_x, ld_out = (ctypes.byref(size) for size in sizes)
    turns = (_TURNED if turned_right else _NO, _TURNED if turned_left else _NO)
    one, zero = ctypes.byref(_ONE), ctypes.byref(_ZERO)
    call(f"{passes}_sgemm", *turns, m_, n_, k_, one, y, ld_y, x, ld_x, zero, out, ld_out)
    return out
