"""Measurements of the tdmpc family on rows that nobody learns from: does the model predict, do the heads differ?

Axes: T steps, B slices, H dynamics heads, M value members, L latent, A action.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bellmark.agents.api import Batch, Behaviour
from bellmark.agents.tdmpc.agent import TdmpcAgent
from bellmark.ops.ranks import auc

LEAST = 1e-8
LEAST_ENDS = 3  # and as many other rows, for ends to be told from them


class TdmpcInstruments:
    """Looks at a learner without touching its random state."""

    def __init__(self, learner: TdmpcAgent) -> None:
        self._learner = learner

    @torch.no_grad()
    def behaviour(self, rows: Batch) -> Behaviour:
        """The policy's mean actions, as squashed or clipped, and its deviations before that."""
        policy = self._learner.nets.world.policy
        gaussian = policy(self._encode(rows).flatten(0, 1))
        mean = policy.sample(gaussian, torch.zeros_like(gaussian.mean))
        return Behaviour(mean, gaussian.log_std.exp())

    @torch.no_grad()
    def measure(self, rows: Batch) -> Mapping[str, Tensor]:
        """How the latent depends on the action, how well it is foreseen, how far the value members are apart."""
        world = self._learner.nets.world
        z_TBL = self._encode(rows)
        here, action = z_TBL[:-1], rows.action[:-1].to(z_TBL)
        other = torch.where(action > 0, action - 1, action + 1)
        next_HTBL, instead_TBL = world.next(here, action), world.next(here, other)[0]
        next_TBL = next_HTBL[0]
        moved = (next_TBL - here).square().mean().clamp(min=LEAST)
        value_MTB = world.critic(here, action)
        spread = value_MTB.std(0, correction=0).mean()
        over_states = value_MTB.mean(0).std(correction=0)
        return {
            "model/action_gap": (next_TBL - instead_TBL).square().mean() / moved,
            "model/diversity": (next_HTBL - next_HTBL.mean(0)).square().mean() / moved,
            **self._open_loop(z_TBL, action, rows),
            **self._learner.model_descent.measure(),
            **self._learner.policy_descent.measure(),
            "value/diversity": spread / (over_states + value_MTB.mean().abs()).clamp(min=LEAST),
        }

    def _encode(self, rows: Batch) -> Tensor:
        z: Tensor = self._learner.nets.world.encode(rows.obs.to(self._learner.device))
        return z

    def _open_loop(self, z_TBL: Tensor, action_TBA: Tensor, rows: Batch) -> Mapping[str, Tensor]:
        """What is foreseen from the first latent with the actions taken, as far as plans look.

        Latents: squared error over that of "nothing changes". Rewards: mean absolute error. Ends, of a task that has
        them: the probability that a row which ends is thought more of an end than one which does not.
        """
        world, foreseen, error, still, missed, ends = self._learner.nets.world, z_TBL[0], [], [], [], []
        horizon = min(len(action_TBA), self._learner.config.slices.horizon)
        reward, ended = rows.reward.to(z_TBL), rows.terminated.to(z_TBL.device)[1 : horizon + 1]
        for t in range(horizon):
            missed.append((world.reward(foreseen, action_TBA[t]).mean(0) - reward[t + 1]).abs().mean())
            foreseen = world.next(foreseen, action_TBA[t])[0]
            error.append((foreseen - z_TBL[t + 1]).square().mean())
            still.append((z_TBL[0] - z_TBL[t + 1]).square().mean())
            ends.append(world.termination.logit(foreseen))
        measured = {
            "model/open_loop_error": torch.stack(error).mean() / torch.stack(still).mean().clamp(min=LEAST),
            "model/open_loop_reward": torch.stack(missed).mean(),
        }
        if world.config.episodic and min(int(ended.sum()), int((~ended).sum())) >= LEAST_ENDS:
            measured["model/open_loop_ends"] = auc(torch.stack(ends), ended)
        return measured
