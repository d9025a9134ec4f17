"""Advantage sources on learned values, and controls. Adding a source is one class and one test.

Sources that simulate are in `branches.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bellmark import ops
from bellmark.config import Choice, knob

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor, nn

    from bellmark.agents.finetune.networks import GaussianPolicy
    from bellmark.agents.finetune.rollout import Rollout
    from bellmark.envs.api import BatchedEnv


@dataclass(frozen=True)
class Context:
    """What a source may draw on besides the rollout."""

    policy: GaussianPolicy
    critic: nn.Module
    stored_policy: Callable[[str], GaussianPolicy]  # by checkpoint name
    scratch_env: Callable[[int], BatchedEnv]  # worlds of the same task to branch in
    gamma: float
    generator: torch.Generator


@dataclass(frozen=True)
class Estimate:
    """Advantages and value targets of the rollout's rows that are to be learned from."""

    rows: Tensor  # (B,) flat indices into the rollout's T x N
    advantage: Tensor  # (B,)
    value_target: Tensor  # (B,)
    branch_steps: int  # simulator control steps spent beyond the rollout
    metrics: dict[str, float]


BOOTSTRAP = {
    "truncation": lambda terminated, done: ~terminated,  # the time limit is not an end: s_{t+1} still has a value
    "always": lambda terminated, done: terminated | ~terminated,  # also past success: ManiSkill's ppo.py
    "never": lambda terminated, done: ~done,  # a time limit counts as an end with nothing after it
}


class Gae(Choice):
    """Generalised advantage estimation on the critic; lambda 1 is the user's "mc"."""

    kind: Literal["gae"] = "gae"
    lambda_: float = knob(0.9, "mix of step lengths: 0 is one-step TD, 1 Monte Carlo", source="GAE eq. 16", ge=0, le=1)
    bootstrap: Literal["truncation", "always", "never"] = knob(
        "truncation", "where an episode's end still bootstraps from the value of its final observation"
    )
    snapshots: ClassVar[bool] = False

    def estimate(self, rollout: Rollout, context: Context) -> Estimate:
        """Advantages of all rows; value targets are advantage + value (the lambda return)."""
        value = context.critic(rollout.obs_TNO)
        next_value = context.critic(rollout.next_obs_TNO)
        counts = BOOTSTRAP[self.bootstrap](rollout.terminated_TN, rollout.done_TN)
        advantage = ops.returns.gae(
            rollout.reward_TN, value, next_value, counts.to(value.dtype), rollout.done_TN, context.gamma, self.lambda_
        )
        target = advantage + value
        return Estimate(every_row(rollout), advantage.flatten(), target.flatten(), 0, judged(value, target))


class MonteCarlo(Choice):
    """The return that was seen minus the critic's value; nothing follows an end of an episode or of the data."""

    kind: Literal["monte_carlo"] = "monte_carlo"
    snapshots: ClassVar[bool] = False

    def estimate(self, rollout: Rollout, context: Context) -> Estimate:
        """Advantages of all rows; value targets are the returns."""
        value = context.critic(rollout.obs_TNO)
        nothing = value.new_zeros(value.shape[1:])
        target = ops.returns.discounted(rollout.reward_TN, rollout.done_TN, nothing, context.gamma)
        return Estimate(every_row(rollout), (target - value).flatten(), target.flatten(), 0, judged(value, target))


class QMinusV(Choice):
    """Learned Q(s, a) - V(s) of a critic that has both."""

    kind: Literal["q_minus_v"] = "q_minus_v"
    snapshots: ClassVar[bool] = False

    def estimate(self, rollout: Rollout, context: Context) -> Estimate:
        """Advantages of all rows; the critic has a training of its own, so its values are the targets."""
        obs, action = rollout.obs_TNO.flatten(0, 1), rollout.action_TNA.flatten(0, 1)
        value = context.critic(obs)
        action_value = context.critic.action_value(obs, action)  # type: ignore[operator]  # the configuration saw to it
        return Estimate(every_row(rollout), action_value - value, value, 0, {"value/mean": float(value.mean())})


def judged(value: Tensor, target: Tensor) -> dict[str, float]:
    """Metrics of values beside their targets: means, and the share of the targets' variance that they explain."""
    unexplained = (target - value).var() / target.var().clamp(min=1e-8)
    return {
        "value/mean": float(value.mean()),
        "value/target": float(target.mean()),
        "value/explained_variance": float(1 - unexplained),
    }


def every_row(rollout: Rollout) -> Tensor:
    """Flat indices of all rows."""
    from torch import arange

    return arange(rollout.reward_TN.numel())


class Faithful(Choice):
    """Advantages as estimated."""

    kind: Literal["faithful"] = "faithful"

    def apply(self, advantage: Tensor, generator: torch.Generator) -> Tensor:
        """Unchanged."""
        return advantage


class Random(Choice):
    """A control: noise in place of advantages. What still improves does not come from the estimate."""

    kind: Literal["random"] = "random"

    def apply(self, advantage: Tensor, generator: torch.Generator) -> Tensor:
        """Standard normal numbers (B,)."""
        return ops.gaussian.noise(tuple(advantage.shape), generator)


class Reversed(Choice):
    """A control: good actions called bad. What does not get worse does not depend on the estimate."""

    kind: Literal["reversed"] = "reversed"

    def apply(self, advantage: Tensor, generator: torch.Generator) -> Tensor:
        """Minus the advantages (B,)."""
        return -advantage
