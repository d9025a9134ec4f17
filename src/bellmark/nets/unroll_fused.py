"""Following a sequence of observations in two calls of the fused passes of `ops/native`: all steps forward, all back.

`unroll.Unroll` has the same for the block-diagonal cell in PyTorch's operations, `Rssm.observe` the plain loop. States
are rows here.

Axes: T steps, B slices, D recurrent state, S latents, K classes, C = S K, P units of the posterior.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bellmark.nets.fused import ACTIVE, pointers, structure
from bellmark.nets.unroll_cells import Cell, Rows
from bellmark.ops.native import call

_SAVED = ("deter", "stoch", "after", "seen_normed", "seen_inverse", "seen", "softmax", "probs", "hot")
_INTO = ("into_after", "into_probs", "into_seen", "into_logits", "into_seen_scale")
_P = ctypes.c_void_p
_Unroll = structure(
    "unroll",
    ("block grus seen_weight seen_turned seen_scale logits_weight logits_turned logits_bias", _P),
    ("first_deter first_stoch action token going uniform", _P),
    (" ".join(_SAVED), _P),
    (" ".join(_INTO), _P),
    ("T B D S K P ld_seen active", ctypes.c_int64),
    ("share", ctypes.c_float),
)


class Posterior(NamedTuple):
    """A hidden layer on recurrent state and observation, whose part is known, and the logits."""

    seen_PD: Tensor
    scale_P: Tensor | None  # of the norm; without one there is only the activation
    logits_CP: Tensor
    logits_bias_C: Tensor


class Given(NamedTuple):
    """What a sequence begins at and is told."""

    deter_BD: Tensor
    stoch_BC: Tensor
    action_TBX: Tensor  # what the cell makes of it
    token_TBP: Tensor  # what the posterior makes of observations
    going_TB: Tensor
    uniform_TSB: Tensor


class FusedUnroll(torch.autograd.Function):
    """T steps of rows; gives deter (T, B, D), latents (T, B, C) and their probabilities (T, B, C).

    Arguments: those of `Given`, the share of uniform, the posterior's activation, what makes a `Cell` of its weights;
    then the weights of the cell and of the posterior.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        given = Given(*(x.contiguous() for x in arguments[:GIVEN]))
        unimix, activation, kind, *weights = arguments[GIVEN:]
        cell, head = _split(kind, weights)
        steps, slices = given.going_TB.shape
        state, wide, units = (x.shape[-1] for x in (given.deter_BD, given.stoch_BC, given.token_TBP))
        sizes = dict(zip(_SAVED, (state, wide, state, units, 1, units, wide, wide, wide), strict=True)) | cell.saved
        rows = {name: given.deter_BD.new_empty(steps, slices, size) for name, size in sizes.items()}
        _call("unroll", cell, head, given, rows, unimix, activation)
        ctx.form, ctx.names = (unimix, activation, kind), list(rows)
        ctx.save_for_backward(*given, *rows.values(), *weights)
        return rows["after"], rows["hot"], rows["probs"]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, deter_TBD: Tensor, stoch_TBC: Tensor, probs_TBC: Tensor) -> tuple[Any, ...]:
        kept, (unimix, activation, kind), count = ctx.saved_tensors, ctx.form, GIVEN + len(ctx.names)
        given, weights = Given(*kept[:GIVEN]), kept[count:]
        cell, head = _split(kind, weights)
        rows: Rows = dict(zip(ctx.names, kept[GIVEN:count], strict=True))
        rows["into_after"] = deter_TBD.clone(memory_format=torch.contiguous_format)
        rows["into_probs"] = (stoch_TBC + probs_TBC).contiguous()  # straight through
        sizes = {"into_seen": head.seen_PD.shape[0], "into_logits": len(head.logits_bias_C), **cell.left}
        rows |= {name: deter_TBD.new_empty(*deter_TBD.shape[:2], size) for name, size in sizes.items()}
        rows["into_seen_scale"] = deter_TBD.new_zeros(2, len(head.seen_PD))
        _call("unroll_back", cell, head, given, rows, unimix, activation)
        seen, logits = rows["into_seen"].flatten(0, 1), rows["into_logits"].flatten(0, 1)
        gradients = (
            *cell.gradients(rows),
            seen.t() @ rows["after"].flatten(0, 1),
            None if head.scale_P is None else rows["into_seen_scale"][0],
            logits.t() @ rows["seen"].flatten(0, 1),
            logits.sum(0),
        )
        return (None, None, rows[next(iter(cell.left))], rows["into_seen"], *[None] * 5, *gradients)


GIVEN = len(Given._fields)


def _split(kind: Callable[..., Cell], weights: Sequence[Tensor]) -> tuple[Cell, Posterior]:
    count = len(weights) - len(Posterior._fields)
    return kind(*weights[:count]), Posterior(*weights[count:])


def _call(name: str, cell: Cell, head: Posterior, given: Given, rows: Rows, unimix: float, activation: str) -> None:
    back = "into_after" in rows
    kind, path = cell.path(rows, back=back)
    paths = [ctypes.addressof(path) if kind == x else None for x in ("block", "grus")]
    seen, logits = (None, None) if back else (w.t().contiguous() for w in (head.seen_PD, head.logits_CP))
    weights = (head.seen_PD, seen, head.scale_P, head.logits_CP, logits, head.logits_bias_C)
    places = pointers((*weights, *given, *(rows.get(x) for x in (*_SAVED, *_INTO))))
    (steps, slices), latents = given.going_TB.shape, given.uniform_TSB.shape[1]
    classes, (units, state) = len(head.logits_bias_C) // latents, head.seen_PD.shape
    sizes = (steps, slices, state, latents, classes, units, head.seen_PD.stride(0), ACTIVE[activation])
    call(name, ctypes.byref(_Unroll(*paths, *places, *sizes, unimix)))
