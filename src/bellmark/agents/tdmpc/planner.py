"""Planning: model-predictive path integral control (MPPI) in the latent space, for many problems at once.

Williams et al. 2015, as TD-MPC2 (Hansen et al. 2024) and BMPC (Wang et al. 2025) run it. Three savings,
exact where values are of states and all members are asked: the policy's plans are scored once, not anew in every
iteration (with another last action, where values are of actions); the value members asked are therefore drawn once for
a plan, not for an iteration, so that all its candidates are compared by the same ones; only those are evaluated.

Axes: P problems, S candidates, T steps of a plan, A action, L latent, H dynamics heads, R reward heads, M value
members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bellmark import ops
from bellmark.agents.tdmpc.planning import Lazy, Planner
from bellmark.agents.tdmpc.world import Endless, Scalars, Termination, World
from bellmark.nets.fused_reduced import weights_kept
from bellmark.ops.heads import Name

Act = Callable[[Tensor, Tensor], Tensor]  # actions from latents and standard normal noise
GOING_ON: Mapping[str, Callable[[Termination | Endless, Tensor], Tensor]] = {  # at latents (*B, L), (*B) in [0, 1]
    "certain": lambda ends, z: ends(z),
    "probable": lambda ends, z: (-ends.logit(z)).sigmoid(),
}


@dataclass(frozen=True, kw_only=True)
class Search:
    """A planner's settings, resolved for one purpose."""

    horizon: int
    iterations: int
    samples: int  # candidates drawn in every iteration
    policy_plans: int  # candidates of the policy, beside them
    policy_noise: float
    elites: int
    sharpness: float  # elites' weights are softmax(sharpness * score)
    min_std: float
    max_std: float
    discount: float  # per step of a plan
    ends: str
    rewards: Name
    values: Name
    dynamics: Name
    members: int  # value members asked; 0: all
    optimism: float
    first_head: bool  # ask the first dynamics head only
    every_depth: bool
    disagreement: float
    best: bool  # act on the best elite rather than on one drawn by weight
    noise: float
    fixed_noise: float


class Plan(NamedTuple):
    """What planning found."""

    action: Tensor  # (P, A) to be executed: the chosen elite's first action, and noise where the search adds some
    chosen: Tensor  # (P, A) the chosen elite's first action
    mean: Tensor  # (P, T, A) of the last distribution: the next plan's start
    std: Tensor  # (P, T, A)
    value: Tensor  # (P,) the chosen elite's score


def collecting(planner: Planner, actions: int, gamma: float) -> Search:
    """How to plan where the action is explored with."""
    return _search(
        planner,
        actions,
        gamma,
        optimism=planner.optimism_train,
        disagreement=planner.disagreement,
        best=planner.choose_train == "best",
        noise=planner.noise,
        fixed_noise=planner.fixed_noise,
    )


def judging(planner: Planner, actions: int, gamma: float) -> Search:
    """How to plan where the policy is judged: no noise; with one head only, no leaning on disagreement either."""
    first = planner.eval_heads == "first"
    return _search(
        planner,
        actions,
        gamma,
        optimism=0.0 if first else planner.optimism_eval,
        first_head=first,
        best=planner.choose_eval == "best",
    )


def reanalysing(planner: Planner, lazy: Lazy, actions: int, gamma: float) -> Search:
    """How to plan anew from replay: as while collecting but for what `lazy` sets; no noise, no disagreement's bonus."""
    inherited_at_zero = ("horizon", "iterations", "samples", "elites", "temperature")
    changes = {name: getattr(lazy, name) for name in inherited_at_zero if getattr(lazy, name)}
    if lazy.policy_plans >= 0:
        changes["policy_plans"] = lazy.policy_plans
    if lazy.iterations:
        changes["extra_iterations"] = 0
    here = planner.model_copy(update=changes)
    return _search(here, actions, gamma, optimism=lazy.optimism, best=planner.choose_train == "best")


def _search(
    planner: Planner,
    actions: int,
    gamma: float,
    *,
    optimism: float,
    best: bool,
    first_head: bool = False,
    disagreement: float = 0.0,
    noise: float = 0.0,
    fixed_noise: float = 0.0,
) -> Search:
    within = planner.policy_plans_are == "within"
    return Search(
        horizon=planner.horizon,
        iterations=planner.iterations + (planner.extra_iterations if actions >= planner.extra_from else 0),
        samples=planner.samples - (planner.policy_plans if within else 0),
        policy_plans=planner.policy_plans,
        policy_noise=planner.policy_noise,
        elites=planner.elites,
        sharpness=planner.temperature if planner.weighting == "multiply" else 1 / planner.temperature,
        min_std=planner.min_std,
        max_std=planner.max_std,
        discount=gamma if planner.discount == "gamma" else 1.0,
        ends=planner.ends,
        rewards=planner.rewards,
        values=planner.values,
        dynamics=ops.heads.by_sign(optimism) if planner.dynamics == "by_sign" else planner.dynamics,
        members=planner.members,
        optimism=optimism,
        first_head=first_head,
        every_depth=planner.depths == "all",
        disagreement=disagreement,
        best=best,
        noise=noise,
        fixed_noise=fixed_noise,
    )


