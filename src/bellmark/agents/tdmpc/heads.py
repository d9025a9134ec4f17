"""How opinions of reward heads, value members and dynamics heads become one number, in targets and in the policy.

q_h = red_R r + gamma red_M v + coef (std_R r + gamma std_M v) for every dynamics head h, then a reduction over h.
TD-MPC2's target is `values=min members=2`, the user's later code a signed `coef`, his earlier one a reduction for each
axis.
Axes: R reward heads, M value members, H dynamics heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from bellmark import ops
from bellmark.config import Config, knob

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Reduction = Literal["mean", "min", "max"]
DynamicsReduction = Literal["by_sign", "mean", "min", "max"]


class Heads(Config):
    """Means, and disagreement as a bonus (above 0) or a penalty (below)."""

    rewards: Reduction = knob("mean", "over reward heads")
    values: Reduction = knob("mean", "over value members")
    dynamics: DynamicsReduction = knob(
        "by_sign", "over dynamics heads; by_sign: the best where coef is above 0, the worst below, the mean at 0"
    )
    members: int = knob(0, "value members asked, drawn anew each time; 0 or too many: all", ge=0)
    dynamics_members: int = knob(0, "dynamics heads asked, drawn anew each time for the whole batch; 0: all", ge=0)
    coef: float = knob(0.0, "standard deviations over reward heads and value members that are added")


class TargetHeads(Heads):
    """As in the policy's loss, and each member may keep a target of its own."""

    values: Literal["mean", "min", "max", "local"] = knob(  # type: ignore[assignment]
        "mean", "over value members; local: every member learns from its own value (local bootstrap)"
    )

    @model_validator(mode="after")
    def _everyone_asked(self) -> Self:
        if self.values == "local" and self.members:
            raise ValueError(
                f"target.heads.values=local needs every member's own value: target.heads.members={self.members}, not 0"
            )
        return self


def asked(total: int, count: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Indices of `count` of all heads, drawn anew; of all of them where `count` is 0."""
    return ops.heads.choose(total, count or total, generator, like.device)


def combine(heads: Heads, reward_RHX: Tensor, value_MHX: Tensor) -> Tensor:
    """One number (X) per state, or (M, X) where values stay local; `value_MHX` is discounted already."""
    dynamics = ops.heads.by_sign(heads.coef) if heads.dynamics == "by_sign" else heads.dynamics
    reduce = ops.heads.REDUCTIONS
    values: ops.heads.Name = heads.values
    q_HX = reduce[heads.rewards](reward_RHX, 0) + reduce[values](value_MHX, 0)
    if heads.coef:
        spread_HX = ops.heads.spread(reward_RHX, 0)
        if values != "local":
            spread_HX = spread_HX + ops.heads.spread(value_MHX, 0)
        q_HX = q_HX + heads.coef * spread_HX
    return reduce[dynamics](q_HX, -value_MHX.ndim + 1)
