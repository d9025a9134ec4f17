"""What plans teach the policy: the plan a step was acted on, or one made for it, kept in replay and renewed from it.

An expert is a plan's first step: mean and deviation of every action, (..., 2A).
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor

from bellmark.agents.api import Batch, Writeback
from bellmark.agents.tdmpc import planner, reanalyse
from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.agents.tdmpc.networks import Networks
from bellmark.agents.tdmpc.planner import Plan
from bellmark.agents.tdmpc.planning import Lazy, Never

# A plan's mean, by name; a plan made again has no noise, so that drawn and executed are the same.
MEANS: dict[str, Callable[[Plan], Tensor]] = {
    "drawn": lambda plan: plan.chosen,
    "executed": lambda plan: plan.action,
    "mean": lambda plan: plan.mean[:, 0],
}


class Experts:
    """Makes experts of plans, and plans anew where that is asked for."""

    def __init__(self, config: Tdmpc, nets: Networks, gamma: float) -> None:
        """`gamma` is the discount per agent step."""
        learning = config.policy.improvement
        settings = Lazy() if isinstance(config.reanalysis, Never) else config.reanalysis
        self.nets, self.lazy, self.pace = nets, config.reanalysis, config.cadence.pace
        self.mean = MEANS[getattr(learning, "expert", "drawn")]
        self.replans = getattr(learning, "initial", "behaviour") == "replan"
        self.critic = nets.slow_critic if config.planner.value_net == "slow" else nets.world.critic
        self.search = planner.reanalysing(config.planner, settings, nets.world.actions, gamma)

    def first(self, z: Tensor, plan: Plan, generator: torch.Generator) -> Tensor:
        """The expert of new steps at latents (B, L), acted on by `plan`."""
        return self._of(self.replan(z, generator) if self.replans else plan)

    def replan(self, z: Tensor, generator: torch.Generator) -> Plan:
        """Plans (K) from latents (K, L) alone."""
        return reanalyse.replan(self.nets.world, self.search, z, generator, critic=self.critic)

    def renew(self, batch: Batch, update: int, generator: torch.Generator) -> tuple[Batch, Writeback | None]:
        """Before update number `update` since pretraining: where due, the batch and replay with some plans anew."""
        lazy = self.lazy
        if isinstance(lazy, Never) or update < 0 or update % (lazy.interval * self.pace):
            return batch, None
        steps = len(batch.obs) - 1 if lazy.slices else 1
        slices = ceil(lazy.states / steps)
        places = (slice(0, steps), slice(0, slices))
        with torch.no_grad():
            z = self.nets.world.encode(batch.obs[places]).flatten(0, 1)
            fresh = self._of(self.replan(z, generator))
        expert = batch.extras["expert"].clone()
        expert[places] = fresh.view_as(expert[places])
        writeback = Writeback(batch.rows[places].flatten(), {"expert": fresh})
        return batch._replace(extras={**batch.extras, "expert": expert}), writeback

    def _of(self, plan: Plan) -> Tensor:
        """The expert (P, 2A) of plans."""
        return torch.cat((self.mean(plan), plan.std[:, 0]), -1)
