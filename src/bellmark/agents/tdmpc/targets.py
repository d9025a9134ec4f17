"""What values regress to.

Axes: T steps of a slice, P of the T + 1 positions, N rollouts, H dynamics heads, R reward heads, M value members,
B slices, L latent, A action.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from pydantic import model_validator

from bellmark import ops
from bellmark.agents.tdmpc.heads import TargetHeads, asked, combine
from bellmark.config import Choice, knob, part

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bellmark.agents.tdmpc.networks import Networks
    from bellmark.agents.tdmpc.slices import Slice
    from bellmark.agents.tdmpc.world import Policy

OFFICIAL = "tdmpc2 config.yaml"


class Target(NamedTuple):
    """What values regress to, and how it came about."""

    value_NPB: Tensor  # (N, P, B), or (M, N, P, B) where every member has its own
    spread: Tensor  # () deviation over members of the value that follows, mean over states
    reward_NPB: Tensor
    keep_HNPB: Tensor
    next_HNPBL: Tensor


class Replayed(Choice):
    """One step of replay: y = r + gamma (1 - end) min of two slow values of the next observation (TD-MPC2)."""

    kind: Literal["replayed"] = "replayed"
    values: Literal["mean", "min", "max", "local"] = knob(
        "min", "over the members asked; local: every member learns from its own value", source="tdmpc2.py, _td_target"
    )
    members: int = knob(
        2, "slow value members asked, drawn anew each time; 0 or too many: all", source="tdmpc2.py", ge=0
    )
    policy: Literal["online", "slow"] = knob("online", "whose actions are valued", source="tdmpc2.py")
    slow_rate: float = knob(0.01, "how fast the slow values follow, per update", source=OFFICIAL, gt=0, le=1)

    @model_validator(mode="after")
    def _everyone_asked(self) -> Self:
        if self.values == "local" and self.members:
            raise ValueError(
                f"target.values=local needs every member's own value: target.members={self.members}, not 0"
            )
        return self

    def at(self, data: Slice) -> Tensor:
        """The latents (T, B, L) whose values are learned: along the rollout."""
        return data.z_TBL[:-1]

    def of(self, nets: Networks, data: Slice, gamma: float, generator: torch.Generator) -> Target:
        """Values of the actions taken; call without gradient."""
        next_TBL = data.encoded_TBL[1:]
        action_TBA = acting(nets, self.policy).act(next_TBL, ops.gaussian.noise(data.action_TBA.shape, generator))
        chosen = asked(nets.world.config.values, self.members, generator, next_TBL)
        value_MTB = data.keep_TB * nets.slow_critic(next_TBL, action_TBA, chosen=chosen)
        target_TB = data.reward_TB + gamma * ops.heads.REDUCTIONS[self.values](value_MTB, 0)
        followed = (data.reward_TB[None], data.keep_TB[None, None], next_TBL[None, None])
        return Target(target_TB.unsqueeze(-3), ops.heads.spread(value_MTB, 0).mean(), *followed)


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

    def at(self, data: Slice) -> Tensor:
        """The latents (P, B, L) whose values are learned."""
        return self._latents(data, self.predict_at)

    def of(self, nets: Networks, data: Slice, gamma: float, generator: torch.Generator) -> Target:
        """Values of states, on the policy's own imagined actions; call without gradient."""
        world, policy, heads = nets.world, acting(nets, self.policy), self.heads
        z = self._latents(data, self.start_at).expand(self.rollouts, -1, -1, -1)  # (N, P, B, L), later (H, ...)
        chosen = asked(world.config.dynamics.heads, heads.dynamics_members, generator, z)
        reward, keep = z.new_zeros(()), z.new_ones(())
        for step in range(self.horizon):
            noise = ops.gaussian.noise((*z.shape[:-1], world.actions), generator)
            action = policy.act(z, noise)
            reward = reward + gamma**step * keep * per_head(world.reward(z, action), step)
            z = world.dynamics(z, action, own=step > 0, chosen=chosen)
            keep = keep * world.termination(z)
        members = asked(world.config.values, heads.members, generator, z)
        value_MHNPB = keep * nets.slow_critic(z, chosen=members)
        target_NPB = combine(heads, reward, gamma**self.horizon * value_MHNPB)
        return Target(target_NPB, ops.heads.spread(value_MHNPB, 0).mean(), reward.mean((0, 1)), keep, z)

    def _latents(self, data: Slice, which: str) -> Tensor:
        latents = {"rollout": data.z_TBL, "encoded": data.encoded_TBL}[which]
        return latents if self.positions == "all" else latents[:-1]


def acting(nets: Networks, which: str) -> Policy:
    """The policy as it is, or its slow copy."""
    return nets.slow_policy if which == "slow" else nets.world.policy


def per_head(reward: Tensor, step: int) -> Tensor:
    """Rewards (R, H, N, P, B): at the first step all dynamics heads share their latents, so H is 1."""
    return reward if step else reward.unsqueeze(1)
