"""The learner of the tdmpc family: TD-MPC2 (Hansen et al. 2024), BMPC (Wang et al. 2025) and value-gradient ensembles.

`_learn` is the algorithm; what it calls is written out in `losses.py`, `targets.py` and `policies.py`, and how actions
are chosen in `acting.py`. Deviations, for all recipes: a value or policy update without a model update (a cadence)
learns on a rollout without gradient, and ensembles read by TD-MPC2 compute only the members that are read.

Axes: T steps, P positions, H dynamics heads, M value members, B slices, L latent, A action, K bins.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bellmark.agents.api import Batch, Schedule, Spec, Window, Writeback
from bellmark.agents.tdmpc.acting import PlanningPolicy, check_spec
from bellmark.agents.tdmpc.auxiliary import LEARN_FROM
from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.agents.tdmpc.experts import Experts
from bellmark.agents.tdmpc.losses import auxiliary_loss, model_losses, roll_out, step_weights, value_loss
from bellmark.agents.tdmpc.measures import policy_metrics, value_metrics
from bellmark.agents.tdmpc.networks import Networks, frozen
from bellmark.agents.tdmpc.optimizing import adam, model_groups, policy_groups
from bellmark.agents.tdmpc.policies import Practice, trust_loss
from bellmark.agents.tdmpc.slices import SLICES, Slice
from bellmark.nets.graphs import launcher
from bellmark.nets.groups import Descent
from bellmark.nets.memory import keep_freed_memory
from bellmark.nets.slow import follow
from bellmark.ops.products import INSTRUCTIONS, available, precision

log = logging.getLogger(__name__)

Metrics = dict[str, Tensor]
Scales = dict[str, Tensor]
SCALES = ("value", "plan", "trust")


class Stage(NamedTuple):
    """What an update depends on beside its batch."""

    world: bool  # parts that learn
    value: bool
    policy: bool
    encoder: bool  # whether it learns from later observations too
    encoder_factor: float  # of the learning rate
    alpha: float  # weight of the entropy bonus


class TdmpcAgent:
    """A world model with values and a policy, its optimisers and its random state."""

    def __init__(self, config: Tdmpc, spec: Spec, device: str) -> None:
        """Build for a task's sizes.

        Raises:
            UserError: a task with pictures or choices.
        """
        check_spec(spec)
        keep_freed_memory()
        if not available(config.precision, device):
            needs = INSTRUCTIONS[config.precision]
            log.warning("precision=%s: products stay single; others need a processor with %s", config.precision, needs)
        self.config, self.spec, self.device = config, spec, torch.device(device)
        self.gamma = config.discount.of(spec.horizon)
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        initial = torch.Generator().manual_seed(config.seed)
        self.nets = Networks(spec.obs_shape[0], spec.actions, config, initial).to(self.device)
        self.updates = 0
        self.scales = {name: torch.ones((), device=self.device) for name in SCALES}
        self.model_descent = Descent(model_groups(config, self.nets), adam(config, config.optimizer.eps), "model")
        self.policy_descent = Descent(
            policy_groups(config, self.nets), adam(config, config.optimizer.policy_eps), "policy"
        )
        self.experts = Experts(config, self.nets, self.gamma)
        self.policy = PlanningPolicy(config, self.nets, self.gamma, self.experts)
        self.step_weights = partial(step_weights, config.loss.rho, config.loss.over_time, self.device)
        self._launch = launcher(self.generator)

    @property
    def acting(self) -> Networks:
        """The networks, for collectors in other processes."""
        return self.nets

    @property
    def blank(self) -> Mapping[str, Tensor]:
        """Every row keeps the plan's mean and deviation; where no plan was made, those of N(0, 1) (official BMPC)."""
        zeros = torch.zeros(self.spec.actions)
        return {"expert": torch.cat((zeros, zeros + 1))}

    @property
    def window(self) -> Window:
        """Slices of T steps inside one episode."""
        s = self.config.slices
        return Window(batch=s.size, length=s.horizon + 1, whole=True, hot=s.hot, hot_rows=s.hot_rows)

    @property
    def schedule(self) -> Schedule:
        """Random steps, as many updates at once, then the cadence's."""
        c = self.config.collect
        random = max(1000, 5 * self.spec.horizon) if c.random_steps < 0 else c.random_steps
        return Schedule(random, random if c.pretrain < 0 else c.pretrain, self.config.cadence.pace)

    def update(self, batch: Batch, step: int) -> tuple[Metrics, Writeback | None]:
        """One minibatch for the parts that are due: reanalysis, world model with values, policies, slow copies."""
        with precision(self.config.precision):
            return self._update(batch, step)

    def _update(self, batch: Batch, step: int) -> tuple[Metrics, Writeback | None]:
        c, count, progress = self.config, self.updates, step / self.config.steps
        pretraining = count < self.schedule.pretrain
        world, value, policy = (c.cadence.due(part, count) for part in ("world", "value", "policy"))
        stage = Stage(
            world=world,
            value=value,
            policy=policy and (c.policy.pretrained or not pretraining),
            encoder=c.loss.encoder > 0 and progress >= c.loss.encoder_from,
            encoder_factor=c.optimizer.encoder_factor(progress),
            alpha=c.policy.entropy.at(progress),
        )
        batch, writeback = self.experts.renew(batch, count - self.schedule.pretrain, self.generator)
        self.model_descent.rescale("encoder", stage.encoder_factor)
        metrics, self.scales = self._launch(stage, partial(self._learn, stage), batch, self.scales)
        self.updates += 1
        return metrics, writeback

    def _learn(self, stage: Stage, batch: Batch, scales: Scales) -> tuple[Metrics, Scales]:
        """The parts that are due, and the losses' running scales afterwards."""
        c, nets, scales = self.config, self.nets, dict(scales)
        with torch.set_grad_enabled(stage.world):
            rollout = roll_out(nets.world, batch, later_gradient=stage.encoder)
            terms = model_losses(nets.world, rollout, batch, self.step_weights(c.slices.horizon))
        data = SLICES[c.slices.rollout_heads](rollout, batch)
        metrics = {f"loss/{name}": term.detach() for name, term in terms.items()}
        weight = {name: getattr(c.loss, name) * stage.world for name in terms}
        if stage.value:
            values, value_metrics = self._values(data)
            terms, metrics = {**terms, **values}, {**metrics, **value_metrics}
            weight.update(value=c.loss.value, auxiliary=c.auxiliary.weight)
        assert terms.keys() == weight.keys()
        if stage.world or stage.value:
            loss = torch.stack([weight[name] * term for name, term in terms.items() if weight[name]]).sum()
            metrics.update(self.model_descent.step(loss), **{"loss/model": loss.detach()})
        if stage.policy:
            metrics.update(self._policies(data, stage.alpha, scales))
            follow(nets.slow_policy, nets.world.policy, c.policy.slow_rate or c.target.slow_rate)
        if stage.value:
            follow(nets.slow_critic, nets.world.critic, c.target.slow_rate)
            follow(nets.slow_auxiliary, nets.auxiliary, c.auxiliary.slow_rate or c.target.slow_rate)
        return metrics, scales

    @torch.no_grad()
    def start_values(self, obs: Tensor) -> Tensor:
        """The mean of all members' values at the observations' latents; of the policy's mean action where they ask."""
        world = self.nets.world
        z = world.encode(obs.to(self.device))
        action = world.policy.sample(policy := world.policy(z), torch.zeros_like(policy.mean))
        return world.critic.bins.decode(world.critic.logits(z, action)).mean(0)

    def _values(self, data: Slice) -> tuple[Metrics, Metrics]:
        """The losses of the values, and what is worth knowing of them."""
        c, nets = self.config, self.nets
        with torch.no_grad():
            target = c.target.of(nets, data, self.gamma, self.generator)
        at_PBL = c.target.at(data)
        action_PBA = data.action_TBA[: len(at_PBL)] if nets.world.config.critic.sees_action else at_PBL
        bins, weight_P = nets.world.critic.bins, self.step_weights(len(at_PBL))
        logits_MPBK = nets.world.critic.logits(at_PBL, action_PBA, dropout=self.generator)
        seen = LEARN_FROM[c.auxiliary.learn_from](data, at_PBL, target)
        terms = {
            "value": value_loss(bins, logits_MPBK, target.value_NPB, weight_P),
            "auxiliary": auxiliary_loss(
                nets.auxiliary, nets.slow_auxiliary, bins, seen, self.step_weights(len(seen.at_PBL))
            ),
        }
        losses = {f"loss/{name}": term.detach() for name, term in terms.items()}
        with torch.no_grad():
            return terms, {**losses, **value_metrics(bins.decode(logits_MPBK), target)}

    def _policies(self, data: Slice, alpha: float, scales: Scales) -> Metrics:
        """A step of the policies, on latents without gradient and a frozen model; moves the scales."""
        c, nets = self.config.policy, self.nets
        data = data._replace(z_TBL=data.z_TBL.detach())
        largest = self.config.planner.max_std
        on = Practice(nets, data, c, self.gamma, alpha, largest, scales, self.step_weights, self.generator)
        with frozen(nets.world.dynamics, nets.world.reward, nets.world.critic, nets.world.termination):
            improvement = c.improvement.improve(on, nets.world.policy)
            trust = trust_loss(on, improvement.draw.gaussian)
            terms = {"policy": improvement.loss, "trust": trust, "explorer": c.explorer.loss(on, nets.explorer)}
            weight = {"policy": 1.0, "trust": c.trust, "explorer": 1.0}
            assert terms.keys() == weight.keys()
            norms = self.policy_descent.step(
                torch.stack([weight[name] * term for name, term in terms.items() if weight[name]]).sum()
            )
        losses = {f"loss/{name}": term.detach() for name, term in terms.items()}
        ranges = {f"scale/{name}": scale for name, scale in scales.items()}
        with torch.no_grad():
            return {**losses, **norms, **ranges, **policy_metrics(improvement.draw.gaussian, improvement.states)}

    def state_dict(self) -> dict[str, Any]:
        """Parameters, optimisers, scales, counters, random state."""
        return {
            "networks": self.nets.state_dict(),
            "model_descent": self.model_descent.state_dict(),
            "policy_descent": self.policy_descent.state_dict(),
            "scales": dict(self.scales),
            "updates": self.updates,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue as the learner that was saved would have."""
        self.nets.load_state_dict(state["networks"])
        self.model_descent.load_state_dict(state["model_descent"])
        self.policy_descent.load_state_dict(state["policy_descent"])
        self.scales = {name: state["scales"][name].to(self.device) for name in SCALES}
        self.updates = state["updates"]
        self.generator.set_state(state["generator"].cpu())
        self._launch = launcher(self.generator)  # recordings know the optimisers' former memory
