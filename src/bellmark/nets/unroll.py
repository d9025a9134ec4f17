"""Following a sequence of observations, with the gradient through time written out by hand.

One autograd node for all T steps instead of some 120 per step. The loop does what must be done in order; what depends
on one step alone (actions, encoded observations) is projected for all steps before it, and the gradients of all
weights are products over all steps after it. `Rssm.observe` has the plain loop; a test holds the two together.

Axes: T steps, B slices, D recurrent state, G blocks, U units, S latents, K classes. States are columns (see
`nets.rms`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from bellmark.nets.rms import norm_silu_backward, rms
from bellmark.ops.categorical import draw


class Weights(NamedTuple):
    """What the loop multiplies with, in the order of `unroll_cells.BlockSteps` and `unroll_fused.Posterior`, as
    gradients come.
    """

    deter_UD: Tensor  # recurrent state into the cell
    deter_bias_U: Tensor
    stoch_UC: Tensor  # latents into the cell, C = S K
    stoch_bias_U: Tensor
    scale_2U: Tensor  # of the norms of both, (2, U)
    own: Tensor  # (G, D/G, D/G), a block of the state into the same block of the hidden layer
    shared_D2U: Tensor  # both inputs into every block of the hidden layer
    hidden_scale_D: Tensor
    gates: Tensor  # (G, 3 D/G, D/G)
    gates_bias: Tensor  # (G, 3 D/G, 1)
    posterior_UD: Tensor  # recurrent state into the posterior
    posterior_scale_U: Tensor
    logits_CU: Tensor
    logits_bias_C: Tensor


class Step(NamedTuple):
    """What one step leaves for its gradient."""

    deter: Tensor  # (D, B) before the step, zero where an episode begins
    stoch: Tensor  # (C, B)
    normed: Tensor  # (2, U, B), inputs after the norm
    inverse: Tensor  # (2, 1, B)
    inputs: Tensor  # (2 U, B)
    hidden_normed: Tensor  # (D, B)
    hidden_inverse: Tensor
    hidden: Tensor  # (D, B)
    reset: Tensor  # (G, D/G, B) each
    raw: Tensor  # the candidate before it is reset
    candidate: Tensor
    update: Tensor
    after: Tensor  # (D, B) after the step
    seen_normed: Tensor  # (U, B)
    seen_inverse: Tensor
    seen: Tensor
    softmax: Tensor  # (S, K, B)


class Unroll(torch.autograd.Function):
    """T steps; gives deter (T, D, B), stoch (T, S, K, B) and probs (T, S, K, B)."""

    @staticmethod
    def forward(
        ctx: Any,
        deter: Tensor,
        stoch: Tensor,
        action_TDB: Tensor,
        token_TUB: Tensor,
        going_TB: Tensor,
        uniform_TSB: Tensor,
        unimix: float,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        w = Weights(*weights)
        steps: list[Step] = []
        states: list[tuple[Tensor, Tensor, Tensor]] = []
        shape = stoch.shape
        hot = stoch
        for action, token, going, uniform in zip(action_TDB, token_TUB, going_TB, uniform_TSB, strict=True):
            step = _step(w, deter * going, hot.flatten(0, 1) * going, action, token, shape)
            mixed = step.softmax * (1 - unimix) + unimix / shape[1]
            hot, deter = draw(mixed, uniform, 1), step.after
            steps.append(step)
            states.append((deter, hot, mixed))
        ctx.steps, ctx.going_TB, ctx.unimix, ctx.sizes = steps, going_TB, unimix, (action_TDB.shape, token_TUB.shape)
        ctx.save_for_backward(*weights)
        deters, stochs, probs = (torch.stack(column) for column in zip(*states, strict=True))
        return deters, stochs, probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, deter_TDB: Tensor, stoch_TSKB: Tensor, probs_TSKB: Tensor) -> tuple[Any, ...]:
        w = Weights(*ctx.saved_tensors)
        turned = Weights(*(x.transpose(-1, -2) if x.dim() > 1 else x for x in w))
        probs_TSKB = probs_TSKB + stoch_TSKB  # straight through
        deter, stoch = torch.zeros_like(deter_TDB[0]), torch.zeros_like(probs_TSKB[0]).flatten(0, 1)
        traces = []
        for t in reversed(range(len(ctx.steps))):
            trace = _step_backward(
                w,
                turned,
                ctx.steps[t],
                deter_TDB[t] + deter,
                (probs_TSKB[t] + stoch.view_as(probs_TSKB[t])),
                ctx.unimix,
            )
            deter, stoch = trace.deter * ctx.going_TB[t], trace.stoch * ctx.going_TB[t]
            traces.append(trace)
        traces.reverse()
        gradients = _weight_gradients(w, ctx.steps, traces)
        action, token = (torch.stack([getattr(x, name) for x in traces]) for name in ("hidden", "seen"))
        ctx.steps = None
        return (None, None, action, token, None, None, None, *gradients)


def _step(w: Weights, deter: Tensor, stoch: Tensor, action: Tensor, token: Tensor, shape: torch.Size) -> Step:
    """One step of the cell and the posterior that it meets."""
    blocks, batch = len(w.own), deter.shape[1]
    joined = torch.stack(
        (
            torch.addmm(w.deter_bias_U.unsqueeze(1), w.deter_UD, deter),
            torch.addmm(w.stoch_bias_U.unsqueeze(1), w.stoch_UC, stoch),
        )
    )
    inverse = rms(joined)
    normed = joined.mul_(inverse)
    inputs = F.silu(normed * w.scale_2U.unsqueeze(-1), inplace=True).flatten(0, 1)
    x = torch.addmm(action, w.shared_D2U, inputs)
    x = torch.baddbmm(x.view(blocks, -1, batch), w.own, deter.view(blocks, -1, batch)).flatten(0, 1)
    hidden_inverse = rms(x)
    hidden_normed = x.mul_(hidden_inverse)
    hidden = F.silu(hidden_normed * w.hidden_scale_D.unsqueeze(1), inplace=True)
    gates = torch.baddbmm(w.gates_bias, w.gates, hidden.view(blocks, -1, batch))
    reset, raw, update = gates.chunk(3, 1)
    reset, update = reset.sigmoid(), (update - 1).sigmoid_()
    candidate = (reset * raw).tanh_()
    after = torch.lerp(deter.view_as(candidate), candidate, update).flatten(0, 1)
    x = torch.addmm(token, w.posterior_UD, after)
    seen_inverse = rms(x)
    seen_normed = x.mul_(seen_inverse)
    seen = F.silu(seen_normed * w.posterior_scale_U.unsqueeze(1), inplace=True)
    softmax = torch.addmm(w.logits_bias_C.unsqueeze(1), w.logits_CU, seen).view(shape).softmax(1)
    return Step(
        deter, stoch, normed, inverse, inputs, hidden_normed, hidden_inverse, hidden,
        reset, raw, candidate, update, after, seen_normed, seen_inverse, seen, softmax,
    )  # fmt: skip


class Trace(NamedTuple):
    """Gradients at one step, as the weights' gradients need them."""

    deter: Tensor  # (D, B) of the state before the step
    stoch: Tensor  # (C, B)
    inputs: Tensor  # (2, U, B) before the norm
    scale: Tensor  # (2, U)
    hidden: Tensor  # (D, B) before the norm
    hidden_scale: Tensor
    gates: Tensor  # (G, 3 D/G, B)
    seen: Tensor  # (U, B) before the norm
    seen_scale: Tensor
    logits: Tensor  # (C, B)


