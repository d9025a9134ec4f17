"""How the policy learns: climbing the value, imitating plans, staying close to its slow copy.

Axes: P of the T + 1 positions of a slice, T steps, N actions per state, H dynamics heads, R reward heads, M value
members, B slices, L latent, A action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bellmark import ops
from bellmark.agents.tdmpc.heads import asked, combine

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from bellmark.agents.tdmpc.heads import Heads
    from bellmark.agents.tdmpc.improvement import DistillationKnobs, PolicyLearning
    from bellmark.agents.tdmpc.networks import Networks
    from bellmark.agents.tdmpc.slices import Slice
    from bellmark.agents.tdmpc.world import Policy, World
    from bellmark.ops.gaussian import Gaussian

LEAST_STD = 1e-4  # a plan that has collapsed to a point would be infinitely far from any policy


class Draw(NamedTuple):
    """Actions a policy draws at some states."""

    gaussian: Gaussian  # (..., A)
    action: Tensor  # (..., A)
    entropy: Tensor  # (...) its bonus, one sample's


class Improvement(NamedTuple):
    """What the policy descends, and what it drew."""

    loss: Tensor  # ()
    states: Tensor  # (...) the loss of every state, for its spread
    draw: Draw


@dataclass(frozen=True, eq=False)
class Practice:
    """What the policy's losses are made from."""

    nets: Networks
    data: Slice  # latents without gradient
    config: PolicyLearning
    gamma: float
    entropy: float  # weight of the bonus now
    largest_std: float  # that a plan may have
    scales: dict[str, Tensor]  # running scales, moved as they are used
    step_weights: Callable[[int], Tensor]  # (n,) what each of n steps weighs
    generator: torch.Generator

    def draw(self, policy: Policy, z: Tensor, samples: int) -> Draw:
        """Actions (samples, *B, A) at latents (*B, L)."""
        gaussian = policy(z)
        noise = ops.gaussian.noise((samples, *gaussian.mean.shape), self.generator)
        action = policy.sample(gaussian, noise)
        form = {"jacobian": self.config.jacobian * policy.option.jacobian, "power": self.config.entropy_power}
        return Draw(gaussian, action, ops.squashed.scaled_entropy(noise, gaussian.log_std, action, **form))

    def scaled(self, name: str, x_PB: Tensor, least: float, *, move: bool = True) -> Tensor:
        """x over its running scale, which follows the range of the first step's values."""
        if move:
            scale = ops.scale.running_scale(self.scales[name], x_PB[..., 0, :], self.config.scale_rate, least)
            self.scales[name] = scale.detach()
        return x_PB / self.scales[name]

    def over_states(self, loss: Tensor) -> Tensor:
        """Weighted over steps, mean over slices and samples; (..., P, B) -> ()."""
        return (self.step_weights(loss.shape[-2]) * loss.flatten(0, -3).mean((0, 2))).sum()


def divergence(p: Gaussian, q: Gaussian) -> Tensor:
    """KL(p || q) per action dimension, (..., A)."""
    return ops.gaussian.kl(p.mean, p.log_std.exp(), q.mean, q.log_std.exp())


def q_value(world: World, heads: Heads, z: Tensor, action: Tensor, gamma: float, generator: torch.Generator) -> Tensor:
    """Q(z, a) of the members asked; (*B, L), (N, *B, A) -> (N, *B)."""
    chosen = asked(world.config.values, heads.members, generator, z)
    value_M1X = world.critic(z, action, chosen=chosen).unsqueeze(1)
    return combine(heads, value_M1X.new_zeros(1, 1, *value_M1X.shape[2:]), value_M1X)


def model_value(
    world: World, heads: Heads, z: Tensor, action: Tensor, gamma: float, generator: torch.Generator
) -> Tensor:
    """r(z, a) + gamma V(d(z, a)) of the heads asked; (*B, L), (N, *B, A) -> (N, *B)."""
    chosen = asked(world.config.values, heads.members, generator, z)
    dynamics = asked(world.config.dynamics.heads, heads.dynamics_members, generator, z)
    next_HX = world.dynamics(z, action, chosen=dynamics)
    value_MHX = gamma * world.termination(next_HX) * world.critic(next_HX, chosen=chosen)
    return combine(heads, world.reward(z, action).unsqueeze(1), value_MHX)


CLIMBED = {True: q_value, False: model_value}  # by whether the critic sees the action
PLACES = {"steps": slice(-1), "all": slice(None)}
ORDER: dict[str, Callable[[Gaussian, Gaussian], Tensor]] = {
    "policy_expert": divergence,
    "expert_policy": lambda policy, expert: divergence(expert, policy),
}


def climb(on: Practice, policy: Policy, heads: Heads, *, samples: int, positions: str, move: bool) -> Improvement:
    """-q / scale - entropy, by the gradient of q with respect to the action; the caller freezes the model."""
    z_PBL = on.data.z_TBL[PLACES[positions]]
    draw = on.draw(policy, z_PBL, samples)
    world = on.nets.world
    q_NPB = CLIMBED[world.config.critic.sees_action](world, heads, z_PBL, draw.action, on.gamma, on.generator)
    loss_NPB = -on.scaled("value", q_NPB, on.config.value_scale_min, move=move) - on.entropy * draw.entropy
    return Improvement(on.over_states(loss_NPB), loss_NPB, draw)


def imitate(on: Practice, policy: Policy, knobs: DistillationKnobs) -> Improvement:
    """KL between policy and plan, mean over action dimensions, over its running scale; minus entropy."""
    draw = on.draw(policy, on.data.z_TBL[:-1], 1)
    mean_TBA, std_TBA = on.data.expert_TBA.chunk(2, -1)
    std_TBA = (knobs.std_scale * std_TBA).clamp(max(knobs.min_std, LEAST_STD), on.largest_std)
    expert = ops.gaussian.Gaussian(mean_TBA, std_TBA.log())
    kl_TB = ORDER[knobs.order](draw.gaussian, expert).mean(-1)
    loss_1TB = on.scaled("plan", kl_TB, on.config.kl_scale_min)[None] - on.entropy * draw.entropy
    return Improvement(on.over_states(loss_1TB), loss_1TB, draw)


def trust_loss(on: Practice, policy: Gaussian) -> Tensor:
    """KL(slow policy || policy), summed over action dimensions, over its running scale, mean over steps and slices.

    `policy`: (P, B, A) at the latents of the steps, and maybe of what follows the last.
    """
    z_TBL = on.data.z_TBL[:-1]
    here = ops.gaussian.Gaussian(*(x[: len(z_TBL)] for x in policy))
    kl_TB = divergence(on.nets.slow_policy(z_TBL), here).sum(-1)
    return on.scaled("trust", kl_TB, on.config.kl_scale_min).mean()
