"""LaProp with adaptive gradient clipping, all tensors in one call per operation.

LaProp (Ziyin et al. 2020; Hafner et al. 2025): the gradient is first divided by the root of its running mean square,
bias-corrected, and the momentum is taken of the quotient, bias-corrected too:

    v <- b2 v + (1 - b2) g^2;  u = g / (sqrt(v / (1 - b2^t)) + eps)
    m <- b1 m + (1 - b1) u;    p <- p - lr m / (1 - b1^t)

so that the first step is lr * sign(g) whatever the betas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

# Of parameters and gradients per part: cuts the gradients in place, returns the share (parts,) of each that was cut.
Clip = Callable[[Sequence[Sequence[Tensor]], Sequence[Sequence[Tensor]]], Tensor]


class Part(NamedTuple):
    """Tensors with a learning rate of their own, named together in metrics."""

    name: str
    parameters: Sequence[nn.Parameter]
    lr: float


class LaProp:
    """An optimiser over parts; a part that rests keeps its moments and its count of steps."""

    def __init__(self, parts: Sequence[Part], *, beta1: float, beta2: float, eps: float, clip: Clip) -> None:
        self.parts = parts
        self._beta1, self._beta2, self._eps, self._clip = beta1, beta2, eps, clip
        self._moments = {
            p.name: ([torch.zeros_like(t) for t in p.parameters], [torch.zeros_like(t) for t in p.parameters])
            for p in parts
        }
        self._steps = {p.name: 0 for p in parts}
        self._rates: dict[str, Tensor | float] = {}  # the newest steps, in multiples of the momentum

    @torch.no_grad()
    def step(self, loss: Tensor, factors: Mapping[str, Tensor | float]) -> dict[str, Tensor]:
        """Backpropagate, clip, descend the parts that `factors` names, their learning rates times the factor.

        A factor of zero moves nothing, but lets the moments follow. Returns gradient norms before clipping, `grad/*`,
        and the share of a part that was cut, `clip_share/*`.
        """
        chosen = [p for p in self.parts if p.name in factors]
        for part in self.parts:
            for parameter in part.parameters:
                parameter.grad = None
        with torch.enable_grad():
            loss.backward()
        gradients = [[_gradient(t) for t in p.parameters] for p in chosen]
        norms = {f"grad/{p.name}": joint_norm(g) for p, g in zip(chosen, gradients, strict=True)}
        cut = self._clip([p.parameters for p in chosen], gradients)
        for part, gradient in zip(chosen, gradients, strict=True):
            self._descend(part, gradient, factors[part.name])
        return {**norms, **{f"clip_share/{p.name}": share for p, share in zip(chosen, cut.unbind(), strict=True)}}

    def _descend(self, part: Part, gradient: list[Tensor], factor: Tensor | float) -> None:
        square, momentum = self._moments[part.name]
        self._steps[part.name] += 1
        count = self._steps[part.name]
        torch._foreach_mul_(square, self._beta2)
        torch._foreach_addcmul_(square, gradient, gradient, 1 - self._beta2)
        root = torch._foreach_div(square, 1 - self._beta2**count)
        torch._foreach_sqrt_(root)
        torch._foreach_add_(root, self._eps)
        torch._foreach_div_(gradient, root)
        torch._foreach_lerp_(momentum, gradient, 1 - self._beta1)
        rate = self._rates[part.name] = factor * (part.lr / (1 - self._beta1**count))
        if isinstance(rate, Tensor):
            torch._foreach_sub_(list(part.parameters), torch._foreach_mul(momentum, rate))
        else:
            torch._foreach_add_(list(part.parameters), momentum, alpha=-rate)

    @torch.no_grad()
    def measure(self) -> dict[str, Tensor]:
        """Norms of the parts, `param_norm/*`; of their newest steps over those, `update_ratio/*`, if they moved."""
        norms = {p.name: joint_norm(p.parameters) for p in self.parts}
        ratios = {name: joint_norm(self._moments[name][1]) / norms[name] * rate for name, rate in self._rates.items()}
        return {
            **{f"param_norm/{name}": norm for name, norm in norms.items()},
            **{f"update_ratio/{name}": ratio for name, ratio in ratios.items()},
        }

    def state_dict(self) -> dict[str, Any]:
        """Moments and counts."""
        return {
            "moments": {name: [list(square), list(momentum)] for name, (square, momentum) in self._moments.items()},
            "steps": dict(self._steps),
            "rates": {name: torch.as_tensor(rate, dtype=torch.float64) for name, rate in self._rates.items()},
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue as the saved one would have; parts that `state` does not name stay as they are."""
        for name, saved in state["moments"].items():
            for mine, theirs in zip(self._moments[name], saved, strict=True):
                torch._foreach_copy_(mine, list(theirs))
        self._steps.update(state["steps"])
        self._rates.update(state.get("rates", {}))  # an inherited part has made no step here


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def joint_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The norm of all numbers of some tensors."""
    return torch.stack(torch._foreach_norm(list(tensors))).norm()


def agc(clip: float, least: float) -> Clip:
    """Each tensor's gradient norm is at most `clip` times max(least, the tensor's norm) (Brock et al. 2021).

    A part's share is that of its tensors.
    """

    def cut(parameters: Sequence[Sequence[Tensor]], gradients: Sequence[Sequence[Tensor]]) -> Tensor:
        every = [g for part in gradients for g in part]
        most = torch.stack(torch._foreach_norm([p for part in parameters for p in part])).clamp_(min=least) * clip
        norm = torch.stack(torch._foreach_norm(every))
        torch._foreach_mul_(every, list((most / norm).clamp_(max=1.0).unbind()))
        cut = (norm > most).float().split([len(part) for part in gradients])
        return torch.stack([share.mean() for share in cut])

    return cut


def by_part(clip: float) -> Clip:
    """The norm of all gradients of a part is at most `clip`; a part's share is 0 or 1."""

    def cut(parameters: Sequence[Sequence[Tensor]], gradients: Sequence[Sequence[Tensor]]) -> Tensor:
        norms = torch.stack([joint_norm(part) for part in gradients])
        for part, norm in zip(gradients, norms.unbind(), strict=True):
            torch._foreach_mul_(list(part), (clip / norm).clamp(max=1.0))
        return (norms > clip).float()

    return cut


def unclipped(parameters: Sequence[Sequence[Tensor]], gradients: Sequence[Sequence[Tensor]]) -> Tensor:
    """Gradients as they are."""
    return gradients[0][0].new_zeros(len(gradients))