def _step_backward(w: Weights, turned: Weights, s: Step, deter: Tensor, probs: Tensor, unimix: float) -> Trace:
    """From gradients of the state (D, B) and the probabilities (S, K, B) after a step to those before it."""
    blocks, batch = len(w.own), deter.shape[1]
    weighed = probs * s.softmax
    logits = torch.addcmul(weighed, s.softmax, weighed.sum(1, keepdim=True), value=-1).mul_(1 - unimix).flatten(0, 1)
    seen, seen_scale = norm_silu_backward(turned.logits_CU @ logits, s.seen_normed, s.seen_inverse, w.posterior_scale_U)
    deter = torch.addmm(deter, turned.posterior_UD, seen).view_as(s.candidate)
    into_candidate = deter * s.update
    kept = deter - into_candidate
    gates = torch.empty(blocks, 3 * s.reset.shape[1], batch, dtype=deter.dtype, device=deter.device)
    reset, raw, update = gates.chunk(3, 1)
    moved = (s.candidate - s.deter.view_as(s.candidate)).mul_(deter)
    torch.ops.aten.sigmoid_backward.grad_input(moved, s.update, grad_input=update)
    through = torch.ops.aten.tanh_backward(into_candidate, s.candidate)
    torch.mul(through, s.reset, out=raw)
    torch.ops.aten.sigmoid_backward.grad_input(through.mul_(s.raw), s.reset, grad_input=reset)
    hidden, hidden_scale = norm_silu_backward(
        torch.bmm(turned.gates, gates).flatten(0, 1), s.hidden_normed, s.hidden_inverse, w.hidden_scale_D
    )
    before = torch.baddbmm(kept, turned.own, hidden.view(blocks, -1, batch)).flatten(0, 1)
    into = (turned.shared_D2U @ hidden).view_as(s.normed)
    inputs, scale = norm_silu_backward(into, s.normed, s.inverse, w.scale_2U)
    before = torch.addmm(before, turned.deter_UD, inputs[0])
    return Trace(
        before, turned.stoch_UC @ inputs[1], inputs, scale, hidden, hidden_scale, gates, seen, seen_scale, logits
    )


def _weight_gradients(w: Weights, steps: list[Step], traces: list[Trace]) -> Weights:
    """Sums over steps and slices of products between gradients and what they met."""

    def left(name: str) -> Tensor:
        return torch.cat([getattr(x, name) for x in traces], -1)  # (..., T B)

    def right(name: str) -> Tensor:
        return torch.cat([getattr(x, name) for x in steps], -1).transpose(-1, -2)

    inputs, hidden, gates, seen, logits = (left(name) for name in ("inputs", "hidden", "gates", "seen", "logits"))
    deter, after, met = right("deter"), right("after"), right("hidden")
    blocks = len(w.own)

    def by_block(x: Tensor) -> Tensor:
        return x.unflatten(1, (blocks, -1)).transpose(0, 1)  # (T B, D) -> (G, T B, D/G)

    return Weights(
        deter_UD=inputs[0] @ deter,
        deter_bias_U=inputs[0].sum(1),
        stoch_UC=inputs[1] @ right("stoch"),
        stoch_bias_U=inputs[1].sum(1),
        scale_2U=torch.stack([x.scale for x in traces]).sum(0),
        own=torch.bmm(hidden.unflatten(0, (blocks, -1)), by_block(deter)),
        shared_D2U=hidden @ right("inputs"),
        hidden_scale_D=torch.stack([x.hidden_scale for x in traces]).sum(0),
        gates=torch.bmm(gates, by_block(met)),
        gates_bias=gates.sum(-1, keepdim=True),
        posterior_UD=seen @ after,
        posterior_scale_U=torch.stack([x.seen_scale for x in traces]).sum(0),
        logits_CU=logits @ right("seen"),
        logits_bias_C=logits.sum(1),
    )