def warm_start(mean: Tensor, first: Tensor) -> Tensor:
    """The former plan one step on, (P, T, A): its last step zero; all zero where an episode begins ((P,) bool)."""
    shifted = torch.cat((mean[:, 1:], torch.zeros_like(mean[:, :1])), 1)
    return shifted.masked_fill(first[:, None, None], 0.0)


@torch.no_grad()
@weights_kept()
def plan(
    world: World,
    search: Search,
    z: Tensor,
    mean: Tensor,
    generator: torch.Generator,
    *,
    critic: Scalars | None = None,
    seeds: Act | None = None,
) -> Plan:
    """Plan from latents (P, L), starting from the distribution's mean (P, T, A).

    Args:
        critic: the value network that ends a plan; the world's own by default.
        seeds: the policy whose plans are among the candidates; the world's own by default.
    """
    critic = critic or world.critic
    draw = _Draw(generator, z)
    z_P1L, mean_TPA = z.unsqueeze(1), mean.transpose(0, 1)
    members = ops.heads.choose(critic.heads.size, search.members or critic.heads.size, generator, z.device)
    scoring = Scoring(world, critic, search, members, draw)
    policy_TPSA = _policy_plans(world, search, z_P1L, seeds or world.policy.act, draw)
    policy_PS = scoring(z_P1L, policy_TPSA) if search.policy_plans else z.new_empty(len(z), 0)
    std_TPA = torch.full_like(mean_TPA, search.max_std)
    for _ in range(search.iterations):
        noise_TPSA = draw(search.horizon, len(z), search.samples, world.actions)
        free_TPSA = noise_TPSA.mul_(std_TPA.unsqueeze(2)).add_(mean_TPA.unsqueeze(2)).clamp_(-1, 1)
        score_PS = torch.cat((policy_PS, scoring(z_P1L, free_TPSA)), 1)
        elite_TPSA, elite_PS = _best(torch.cat((policy_TPSA, free_TPSA), 2), score_PS, search.elites)
        weight_PS = (search.sharpness * elite_PS).softmax(1)
        mean_TPA, std_TPA = _moments(elite_TPSA, weight_PS)
        std_TPA = std_TPA.clamp(search.min_std, search.max_std)
    # the exponential race: arg max of w / Exp(1) is a draw by weight
    key_PS = elite_PS if search.best else weight_PS / draw.exponential(weight_PS)
    at_P1 = key_PS.argmax(1, keepdim=True)
    first_PSA, std_PA = elite_TPSA[0], std_TPA[0]
    chosen_PA = first_PSA.gather(1, at_P1.unsqueeze(-1).expand(-1, -1, world.actions)).squeeze(1)
    action_PA = chosen_PA
    if search.noise or search.fixed_noise:
        spread_PA = (search.noise * std_PA).square().add(search.fixed_noise**2).sqrt()
        action_PA = (chosen_PA + spread_PA * draw(*chosen_PA.shape)).clamp(-1, 1)
    value_P = elite_PS.gather(1, at_P1).squeeze(1)
    return Plan(action_PA, chosen_PA, mean_TPA.transpose(0, 1), std_TPA.transpose(0, 1), value_P)


