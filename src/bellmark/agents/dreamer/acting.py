"""How the agent acts: follow the observations with the world model, draw from the policy.

Axes: B worlds, D recurrent state, S latents, K classes, A action.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bellmark.agents.api import Decision, State
from bellmark.agents.dreamer.config import Dreamer
from bellmark.agents.dreamer.world import Networks, features
from bellmark.errors import UserError
from bellmark.ops import categorical


class DreamingPolicy:
    """Carries recurrent state, latents and the last action of every world; while collecting, replay keeps the former."""

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
        going = (~first).to(device, state["deter"].dtype).unsqueeze(-1)
        count, rssm = len(obs), nets.rssm
        noise = None
        if not (deterministic and self._judged_by_mode):
            noise = categorical.noise((count, rssm.latents, rssm.classes), generator).to(device)
        deter, stoch = rssm.follow(
            state["deter"] * going,
            state["stoch"] * going.unsqueeze(-1),
            state["action"] * going,
            nets.encoder(obs.to(device)),
            noise,
        )
        outputs = nets.policy(features(deter, stoch))
        if not outputs.isfinite().all():
            raise _diverged(obs)
        actor = nets.actor
        if deterministic:
            action = actor.best(outputs)
        else:
            action = self._collect(outputs, actor.noise((count,), generator).to(device))
        return Decision(action, {"deter": deter, "stoch": stoch, "action": action}, kept(deter, stoch))


def kept(deter: Tensor, stoch: Tensor) -> dict[str, Tensor]:
    """The columns that replay keeps of a state: half precision, and the latents' classes."""
    return {"deter": deter.half(), "stoch": stoch.argmax(-1).to(torch.uint8)}


def _diverged(obs: Tensor) -> UserError:
    if obs.isfinite().all():
        return UserError("the policy's outputs are not finite: learning has diverged; lower optimizer.lr")
    world = int((~obs.isfinite()).flatten(1).any(1).nonzero()[0])
    return UserError(f"the observation of world {world} is not finite: the task itself has diverged")
