"""Planning again from replayed observations (Wang et al. 2025, BMPC: lazy reanalysis).

Every problem starts from nothing: no former plan to start from, no noise on the action found, and the policy's plans
drawn with the wider Gaussian that BMPC keeps for this purpose. Axes: P problems, L latent, A action.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bellmark.agents.tdmpc.planner import Plan, Search, plan
from bellmark.agents.tdmpc.world import Scalars, World

if TYPE_CHECKING:
    from collections.abc import Iterator

CANDIDATES = {"cpu": 2**13, "cuda": 2**16}  # evaluated at once: enough that what a call costs does not count


def replan(
    world: World, search: Search, z: Tensor, generator: torch.Generator, *, critic: Scalars | None = None
) -> Plan:
    """Plans from P latents (P, L), as many at once as the machine takes well."""
    plans = [
        plan(
            world,
            search,
            part,
            part.new_zeros(len(part), search.horizon, world.actions),
            generator,
            critic=critic,
            seeds=world.policy.act_for_reanalysis,
        )
        for part in _portions(z, search)
    ]
    return Plan(*(torch.cat(column) for column in zip(*plans, strict=True)))


def _portions(z: Tensor, search: Search) -> Iterator[Tensor]:
    most = CANDIDATES.get(z.device.type, CANDIDATES["cpu"])
    yield from z.split(max(1, most // (search.samples + search.policy_plans)))