class _Draw:
    """Random numbers of one generator, delivered where the latents are."""

    def __init__(self, generator: torch.Generator, like: Tensor) -> None:
        self.generator, self.like = generator, like

    def __call__(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        numbers = torch.randn(shape, generator=self.generator, device=self.generator.device)
        return numbers.to(self.like)

    def exponential(self, like: Tensor) -> Tensor:
        """Exponential numbers of rate one in a tensor's shape."""
        numbers = torch.empty(like.shape, device=self.generator.device).exponential_(generator=self.generator)
        return numbers.to(self.like)


@dataclass(frozen=True)
class Scoring:
    """What plans are worth: rewards along the way and the value at the end, as a search's settings combine heads."""

    world: World
    critic: Scalars
    search: Search
    members: Tensor
    draw: _Draw

    def __call__(self, z_P1L: Tensor, action_TPSA: Tensor) -> Tensor:
        """Scores (P, S) of plans from latents; 0 where they are not a number.

        Of head h: G_h = sum_t d^t a_t r_t + d^T a_T V, d the discount, a_t whether the task goes on until t; plus
        optimism times sqrt(sum_t (d^t a_t std_R r_t)^2 + (d^T a_T std_M V)^2); then the reduction over heads.
        """
        s, world = self.search, self.world
        heads = torch.zeros(1, dtype=torch.long, device=z_P1L.device) if s.first_head else None
        reduce = ops.heads.REDUCTIONS[s.rewards]
        z, total, variance, weight = z_P1L, torch.zeros_like(z_P1L[..., 0]), torch.zeros_like(z_P1L[..., 0]), 1.0
        alive = torch.ones_like(total)
        depths = []
        for t, action_PSA in enumerate(action_TPSA):
            reward = world.reward(z, action_PSA)  # (R, P, S) at first, then (R, H, P, S)
            total = total + weight * alive * reduce(reward, 0)
            if s.optimism:
                variance = variance + (weight * alive * ops.heads.spread(reward, 0)).square()
            z = world.dynamics(z, action_PSA, own=t > 0, chosen=heads)
            alive = alive * GOING_ON[s.ends](world.termination, z)
            weight *= s.discount
            if s.every_depth or t == len(action_TPSA) - 1:
                depths.append(self._bootstrap(z, total, variance, weight * alive))
        score_HPS = torch.stack(depths).mean(0) if len(depths) > 1 else depths[0]
        score_PS = ops.heads.REDUCTIONS[s.dynamics](score_HPS, 0)
        if s.disagreement and len(z) > 1:
            score_PS = score_PS + s.disagreement * z.var(0).mean(-1)
        return score_PS.nan_to_num(0.0)

    def _bootstrap(self, z_HPSL: Tensor, total_HPS: Tensor, variance_HPS: Tensor, weight_HPS: Tensor) -> Tensor:
        """G_h with the value of where a plan has led so far."""
        s = self.search
        value_MHPS = self._value(z_HPSL)
        score_HPS = total_HPS + weight_HPS * ops.heads.REDUCTIONS[s.values](value_MHPS, 0)
        if s.optimism:
            spread_HPS = weight_HPS * ops.heads.spread(value_MHPS, 0)
            score_HPS = score_HPS + s.optimism * (variance_HPS + spread_HPS.square()).sqrt()
        return score_HPS

    def _value(self, z_HPSL: Tensor) -> Tensor:
        """The chosen members' values (M, H, P, S); of an action of the policy where they are values of actions."""
        if not self.world.config.critic.sees_action:
            return self.critic(z_HPSL, chosen=self.members)
        noise = self.draw(*z_HPSL.shape[:-1], self.world.actions)
        return self.critic(z_HPSL, self.world.policy.act(z_HPSL, noise), chosen=self.members)


def _policy_plans(world: World, search: Search, z_P1L: Tensor, act: Act, draw: _Draw) -> Tensor:
    """Plans (T, P, S, A) of a policy's draws, imagined with the first dynamics head."""
    if not search.policy_plans:
        return z_P1L.new_empty(search.horizon, len(z_P1L), 0, world.actions)
    first = torch.zeros(1, dtype=torch.long, device=z_P1L.device)
    z = z_P1L.expand(-1, search.policy_plans, -1)
    plans: list[Tensor] = []
    for t in range(search.horizon):
        if t:
            z = world.dynamics(z, plans[-1], chosen=first)[0]
        plans.append(act(z, draw(*z.shape[:-1], world.actions)))
    plans_TPSA = torch.stack(plans)
    if search.policy_noise:
        plans_TPSA = (plans_TPSA + search.policy_noise * draw(*plans_TPSA.shape)).clamp(-1, 1)
    return plans_TPSA


def _best(action_TPSA: Tensor, score_PS: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` plans of the highest scores, and the scores."""
    elite_PS, at_PS = score_PS.topk(min(count, score_PS.shape[1]), 1)
    at = at_PS[None, :, :, None].expand(len(action_TPSA), -1, -1, action_TPSA.shape[-1])
    return action_TPSA.gather(2, at), elite_PS


def _moments(action_TPSA: Tensor, weight_PS: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation over candidates."""
    weight = weight_PS[None, :, :, None]
    mean = (weight * action_TPSA).sum(2)
    return mean, (weight * (action_TPSA - mean.unsqueeze(2)).square()).sum(2).sqrt()
