"""Advantage sources: what decides which actions were better than expected. Adding one is one class and one test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bellmark import ops
from bellmark.config import Choice, knob, option

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
        unexplained = (target - value).var() / target.var().clamp(min=1e-8)
        rows = rollout.done_TN.flatten().logical_not().logical_or(rollout.done_TN.flatten()).nonzero().squeeze(-1)
        metrics = {
            "value/mean": float(value.mean()),
            "value/target": float(target.mean()),
            "value/explained_variance": float(1 - unexplained),
        }
        return Estimate(rows, advantage.flatten(), target.flatten(), 0, metrics)


class Current(Choice):
    """Replicas continue with the policy that is being trained."""

    kind: Literal["current"] = "current"

    def resolve(self, context: Context) -> GaussianPolicy:
        """The policy as it is now."""
        return context.policy


class Frozen(Choice):
    """Replicas continue with a stored policy, such as a converged one: the advantage is then that policy's own."""

    kind: Literal["frozen"] = "frozen"
    checkpoint: str = knob("pickcube_optimal", "shipped checkpoint, run folder or file of the continuation policy")

    def resolve(self, context: Context) -> GaussianPolicy:
        """The stored policy."""
        return context.stored_policy(self.checkpoint)


class Common(Choice):
    """The k-th Q and the k-th V replica of a state share their action noise, which cancels much of their variance."""

    kind: Literal["common"] = "common"

    def draw(self, states: int, n_q: int, n_v: int, actions: int, generator: torch.Generator) -> Tensor:
        """(states, n_q + n_v, actions): one stream per pair."""
        shared = ops.gaussian.noise((states, max(n_q, n_v), actions), generator)
        return shared[:, [*range(n_q), *range(n_v)]]


class Independent(Choice):
    """Every replica has noise of its own, as in the user's scripts."""

    kind: Literal["independent"] = "independent"

    def draw(self, states: int, n_q: int, n_v: int, actions: int, generator: torch.Generator) -> Tensor:
        """(states, n_q + n_v, actions): one stream per replica."""
        return ops.gaussian.noise((states, n_q + n_v, actions), generator)


class Off(Choice):
    """No noise: replicas follow the continuation's mean. Where the simulator is deterministic, one replica is exact."""

    kind: Literal["off"] = "off"

    def draw(self, states: int, n_q: int, n_v: int, actions: int, generator: torch.Generator) -> Tensor:
        """(states, n_q + n_v, actions) zeros."""
        return ops.gaussian.silence((states, n_q + n_v, actions))


LIMIT = {
    "remaining": lambda elapsed, horizon: horizon - elapsed,  # what the episode itself had left
    "fresh": lambda elapsed, horizon: 0 * elapsed + horizon,  # a whole episode again: the user's scripts
}


class Branch(Choice):
    """Monte-Carlo Q - V: re-roll the collected states in the simulator."""

    kind: Literal["branch"] = "branch"
    continuation: Current | Frozen = option(Frozen(), "which policy the replicas follow after the first action")
    n_q: int = knob(16, "replicas per state that take the action that was taken", ge=1)
    n_v: int = knob(16, "replicas per state that take an action of the continuation", ge=1)
    noise: Common | Independent | Off = option(Common(), "action noise of the replicas")
    horizon: Literal["remaining", "fresh"] = knob("remaining", "time limit of a replica; at it, nothing is added")
    tolerance: float = knob(
        0.01,
        "replicas stop once gamma^k falls below this: with rewards summing to at most 1 the cut costs less",
        gt=0,
        lt=1,
    )
    share: float = knob(
        1.0, "share of the collected states that is re-rolled and learned from, spread evenly", gt=0, le=1
    )
    worlds: int = knob(16_384, "replicas stepped at once; memory, not results, depends on it", ge=1)
    snapshots: ClassVar[bool] = True

    def estimate(self, rollout: Rollout, context: Context) -> Estimate:
        """Advantages mean(Q) - mean(V) of the re-rolled rows; the value target is mean(V)."""
        from bellmark.agents.finetune.rerollout import Replicas, reroll, spread

        rows = spread(rollout.reward_TN.numel(), self.share)
        env = context.scratch_env(max(self.worlds, self.n_q + self.n_v))
        left = LIMIT[self.horizon](rollout.elapsed_TN.flatten()[rows], env.horizon)
        branches = reroll(
            env,
            type(rollout.snapshots[0]).concatenate(rollout.snapshots).take(rows.numpy()),
            rollout.action_TNA.flatten(0, 1)[rows],
            left.clamp(max=ops.returns.horizon_within(context.gamma, self.tolerance)).numpy(),
            Replicas(self.n_q, self.n_v, self.continuation.resolve(context), self.noise, context.gamma),
            context.generator,
        )
        value = branches.v_KM.mean(1)
        metrics = {
            "value/mean": float(value.mean()),
            "advantage/replica_std": float(branches.q_KM.std(1, correction=0).mean()),
        }
        return Estimate(rows, branches.q_KM.mean(1) - value, value, branches.steps, metrics)
