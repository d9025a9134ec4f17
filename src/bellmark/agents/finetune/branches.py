"""Advantage sources that simulate: collected states re-rolled from snapshots.

Which policy the replicas follow, where their noise comes from and how long they run are options of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from bellmark import ops
from bellmark.agents.finetune.advantages import Context, Estimate
from bellmark.agents.finetune.allocation import Even, Needed
from bellmark.config import Choice, knob, option

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bellmark.agents.finetune.networks import GaussianPolicy
    from bellmark.agents.finetune.rerollout import Branches, Cut
    from bellmark.agents.finetune.rollout import Rollout


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


class Antithetic(Choice):
    """Common noise, of which every second replica has the negative: what is linear in the noise cancels too."""

    kind: Literal["antithetic"] = "antithetic"

    def draw(self, states: int, n_q: int, n_v: int, actions: int, generator: torch.Generator) -> Tensor:
        """(states, n_q + n_v, actions): replicas 2k and 2k + 1 of a kind are mirror images."""
        most = max(n_q, n_v)
        half = ops.gaussian.noise((states, (most + 1) // 2, 1, actions), generator)
        mirrored = half * half.new_tensor([1.0, -1.0])[:, None]
        return mirrored.flatten(1, 2)[:, [*range(n_q), *range(n_v)]]


class Off(Choice):
    """No noise: replicas follow the continuation's mean. Where the simulator is deterministic, one replica is exact."""

    kind: Literal["off"] = "off"

    def draw(self, states: int, n_q: int, n_v: int, actions: int, generator: torch.Generator) -> Tensor:
        """(states, n_q + n_v, actions) zeros."""
        return ops.gaussian.silence((states, n_q + n_v, actions))


class Nothing(Choice):
    """Nothing: replicas run until their episode's end, their time limit or the tolerance."""

    kind: Literal["nothing"] = "nothing"

    def cut(self, context: Context) -> Cut:
        """Never."""
        from bellmark.agents.finetune.rerollout import NEVER

        return NEVER


class Bootstrap(Choice):
    """The run's critic, which must know the continuation's values: cheap, and as biased as that critic."""

    kind: Literal["bootstrap"] = "bootstrap"
    steps: int = knob(4, "control steps after which replicas are cut and the critic's value stands for the rest", ge=1)

    def cut(self, context: Context) -> Cut:
        """After `steps`, by the critic as it is now."""
        from bellmark.agents.finetune.rerollout import Cut

        return Cut(self.steps, 0, context.critic)


class Corrected(Choice):
    """The run's critic, corrected by a few replicas of each kind that go on: a control variate, without bias."""

    kind: Literal["corrected"] = "corrected"
    steps: int = knob(4, "control steps after which the other replicas are cut", ge=1)
    going_on: int = knob(1, "replicas of each kind that go on", ge=1)

    def cut(self, context: Context) -> Cut:
        """After `steps`, by the critic as it is now."""
        from bellmark.agents.finetune.rerollout import Cut

        return Cut(self.steps, self.going_on, context.critic)


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
    noise: Common | Independent | Antithetic | Off = option(Common(), "action noise of the replicas")
    horizon: Literal["remaining", "fresh"] = knob("remaining", "time limit of a replica; at it, nothing is added")
    tolerance: float = knob(
        0.01,
        "replicas stop once gamma^k falls below this: with rewards summing to at most 1 the cut costs less",
        gt=0,
        lt=1,
    )
    beyond: Nothing | Bootstrap | Corrected = option(
        Nothing(), "what stands for the return of a replica that is cut before its episode's end"
    )
    allocation: Even | Needed = option(Even(), "how many of the replicas each state gets")
    share: float = knob(
        1.0, "share of the collected states that is re-rolled and learned from, spread evenly", gt=0, le=1
    )
    worlds: int = knob(16_384, "replicas stepped at once; memory, not results, depends on it", ge=1)
    snapshots: ClassVar[bool] = True

    def estimate(self, rollout: Rollout, context: Context) -> Estimate:
        """Advantages mean(Q) - mean(V) of the re-rolled rows; the value target is mean(V)."""
        from bellmark.agents.finetune.rerollout import spread

        rows = spread(rollout.reward_TN.numel(), self.share)
        cut = self.beyond.cut(context)

        def ask(rows: Tensor, n_q: int, n_v: int) -> Branches:
            return _reroll(self, (n_q, n_v), rows, rollout, context, cut)

        means = self.allocation.spend(ask, rows, self.n_q, self.n_v, rollout.reward_TN.shape[1])
        metrics = {"value/mean": float(means.v_K.mean()), "advantage/replica_std": means.replica_std}
        return Estimate(rows, means.q_K - means.v_K, means.v_K, means.steps, metrics)


class TimestepMean(Choice):
    """Monte-Carlo Q minus its mean over the environments at the same time (the user's `mc_finetune_timestep`)."""

    kind: Literal["timestep_mean"] = "timestep_mean"
    continuation: Current | Frozen = option(Frozen(), "which policy the replicas follow after the first action")
    n_q: int = knob(16, "replicas per state, all taking the action that was taken", ge=1)
    noise: Common | Independent | Antithetic | Off = option(Independent(), "action noise of the replicas")
    horizon: Literal["remaining", "fresh"] = knob("remaining", "time limit of a replica; at it, nothing is added")
    tolerance: float = knob(0.01, "replicas stop once gamma^k falls below this", gt=0, lt=1)
    worlds: int = knob(16_384, "replicas stepped at once; memory, not results, depends on it", ge=1)
    snapshots: ClassVar[bool] = True

    def estimate(self, rollout: Rollout, context: Context) -> Estimate:
        """Advantages of all rows; the value target is the mean over environments."""
        from bellmark.agents.finetune.advantages import every_row
        from bellmark.agents.finetune.rerollout import NEVER

        rows = every_row(rollout)
        branches = _reroll(self, (self.n_q, 0), rows, rollout, context, NEVER)
        q_TN = branches.q_KM.mean(1).view(rollout.reward_TN.shape)
        value_TN = q_TN.mean(1, keepdim=True).expand_as(q_TN)
        metrics = {
            "value/mean": float(value_TN.mean()),
            "advantage/replica_std": float(branches.q_KM.std(1, correction=0).mean()),
        }
        return Estimate(rows, (q_TN - value_TN).flatten(), value_TN.flatten(), branches.steps, metrics)


def _reroll(
    source: Branch | TimestepMean, n: tuple[int, int], rows: Tensor, rollout: Rollout, context: Context, cut: Cut
) -> Branches:
    """Re-roll the indexed rows of a rollout as a source says."""
    from bellmark.agents.finetune.rerollout import Replicas, reroll

    env = context.scratch_env(max(source.worlds, sum(n)))
    left = LIMIT[source.horizon](rollout.elapsed_TN.flatten()[rows], env.horizon)
    return reroll(
        env,
        type(rollout.snapshots[0]).concatenate(rollout.snapshots).take(rows.numpy()),
        rollout.action_TNA.flatten(0, 1)[rows],
        left.clamp(max=ops.returns.horizon_within(context.gamma, source.tolerance)).numpy(),
        Replicas(*n, source.continuation.resolve(context), source.noise, context.gamma, cut),
        context.generator,
    )
