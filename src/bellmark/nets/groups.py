"""Optimiser groups: one Adam over several parts of a model, each with its own learning-rate scale and clipping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

SMALL = 1e-6  # keeps a zero gradient from dividing by zero when it is clipped


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate `lr * scale` and are named together in metrics."""

    name: str
    parameters: Sequence[nn.Parameter]
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Numbers of the optimiser. `weight_decay` above 0 is decoupled (AdamW), multiplied by the learning rate."""

    lr: float = 3e-4
    eps: float = 1e-8
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip: float = 20.0
    clip_by: Literal["all", "group"] = "all"  # whose norm is cut: that of all groups together, or each group's own


@dataclass
class Descent:
    """An optimiser over groups; `step` descends a loss and says how large the gradients were."""

    groups: Sequence[Group]
    adam: Adam
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        a = self.adam
        tables = [{"params": list(g.parameters), "lr": a.lr * g.scale} for g in self.groups]
        self.optimizer = torch.optim.AdamW(
            tables, lr=a.lr, eps=a.eps, betas=a.betas, weight_decay=a.weight_decay, fused=True
        )

    def step(self, loss: Tensor) -> dict[str, Tensor]:
        """Backpropagate, clip, descend. Returns each group's gradient norm before clipping, as `grad/<name>`.

        Parameters that a loss does not reach keep their value: they have no gradient, not a zero one.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [[p.grad for p in g.parameters if p.grad is not None] for g in self.groups]
        norms = [_norm(g, loss) for g in gradients]
        if self.adam.clip_by == "group":
            for gradient, norm in zip(gradients, norms, strict=True):
                _cut(gradient, norm, self.adam.clip)
        else:
            _cut([p for g in gradients for p in g], torch.stack(norms).norm(), self.adam.clip)
        self.optimizer.step()
        return {f"grad/{g.name}": norm for g, norm in zip(self.groups, norms, strict=True)}

    def rescale(self, name: str, scale: float) -> None:
        """Set a group's learning rate to lr * scale from now on.

        Raises:
            KeyError: no group has that name.
        """
        places = {g.name: place for place, g in enumerate(self.groups)}
        self.optimizer.param_groups[places[name]]["lr"] = self.adam.lr * scale

    def state_dict(self) -> dict[str, Any]:
        """Moments, counters, learning rates."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue as the saved one would have."""
        self.optimizer.load_state_dict(dict(state))


def _norm(gradient: list[Tensor], like: Tensor) -> Tensor:
    if not gradient:
        return torch.zeros((), device=like.device)
    return torch.stack(torch._foreach_norm(gradient)).norm()


def _cut(gradient: list[Tensor], norm: Tensor, most: float) -> None:
    """Scale gradients in place so that their norm is at most `most`."""
    if gradient:
        torch._foreach_mul_(gradient, (most / (norm + SMALL)).clamp(max=1.0))
