"""What can be chosen about how the policy learns: what makes it better, what explores, what holds it back.

The losses are written out in `policies.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from bellmark.agents.tdmpc.heads import Heads
from bellmark.agents.tdmpc.policies import climb, imitate
from bellmark.agents.tdmpc.schedules import Constant, Exponential, Linear
from bellmark.config import Choice, Config, knob, option, part

if TYPE_CHECKING:
    from torch import Tensor

    from bellmark.agents.tdmpc.policies import Improvement, Practice
    from bellmark.agents.tdmpc.world import Policy


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
    std_scale: float = knob(
        1.0, "a plan's deviation is multiplied by this, up to planner.max_std", source="bmpc-jax: 1.5", gt=0
    )
    min_std: float = knob(0.0, "and at least this", unit="action units", source="bmpc-jax: 0.1", ge=0)
    order: Literal["policy_expert", "expert_policy"] = knob(
        "policy_expert", "KL(policy || expert) or KL(expert || policy)", source="bmpc.py"
    )


class Gradient(GradientKnobs, Choice):
    """Climb the value: reparametrised actions through the model's reward and value, or through Q (TD-MPC2)."""

    kind: Literal["gradient"] = "gradient"
    climbs: ClassVar[bool] = True

    def improve(self, on: Practice, policy: Policy) -> Improvement:
        """The loss and what was drawn for it."""
        return climb(on, policy, self.heads, samples=self.samples, positions=self.positions, move=True)


class Distillation(DistillationKnobs, Choice):
    """Imitate the planner by KL (Wang et al. 2025, BMPC)."""

    kind: Literal["distillation"] = "distillation"
    climbs: ClassVar[bool] = False

    def improve(self, on: Practice, policy: Policy) -> Improvement:
        """The loss and what was drawn for it."""
        return imitate(on, policy, self)


class Both(GradientKnobs, DistillationKnobs, Choice):
    """A mixture of the two losses."""

    kind: Literal["both"] = "both"
    share: float = knob(0.5, "share of distillation", source="user's policy_svg_distill_ratio", ge=0, le=1)
    climbs: ClassVar[bool] = True

    def improve(self, on: Practice, policy: Policy) -> Improvement:
        """The mixed loss; states and draws of the climbing part."""
        climbed = climb(on, policy, self.heads, samples=self.samples, positions=self.positions, move=True)
        loss = (1 - self.share) * climbed.loss + self.share * imitate(on, policy, self).loss
        return climbed._replace(loss=loss)


class NoExplorer(Choice):
    """One policy for everything."""

    kind: Literal["none"] = "none"

    def loss(self, on: Practice, explorer: Policy) -> Tensor:
        """Nothing."""
        return on.data.z_TBL.new_zeros(())


class Optimist(Choice):
    """A second policy that climbs a value of its own and seeds the planner while collecting, nowhere else."""

    kind: Literal["optimist"] = "optimist"
    heads: Heads = part(Heads(), "what is made of the heads' opinions: optimism by its coef")
    entropy: float = knob(100.0, "factor of its entropy bonus", source="user's optimistic_entropy_mult", ge=0)

    def loss(self, on: Practice, explorer: Policy) -> Tensor:
        """-q / scale - entropy; the scale is the policy's own where that climbs too."""
        on = replace(on, entropy=self.entropy * on.entropy)
        move = not on.config.improvement.climbs
        return climb(on, explorer, self.heads, samples=1, positions="all", move=move).loss


class PolicyLearning(Config):
    """The policy's loss."""

    improvement: Gradient | Distillation | Both = option(Gradient(), "what makes it better")
    entropy: Constant | Linear | Exponential = option(Constant(), "weight of the entropy bonus")
    jacobian: float = knob(
        0.0,
        "share of tanh's log-Jacobian in the entropy (a clipped policy has none); 0: before squashing",
        source="tdmpc2.py",
        ge=0,
        le=1,
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
