"""`unroll.Unroll` in two calls of the fused passes of `ops/native`: all steps forward, all steps back.

The gradients of weights are products over all steps, as there. States are rows here.

Axes: T steps, B slices, D recurrent state, G blocks, U units, S latents, K classes, C = S K, P units of the posterior.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bellmark.nets.fused import BlockWeights, pointers, structure
from bellmark.nets.unroll import Weights
from bellmark.ops.native import library

_SAVED = (
    "deter", "stoch", "normed", "deter_inverse", "stoch_inverse", "inputs", "hidden_normed", "hidden_inverse",
    "hidden", "gates", "after", "seen_normed", "seen_inverse", "seen", "softmax", "probs", "hot",
)  # fmt: skip
_LEFT = ("into_inputs", "into_hidden", "into_gates", "into_seen", "into_logits")
_P = ctypes.c_void_p
_Unroll = structure(
    "unroll",
    ("cell seen_weight seen_turned seen_scale logits_weight logits_turned logits_bias", _P),
    ("first_deter first_stoch action token going uniform", _P),
    (" ".join(_SAVED), _P),
    ("into_after into_probs", _P),
    (" ".join(_LEFT), _P),
    ("into_scales work", _P),
    ("T B S K P ld_seen", ctypes.c_int64),
    ("share", ctypes.c_float),
)


class FusedUnroll(torch.autograd.Function):
    """T steps of rows; gives deter (T, B, D), latents (T, B, C) and their probabilities (T, B, C)."""

    @staticmethod
    def forward(
        ctx: Any,
        deter_BD: Tensor,
        stoch_BC: Tensor,
        action_TBD: Tensor,
        token_TBP: Tensor,
        going_TB: Tensor,
        uniform_TSB: Tensor,
        unimix: float,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        w = Weights(*weights)
        given = [x.contiguous() for x in (deter_BD, stoch_BC, action_TBD, token_TBP, going_TB, uniform_TSB)]
        steps, slices = going_TB.shape
        wide = _widths(w)
        saved = {name: action_TBD.new_empty(steps, slices, wide[name]) for name in _SAVED}
        work = action_TBD.new_empty(0)
        _call("unroll", w, unimix, uniform_TSB.shape[1], given, saved, {}, work)
        ctx.unimix, ctx.latents = unimix, uniform_TSB.shape[1]
        ctx.save_for_backward(*weights, *given, *saved.values())
        return saved["after"], saved["hot"], saved["probs"]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, deter_TBD: Tensor, stoch_TBC: Tensor, probs_TBC: Tensor) -> tuple[Any, ...]:
        kept = ctx.saved_tensors
        w, given = Weights(*kept[: len(Weights._fields)]), kept[len(Weights._fields) : -len(_SAVED)]
        saved = dict(zip(_SAVED, kept[-len(_SAVED) :], strict=True))
        steps, slices, _ = deter_TBD.shape
        wide = _widths(w)
        units, state, posterior = len(w.deter_bias_U), len(w.hidden_scale_D), len(w.posterior_scale_U)
        into = {
            "into_after": deter_TBD.clone(memory_format=torch.contiguous_format),
            "into_probs": (stoch_TBC + probs_TBC).contiguous(),  # straight through
            **{name: deter_TBD.new_empty(steps, slices, wide[name]) for name in _LEFT},
            "into_scales": deter_TBD.new_zeros(2, 2 * units + state + posterior),
        }
        work = deter_TBD.new_empty(slices * (state + 2 * units + posterior))
        _call("unroll_back", w, ctx.unimix, ctx.latents, given, saved, into, work)
        gradients = _weight_gradients(w, saved, into)
        return (None, None, into["into_hidden"], into["into_seen"], None, None, None, *gradients)


def _widths(w: Weights) -> dict[str, int]:
    """Numbers per step and slice of everything that a step leaves."""
    state, units = len(w.hidden_scale_D), len(w.deter_bias_U)
    posterior, latents = len(w.posterior_scale_U), len(w.logits_bias_C)
    names = {"normed": 2 * units, "inputs": 2 * units, "gates": 3 * state, "stoch": latents, "hot": latents,
             "softmax": latents, "probs": latents, "logits": latents, "seen": posterior, "seen_normed": posterior,
             "deter_inverse": 1, "stoch_inverse": 1, "hidden_inverse": 1, "seen_inverse": 1}  # fmt: skip
    return {name: names.get(name.removeprefix("into_"), state) for name in (*_SAVED, *_LEFT)}


def _call(
    name: str,
    w: Weights,
    unimix: float,
    latents: int,
    given: Any,
    saved: dict[str, Tensor],
    into: dict[str, Tensor],
    work: Tensor,
) -> None:
    cell = BlockWeights(
        w.deter_UD, w.stoch_UC, w.own, w.shared_D2U, w.gates, w.deter_bias_U, w.stoch_bias_U, w.gates_bias,
        w.scale_2U[0], w.scale_2U[1], w.hidden_scale_D,
    )  # fmt: skip
    forward = not into
    cell = cell.turned() if forward else cell
    struct = cell.struct(forward)
    matrices = (w.posterior_UD, w.logits_CU)
    seen, logits = (x.t().contiguous() for x in matrices) if forward else (None, None)
    head = (w.posterior_UD, seen, w.posterior_scale_U, w.logits_CU, logits, w.logits_bias_C)
    steps, slices = given[4].shape
    gradients = [into.get(x) for x in ("into_after", "into_probs", *_LEFT, "into_scales")]
    tensors = pointers((*head, *given, *saved.values(), *gradients, work))
    classes = len(w.logits_bias_C) // latents
    sizes = (steps, slices, latents, classes, len(w.posterior_scale_U), w.posterior_UD.stride(0))
    it = _Unroll(ctypes.addressof(struct), *tensors, *sizes, unimix)
    lib = library()
    assert lib is not None
    getattr(lib, name)(ctypes.byref(it))


def _weight_gradients(w: Weights, saved: dict[str, Tensor], into: dict[str, Tensor]) -> Weights:
    """Sums over steps and slices of products between gradients and what they met."""
    units, state, blocks = len(w.deter_bias_U), len(w.hidden_scale_D), len(w.own)
    flat = {name: x.flatten(0, 1) for name, x in (*saved.items(), *into.items()) if x.dim() == 3}

    def by_block(x: Tensor) -> Tensor:
        return x.unflatten(1, (blocks, -1)).transpose(0, 1)  # (G, T B, .)

    from_deter, from_stoch = flat["into_inputs"].chunk(2, 1)
    hidden, gates, seen, logits = (flat[f"into_{name}"] for name in ("hidden", "gates", "seen", "logits"))
    scales, biases = into["into_scales"]
    return Weights(
        deter_UD=from_deter.t() @ flat["deter"],
        deter_bias_U=biases[:units],
        stoch_UC=from_stoch.t() @ flat["stoch"],
        stoch_bias_U=biases[units : 2 * units],
        scale_2U=scales[: 2 * units].view(2, units),
        own=torch.bmm(by_block(hidden).mT, by_block(flat["deter"])),
        shared_D2U=hidden.t() @ flat["inputs"],
        hidden_scale_D=scales[2 * units : 2 * units + state],
        gates=torch.bmm(by_block(gates).mT, by_block(flat["hidden"])),
        gates_bias=gates.sum(0).view_as(w.gates_bias),
        posterior_UD=seen.t() @ flat["after"],
        posterior_scale_U=scales[2 * units + state :],
        logits_CU=logits.t() @ flat["seen"],
        logits_bias_C=logits.sum(0),
    )
