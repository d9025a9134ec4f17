"""How the policy learns."""

from __future__ import annotations

from typing import Literal

from bellmark.agents.tdmpc.heads import Heads
from bellmark.agents.tdmpc.schedules import Constant, Exponential, Linear
from bellmark.config import Choice, Config, knob, option, part


class GradientKnobs(Config):
    """Climbing the value."""

    heads: Heads = part(Heads(), "what is made of the heads' opinions")
    samples: int = knob(1, "actions per state", source="user's pi_multi_rollout", ge=1)
    positions: Literal["steps", "all"] = knob(
        "all", "of T steps learn at the first T latents, or at the last one too", source="tdmpc2.py: T + 1"
    )


class DistillationKnobs(Config):
    """Imitating plans."""

    expert: Literal["drawn", "executed", "mean"] = knob(
        "drawn",
        "a plan's mean is the elite drawn, the action executed with its noise (replanned ones: drawn), or the mean",
        source="bmpc.py",
    )
    initial: Literal["behaviour", "replan"] = knob(
        "behaviour", "a new step's plan is the one acted on, or one made for it with reanalysis' settings"
    )
    std_scale: float = knob(1.0, "a plan's deviation is multiplied by this", source="bmpc-jax: 1.5", gt=0)
    min_std: float = knob(0.0, "and at least this", unit="action units", source="bmpc-jax: 0.1", ge=0)
    order: Literal["policy_expert", "expert_policy"] = knob(
        "policy_expert", "KL(policy || expert) or KL(expert || policy)", source="bmpc.py"
    )


class Gradient(GradientKnobs, Choice):
    """Climb the value: reparametrised actions through the model's reward and value, or through Q (TD-MPC2)."""

    kind: Literal["gradient"] = "gradient"


class Distillation(DistillationKnobs, Choice):
    """Imitate the planner by KL (Wang et al. 2025, BMPC)."""

    kind: Literal["distillation"] = "distillation"


class Both(GradientKnobs, DistillationKnobs, Choice):
    """A mixture of the two losses."""

    kind: Literal["both"] = "both"
    share: float = knob(0.5, "share of distillation", source="user's policy_svg_distill_ratio", ge=0, le=1)


class NoExplorer(Choice):
    """One policy for everything."""

    kind: Literal["none"] = "none"


class Optimist(Choice):
    """A second policy that climbs an optimistic value and seeds the planner while collecting, nowhere else."""

    kind: Literal["optimist"] = "optimist"
    coef: float = knob(1.0, "standard deviations over heads added to the value it climbs")
    entropy: float = knob(100.0, "factor of its entropy bonus", source="user's optimistic_entropy_mult", ge=0)


class PolicyLearning(Config):
    """The policy's loss."""

    improvement: Gradient | Distillation | Both = option(Gradient(), "what makes it better")
    entropy: Constant | Linear | Exponential = option(Constant(), "weight of the entropy bonus")
    jacobian: float = knob(
        0.0, "share of tanh's log-Jacobian in the entropy; 0: before squashing", source="tdmpc2.py", ge=0, le=1
    )
    entropy_power: float = knob(1.0, "the entropy is multiplied by (action dimensions) to this power", ge=0)
    explorer: NoExplorer | Optimist = option(NoExplorer(), "a second policy for exploration", scope="model")
    trust: float = knob(0.0, "weight of KL(slow policy || policy)", source="user's policy_trust_region_coef", ge=0)
    slow_rate: float = knob(0.0, "how fast the slow policy follows, per update; 0: as the slow values", ge=0, le=1)
    scale_rate: float = knob(
        0.01, "how fast the losses' running scales follow; official code: shares `tau`", source="scale.py", gt=0, le=1
    )
    value_scale_min: float = knob(1.0, "least scale of the value that is climbed", source="scale.py", gt=0)
    kl_scale_min: float = knob(1.0, "least scale of divergences", source="bmpc.py: 1; user's: 0.1", gt=0)
    pretrained: bool = knob(True, "learns in the first burst of updates too; BMPC's does not", source="tdmpc2.py")
