"""Values of other discounts, learned beside the main one: which, and from what.

Axes: T steps of a slice, P positions, N rollouts, H dynamics heads, B slices, L latent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from bellmark.config import Choice, Config, knob

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from bellmark.agents.tdmpc.slices import Slice
    from bellmark.agents.tdmpc.targets import Target


class Transition(NamedTuple):
    """Where a value is learned, and what followed."""

    at_PBL: Tensor
    reward_NPB: Tensor
    keep_HNPB: Tensor
    next_HNPBL: Tensor


def replayed(data: Slice, at_TBL: Tensor, next_TBL: Tensor) -> Transition:
    """The steps of replay, at some latents and with some next ones (both T + 1 long)."""
    return Transition(at_TBL[:-1], data.reward_TB[None], data.keep_TB[None, None], next_TBL[None, None, 1:].detach())


class NoAuxiliary(Choice):
    """Values of the one discount only."""

    kind: Literal["none"] = "none"
    weight: ClassVar[float] = 0.0
    learn_from: ClassVar[str] = "replay"
    slow_rate: ClassVar[float] = 0.0


class AuxiliaryKnobs(Config):
    """Values of other discounts, learned beside the main one and never planned with."""

    gammas: tuple[float, ...] = knob(
        (0.9, 0.95), "their discounts", source="value_stability_plan", scope="model", min_length=1
    )
    weight: float = knob(0.1, "weight of their loss", source="user's multi_gamma_loss_weight", ge=0)
    learn_from: Literal["replay", "rollout", "imagined"] = knob(
        "replay",
        "real rewards at encoded observations, real rewards at the rollout's latents, or the target's imagined steps",
        source="user's aux_value_source",
    )
    slow_rate: float = knob(0.0, "how fast their slow copies follow; 0: as fast as the target's", ge=0, le=1)


class Joint(AuxiliaryKnobs, Choice):
    """One network with an output for each discount."""

    kind: Literal["joint"] = "joint"


class Separate(AuxiliaryKnobs, Choice):
    """A network for each discount."""

    kind: Literal["separate"] = "separate"


LEARN_FROM: dict[str, Callable[[Slice, Tensor, Target], Transition]] = {  # where auxiliary values are learned
    "replay": lambda data, at, target: replayed(data, data.encoded_TBL, data.encoded_TBL),
    "rollout": lambda data, at, target: replayed(data, data.z_TBL, data.z_TBL),
    "imagined": lambda data, at, target: Transition(at, target.reward_NPB, target.keep_HNPB, target.next_HNPBL),
}
