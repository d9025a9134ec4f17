"""The actor and critic of the finetune family: separate tanh MLPs, a Gaussian with state-independent spread.

Architecture and initialisation after ManiSkill's PPO baseline: 3 x 256, log_std a free vector, actions not squashed
(the density is that of the unclipped sample; whoever steps the environment clips).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from bellmark.agents.api import Decision, State
from bellmark.errors import UserError
from bellmark.nets.mlp import tanh_mlp
from bellmark.ops import gaussian

if TYPE_CHECKING:
    from bellmark.agents.finetune.config import PolicyNet
    from bellmark.envs.api import BatchedEnv


class GaussianPolicy(nn.Module):
    """pi(a | s) = N(mean(s), exp(log_std)^2), independent per action dimension."""

    def __init__(
        self, obs_dim: int, action_dim: int, hidden: int, layers: int, log_std: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        gain = 0.01 * math.sqrt(2)
        self.mean = tanh_mlp(obs_dim, action_dim, hidden, layers, last_gain=gain, generator=generator)
        self.log_std = nn.Parameter(torch.full((action_dim,), log_std))

    def sample(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Actions (B, A) from observations (B, O) and standard normal noise (B, A)."""
        action: Tensor = self.mean(obs) + noise * self.log_std.exp()
        return action

    def initial(self, worlds: int) -> State:
        """Nothing to carry from step to step."""
        return {}

    def act(
        self, obs: Tensor, first: Tensor, state: State, *, deterministic: bool, generator: torch.Generator
    ) -> Decision:
        """The mean, or a draw."""
        mean: Tensor = self.mean(obs)
        return Decision(mean if deterministic else self.sample(obs, torch.randn(mean.shape, generator=generator)), {})

    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        """Log density (B,) in nats."""
        return gaussian.log_prob(action, self.mean(obs), self.log_std)

    def entropy(self) -> Tensor:
        """Scalar, in nats; the same in every state."""
        return gaussian.entropy(self.log_std)


class Critic(nn.Module):
    """V(s), regressed by mean squared error."""

    def __init__(self, obs_dim: int, hidden: int, layers: int, generator: torch.Generator) -> None:
        super().__init__()
        self.value = tanh_mlp(obs_dim, 1, hidden, layers, last_gain=math.sqrt(2), generator=generator)

    def forward(self, obs: Tensor) -> Tensor:
        """Values (B,) of observations (B, O)."""
        value: Tensor = self.value(obs)
        return value.squeeze(-1)

    def loss(self, obs: Tensor, target: Tensor) -> Tensor:
        """Half the mean squared error to value targets (B,)."""
        return 0.5 * nn.functional.mse_loss(self(obs), target)

    def joint_loss(self, obs: Tensor, target: Tensor) -> Tensor:
        """Its loss: the policy's minibatches train it too."""
        return self.loss(obs, target)

    def joint_parameters(self) -> list[nn.Parameter]:
        """What the policy's optimiser trains of it: all."""
        return list(self.parameters())


class Apart(nn.Module):
    """A critic that the policy's minibatches leave alone."""

    def joint_loss(self, obs: Tensor, target: Tensor) -> Tensor:
        """Zero."""
        return obs.new_zeros(())

    def joint_parameters(self) -> list[nn.Parameter]:
        """None."""
        return []


class ApartCritic(Apart):
    """V(s) that the policy's minibatches leave alone: it has a training of its own."""

    def __init__(self, obs_dim: int, hidden: int, layers: int, generator: torch.Generator) -> None:
        super().__init__()
        self.v = Critic(obs_dim, hidden, layers, generator)

    def forward(self, obs: Tensor) -> Tensor:
        """V (B,) of observations (B, O)."""
        value: Tensor = self.v(obs)
        return value


class ActionValues(Apart):
    """Q(s, a) by one network or by the smaller of two, with slow copies, and V(s): what IQL trains.

    The policy's minibatches leave it alone.
    """

    def __init__(self, dims: tuple[int, int], hidden: int, layers: int, twins: int, generator: torch.Generator) -> None:
        super().__init__()
        obs_dim, action_dim = dims
        self.v = Critic(obs_dim, hidden, layers, generator)
        self.q = nn.ModuleList(Critic(obs_dim + action_dim, hidden, layers, generator) for _ in range(twins))
        self.slow_q = copy.deepcopy(self.q).requires_grad_(False)

    @property
    def networks(self) -> list[Critic]:
        """The Q networks; their input is `pair(obs, action)`."""
        return [q for q in self.q if isinstance(q, Critic)]

    def forward(self, obs: Tensor) -> Tensor:
        """V (B,) of observations (B, O)."""
        value: Tensor = self.v(obs)
        return value

    def action_value(self, obs: Tensor, action: Tensor) -> Tensor:
        """Q (B,): the slow copies' smaller estimate; actions are clipped as whoever steps the environment does."""
        return torch.stack([q(pair(obs, action)) for q in self.slow_q]).amin(0)


class ZeroCritic(Apart):
    """The critic of methods that have none: values 0, no parameters."""

    def forward(self, obs: Tensor) -> Tensor:
        """Zeros (B,)."""
        return obs.new_zeros(obs.shape[:-1])


AnyCritic = Critic | ApartCritic | ActionValues | ZeroCritic


def pair(obs: Tensor, action: Tensor) -> Tensor:
    """Inputs (B, O + A) of an action-value network."""
    return torch.cat([obs, action.clamp(-1, 1)], dim=-1)


def sizes(env: BatchedEnv) -> tuple[int, int]:
    """Observation and action dimension of one world.

    Raises:
        UserError: observations are not a vector, or actions not a box.
    """
    obs, action = env.single_observation_space, env.single_action_space
    if not isinstance(action, Box):
        raise UserError(f"the finetune family needs continuous actions, this task has {action}")
    shape = obs.shape or ()
    if len(shape) != 1:
        raise UserError(f"the finetune family needs a vector of observations, this task has {obs}")
    return shape[0], int(np.prod(action.shape))


def new_policy(net: PolicyNet, env: BatchedEnv, log_std: float, generator: torch.Generator) -> GaussianPolicy:
    """A fresh policy for an environment's sizes."""
    return GaussianPolicy(*sizes(env), net.hidden, net.layers, log_std, generator)


def stored_policy(net: PolicyNet, env: BatchedEnv, weights: Mapping[str, Any]) -> GaussianPolicy:
    """A policy with stored parameters. Draws from no run's random stream, so that loading late changes nothing."""
    policy = new_policy(net, env, 0.0, torch.Generator())
    policy.load_state_dict(weights)
    return policy
