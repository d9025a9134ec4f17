"""Optimiser groups: one Adam over several parts of a model, each with its own learning-rate scale and clipping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bellmark.nets.optim import joint_norm

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
    clip: float = 20.0  # largest norm of all groups' gradients together


@dataclass
class Descent:
    """An optimiser over groups; `step` descends a loss and says how large the gradients were."""

    groups: Sequence[Group]
    adam: Adam
    name: str = "all"  # of the groups together, in metrics
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        a = self.adam
        tables = [{"params": list(g.parameters), "lr": a.lr * g.scale} for g in self.groups]
        self.optimizer = torch.optim.AdamW(
            tables,
            lr=a.lr,
            eps=a.eps,
            betas=a.betas,
            weight_decay=a.weight_decay,
            fused=True,
            capturable=self._on_cuda,
        )

    def step(self, loss: Tensor) -> dict[str, Tensor]:
        """Backpropagate, clip, descend.

        Returns each group's gradient norm before clipping, `grad/<group>`, and 1 where it was cut, `clip_share/<name>`.

        Parameters that a loss does not reach keep their value: they have no gradient, not a zero one.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [[p.grad for p in g.parameters if p.grad is not None] for g in self.groups]
        norms = torch.stack([_norm(g, loss) for g in gradients])
        norm = norms.norm()
        _cut([p for g in gradients for p in g], norm, self.adam.clip)
        self.optimizer.step()
        named = {f"grad/{g.name}": norm for g, norm in zip(self.groups, norms.unbind(), strict=True)}
        return {**named, f"clip_share/{self.name}": (norm > self.adam.clip).float()}

    @torch.no_grad()
    def measure(self) -> dict[str, Tensor]:
        """Norms of the groups, `param_norm/*`; of their newest steps over those, `update_ratio/*`, if they moved."""
        return {name: value for g in self.groups for name, value in sizes(self.optimizer, g.name, g.parameters).items()}

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
        """Continue as the saved one would have, on whatever device that was."""
        self.optimizer.load_state_dict(dict(state))
        for table in self.optimizer.param_groups:
            table["capturable"] = self._on_cuda

    @property
    def _on_cuda(self) -> bool:
        """Whether its steps may be recorded as CUDA graphs."""
        return any(p.device.type == "cuda" for g in self.groups for p in g.parameters)


@torch.no_grad()
def sizes(optimizer: torch.optim.Optimizer, name: str, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """The norm of some parameters of an Adam, and that of their newest step over it where they have moved.

    As its moments tell, at the learning rate that is set now and without the decay of weights.
    """
    wanted, moved = {id(p) for p in parameters}, []
    for group in optimizer.param_groups:
        beta1, beta2 = group["betas"]
        for parameter in (p for p in group["params"] if id(p) in wanted and p in optimizer.state):
            state = optimizer.state[parameter]
            count = float(state["step"])
            root = (state["exp_avg_sq"] / (1 - beta2**count)).sqrt_().add_(group["eps"])
            moved.append((state["exp_avg"] / root).norm() * (group["lr"] / (1 - beta1**count)))
    size = joint_norm(parameters)
    ratio = {f"update_ratio/{name}": torch.stack(moved).norm() / size} if moved else {}
    return {f"param_norm/{name}": size, **ratio}


def _norm(gradient: list[Tensor], like: Tensor) -> Tensor:
    if not gradient:
        return torch.zeros((), device=like.device)
    return joint_norm(gradient)


def _cut(gradient: list[Tensor], norm: Tensor, most: float) -> None:
    """Scale gradients in place so that their norm is at most `most`."""
    if gradient:
        torch._foreach_mul_(gradient, (most / (norm + SMALL)).clamp(max=1.0))
