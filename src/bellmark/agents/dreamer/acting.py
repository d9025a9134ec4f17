"""How the agent acts: follow the observations with the world model, draw from the policy.

Axes: B worlds, D recurrent state, S latents, K classes, A action.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bellmark.agents.api import Decision, State
from bellmark.agents.dreamer.config import Dreamer
from bellmark.agents.dreamer.world import Networks
from bellmark.errors import UserError
from bellmark.ops import categorical


class DreamingPolicy:
    """Carries recurrent state, latents and the last action of every world; replay keeps the former two."""

    def __init__(self, config: Dreamer, nets: Networks) -> None:
        """A policy that shares its networks with the learner."""
        self._nets = nets
        self._judged_by_mode = config.evaluation.latents == "mode"
        self._collect = nets.actor.draw
        if config.start.acts_randomly:
            self._collect = lambda outputs, noise: nets.actor.uniform(noise)

    def initial(self, worlds: int) -> State:
        """Nothing seen, nothing done."""
        rssm = self._nets.rssm
        like = next(rssm.parameters())
        return {
            "deter": like.new_zeros(worlds, rssm.deter),
            "stoch": like.new_zeros(worlds, rssm.latents, rssm.classes),
            "action": like.new_zeros(worlds, self._nets.actions),
        }

    @torch.no_grad()
    def act(
        self, obs: Tensor, first: Tensor, state: State, *, deterministic: bool, generator: torch.Generator
    ) -> Decision:
        """See B observations and act: the most likely action while judged, a drawn one while collecting.

        Raises:
            UserError: an observation or the model's state is not finite.
        """
        nets, device = self._nets, state["deter"].device
        going = (~first).to(device, torch.float32)
        count, rssm = len(obs), nets.rssm
        uniform = None
        if not (deterministic and self._judged_by_mode):
            uniform = categorical.uniforms((rssm.latents, count), generator).to(device)
        former = (state["deter"].t(), state["stoch"].permute(1, 2, 0), state["action"].t())
        deter, stoch, action = (x * going for x in former)
        tokens = nets.encoder(obs.to(device))
        deter, stoch = rssm.follow(deter, stoch, action, tokens, uniform)
        outputs = nets.policy(torch.cat((deter, stoch.flatten(0, 1))))
        if not (tokens.sum() + outputs.sum()).isfinite():
            raise _diverged(obs)
        if deterministic:
            action = nets.actor.best(outputs)
        else:
            action = self._collect(outputs, nets.actor.noise(1, count, generator)[0].to(device))
        rows = {"deter": deter.t(), "stoch": stoch.permute(2, 0, 1), "action": action.t()}
        return Decision(rows["action"], rows, kept(rows["deter"], rows["stoch"]))


def kept(deter: Tensor, stoch: Tensor) -> dict[str, Tensor]:
    """The columns of replay for states (*B, D) and (*B, S, K): half precision, and the latents' classes."""
    return {"deter": deter.half(), "stoch": stoch.argmax(-1).to(torch.uint8)}


def _diverged(obs: Tensor) -> UserError:
    if obs.isfinite().all():
        return UserError("the policy's outputs are not finite: learning has diverged; lower optimizer.lr")
    world = int((~obs.isfinite()).flatten(1).any(1).nonzero()[0])
    return UserError(f"the observation of world {world} is not finite: the task itself has diverged")
