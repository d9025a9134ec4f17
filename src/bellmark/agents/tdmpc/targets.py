"""What values regress to."""

from __future__ import annotations

from typing import Literal

from bellmark.agents.tdmpc.heads import TargetHeads
from bellmark.config import Choice, Config, knob, part

OFFICIAL = "tdmpc2 config.yaml"


class Replayed(Choice):
    """One step of replay: y = r + gamma (1 - end) min of two slow values of the next observation (TD-MPC2)."""

    kind: Literal["replayed"] = "replayed"
    values: Literal["mean", "min", "max", "local"] = knob(
        "min", "over the members asked; local: every member learns from its own value", source="tdmpc2.py, _td_target"
    )
    members: int = knob(2, "slow value members asked, drawn anew each time; 0: all", source="tdmpc2.py", ge=0)
    policy: Literal["online", "slow"] = knob("online", "whose actions are valued", source="tdmpc2.py")
    slow_rate: float = knob(0.01, "how fast the slow values follow, per update", source=OFFICIAL, gt=0, le=1)


class Imagined(Choice):
    """Steps of the model from replayed latents: y = sum gamma^k r_k + gamma^n V(z_n), on-policy (BMPC, section 4)."""

    kind: Literal["imagined"] = "imagined"
    horizon: int = knob(1, "n, imagined steps before the bootstrap", source="BMPC, td_horizon", ge=1)
    rollouts: int = knob(1, "imagined continuations per state; the loss is against their mean two-hot", ge=1)
    predict_at: Literal["rollout", "encoded"] = knob(
        "rollout", "values are learned at latents of the model's rollout or at encoded observations", source="BMPC"
    )
    start_at: Literal["rollout", "encoded"] = knob("encoded", "imagination starts from these latents", source="BMPC")
    positions: Literal["steps", "all"] = knob(
        "steps", "of T steps learn from the first T latents, or from the last one too", source="BMPC: T; user's: T + 1"
    )
    heads: TargetHeads = part(TargetHeads(), "what is made of the heads' opinions")
    policy: Literal["online", "slow"] = knob("online", "whose actions are imagined", source="BMPC")
    slow_rate: float = knob(0.01, "how fast the slow values follow, per update", source=OFFICIAL, gt=0, le=1)


class NoAuxiliary(Choice):
    """Values of the one discount only."""

    kind: Literal["none"] = "none"


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
