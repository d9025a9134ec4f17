"""How the agent acts: a plan at every step, whose mean the next one starts from.

Axes: B worlds, A action, L latent.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from bellmark.agents.api import Decision, Spec, State
from bellmark.agents.tdmpc import planner
from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.agents.tdmpc.experts import Experts
from bellmark.agents.tdmpc.networks import Networks
from bellmark.errors import UserError
from bellmark.nets.graphs import launcher
from bellmark.ops.products import precision

HELD_OUT = "model/consistency_held_out"


class PlanningPolicy:
    """Plans in every world; the state is the former plan's mean and, while judged, the latent that it foresaw."""

    def __init__(self, config: Tdmpc, nets: Networks, gamma: float, experts: Experts) -> None:
        """A policy that shares its networks with the learner."""
        actions, self.horizon = nets.world.actions, config.planner.horizon
        self.nets, self.experts, self.precision = nets, experts, config.precision
        self.judging = planner.judging(config.planner, actions, gamma)
        self.collecting = planner.collecting(config.planner, actions, gamma)
        self._own = torch.Generator(next(nets.parameters()).device)
        self._launch = launcher(self._own)

    def initial(self, worlds: int) -> State:
        """No plan yet."""
        world = self.nets.world
        like = next(world.parameters())
        return {
            "mean": like.new_zeros(worlds, self.horizon, world.actions),
            "foreseen": like.new_zeros(worlds, world.latent),
        }

    @torch.no_grad()
    def act(
        self, obs: Tensor, first: Tensor, state: State, *, deterministic: bool, generator: torch.Generator
    ) -> Decision:
        """Plan in B worlds, warm-started where their episode goes on.

        While judged, `extras` holds the squared error of the latent foreseen a step ago (nan where there was none);
        while collecting, the plan that replay keeps.

        Raises:
            UserError: an observation or its encoding is not finite.
        """
        with precision(self.precision):
            return self._plan(obs, first, state, deterministic, generator)

    def _plan(
        self, obs: Tensor, first: Tensor, state: State, deterministic: bool, generator: torch.Generator
    ) -> Decision:
        z, first = self._encode(obs.to(state["mean"])), first.to(state["mean"].device)
        decide = partial(self._judged if deterministic else self._explored, self._here(generator))
        return self._launch(deterministic, decide, z, first, dict(state))

    def _judged(self, generator: torch.Generator, z: Tensor, first: Tensor, state: State) -> Decision:
        world, mean = self.nets.world, planner.warm_start(state["mean"], first)
        plan = planner.plan(world, self.judging, z, mean, generator, critic=self.experts.critic)
        error = (state["foreseen"] - z).square().mean(-1).masked_fill(first, torch.nan)
        foreseen = world.next(z, plan.action)[0]
        return Decision(plan.action, {"mean": plan.mean, "foreseen": foreseen}, {HELD_OUT: error})

    def _explored(self, generator: torch.Generator, z: Tensor, first: Tensor, state: State) -> Decision:
        nets, mean = self.nets, planner.warm_start(state["mean"], first)
        seeds, critic = nets.explorer.act, self.experts.critic
        plan = planner.plan(nets.world, self.collecting, z, mean, generator, critic=critic, seeds=seeds)
        carried = {"mean": plan.mean, "foreseen": state["foreseen"]}
        return Decision(plan.action, carried, {"expert": self.experts.first(z, plan, generator)})

    def _here(self, generator: torch.Generator) -> torch.Generator:
        """Random numbers where the networks are: the caller's own, or an accelerator's, seeded by them."""
        if self._own.device.type == "cpu":
            return generator
        return self._own.manual_seed(int(torch.randint(2**62, (), generator=generator, device=generator.device)))

    def _encode(self, obs: Tensor) -> Tensor:
        """Latents (B, L); refuses what is not finite."""
        if not obs.isfinite().all():
            world = int((~obs.isfinite()).flatten(1).any(1).nonzero()[0])
            raise UserError(f"the observation of world {world} is not finite: the task itself has diverged")
        z = self.nets.world.encode(obs)
        if not z.isfinite().all():
            raise UserError(
                "the model's latents are not finite: learning has diverged; lower optimizer.lr or optimizer.clip"
            )
        return z


def check_spec(spec: Spec) -> None:
    """Refuse tasks that this family cannot learn.

    Raises:
        UserError: pictures or choices.
    """
    if spec.discrete:
        raise UserError("the tdmpc family plans continuous actions; this task's are choices: use the dreamer family")
    if spec.pixels or len(spec.obs_shape) != 1:
        raise UserError(
            "the tdmpc family learns from states, not pictures: use the dreamer family, or state observations"
        )
