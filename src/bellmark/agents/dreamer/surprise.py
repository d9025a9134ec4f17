"""How much worse the world model does on this batch than of late: an early sign that it lags behind the policy.

The log ratio of the user's protocol (01-17-26): ln((v + eps) / (ema + eps)) against the average *before* this update,
which then moves. One number for the weighted loss and one per component, all advanced at every update (his components
moved on log rows only, and his KL components sat at the clip of the free bits: hand in the KL before the clip).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from bellmark.config import Config, knob

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PROTOCOL = "research protocol 01-17-26"
EPS = 1e-8
TOTAL = "total"


class Surprise(Config):
    """How the world model's losses are compared with what they were."""

    beta: float = knob(
        0.99, "decay per update of the average that a loss is compared with", source=PROTOCOL, gt=0, lt=1
    )
    decay: float = knob(
        0.9, "decay per update of the smoothed surprise, which rises at once", source=PROTOCOL, ge=0, lt=1
    )


class Reading(NamedTuple):
    """The surprise of one update; zeros until there is an average to compare with."""

    total: Tensor  # () log ratio of the world model's loss
    smoothed: Tensor  # () never negative: max(decay * former, max(0, total))
    metrics: Mapping[str, Tensor]  # `surprise/*`


class SurpriseMeter:
    """The averages of the world model's losses: () per member, losses in the order of the first call."""

    def __init__(self, chosen: Surprise, device: torch.device | str = "cpu") -> None:
        import torch

        self._chosen = chosen
        self._names: tuple[str, ...] = ()  # the total, then the components
        self._average = torch.zeros(0, device=device)  # (K,) per name
        self._smoothed = torch.zeros((), device=device)

    def observe(self, total: Tensor, terms: Mapping[str, Tensor]) -> Reading:
        """Compare this update's losses with the averages, then move those.

        Args:
            total: () the weighted loss of the world model per replayed step.
            terms: () each component; KL before the clip of the free bits.

        Raises:
            ValueError: other components than at the first call.
        """
        import torch

        names = (TOTAL, *terms)
        loss = torch.stack([total, *terms.values()]).detach().float()
        if not self._names:
            self._names, self._average = names, loss.clone()
            return self._reading(torch.zeros_like(loss), ready=0.0)
        if names != self._names:
            raise ValueError(f"surprise of {names[1:]} after {self._names[1:]}")
        ratio = ((loss + EPS) / (self._average + EPS)).log()
        self._average = torch.lerp(loss, self._average, self._chosen.beta)
        self._smoothed = torch.maximum(self._smoothed * self._chosen.decay, ratio[0])
        return self._reading(ratio, ready=1.0)

    def state_dict(self) -> dict[str, Any]:
        """The averages, and whose they are."""
        return {"names": list(self._names), "average": self._average, "smoothed": self._smoothed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with saved averages."""
        device = self._average.device
        self._names = tuple(state["names"])
        self._average, self._smoothed = state["average"].to(device), state["smoothed"].to(device)

    def _reading(self, ratio: Tensor, ready: float) -> Reading:
        each = dict(zip(self._names, ratio, strict=True))
        metrics = {f"surprise/{name}_log_ratio": value for name, value in each.items()}
        most = ratio[1:].max() if len(ratio) > 1 else ratio[0]
        own = {"max_component_log_ratio": most, "smoothed": self._smoothed, "ready": ratio.new_full((), ready)}
        return Reading(ratio[0], self._smoothed, {**metrics, **{f"surprise/{k}": v for k, v in own.items()}})
