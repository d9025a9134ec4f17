"""Monte-Carlo re-rollouts of snapshotted simulator states: Q(s, a) - V(s) without a value network.

From each saved state, `n_q` replicas take the action that was taken and `n_v` replicas an action of the continuation
policy; all then follow that policy. The difference of mean discounted returns estimates the advantage under the
continuation (the "vine" of Schulman et al. 2015, section 5.2; VinePPO, Kazemnejad et al. 2024).

Axes: K states, M = n_q + n_v replicas of a state, W = K M worlds, A action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from bellmark.agents.finetune.networks import GaussianPolicy
    from bellmark.envs.api import BatchedEnv, Snapshot


class Noise(Protocol):
    """Where the replicas' action noise comes from."""

    def draw(self, states: int, n_q: int, n_v: int, actions: int, generator: torch.Generator) -> Tensor:
        """Standard normal noise (states, n_q + n_v, actions) of one step."""
        ...


@dataclass(frozen=True)
class Cut:
    """Where replicas are cut short, what stands for the rest, and how many of each kind go on to correct it.

    With values Z at the cut and returns G of the replicas that go on, the mean over all replicas of a kind is
    mean(Z) + mean(G - Z over those that go on): unbiased whatever the values are, a two-level Monte Carlo estimate
    (Giles 2008). Where none goes on it is mean(Z), as biased as the values.
    """

    after: int  # control steps
    going_on: int  # replicas of each kind
    values: Callable[[Tensor], Tensor]  # (B, O) -> (B,)


NEVER = Cut(2**31, 0, lambda obs: obs.new_zeros(len(obs)))


@dataclass(frozen=True)
class Replicas:
    """What is done from each state: how many replicas of either kind, and how they go on."""

    n_q: int  # take the action that was taken
    n_v: int  # take an action of the continuation policy
    policy: GaussianPolicy  # the continuation
    noise: Noise
    gamma: float
    cut: Cut = NEVER

    @property
    def each(self) -> int:
        """Replicas of one state."""
        return self.n_q + self.n_v

    def factors(self) -> np.ndarray:
        """(each,): what a replica's return beyond the cut counts, 0 where it does not go on."""
        going = [(np.arange(n) < self.cut.going_on).astype(float) for n in (self.n_q, self.n_v)]
        return np.concatenate([g * len(g) / max(1.0, g.sum()) for g in going])


@dataclass(frozen=True)
class Branches:
    """Discounted returns of the replicas, and what they cost.

    Where replicas are cut, a row's mean is the estimate, while its single numbers weigh what went on more.
    """

    q_KM: Tensor  # (K, n_q)
    v_KM: Tensor  # (K, n_v)
    steps: int  # simulator control steps spent


def spread(count: int, share: float) -> Tensor:
    """Indices of `share` of `count` rows, at least one, at even distances."""
    return torch.linspace(0, count - 1, max(1, round(share * count))).round().long()


@torch.no_grad()
def reroll(
    env: BatchedEnv,
    start: Snapshot,
    action_KA: Tensor,
    limit_K: np.ndarray,
    replicas: Replicas,
    generator: torch.Generator,
) -> Branches:
    """Re-roll K saved states, as many at a time as `env` has worlds for.

    Args:
        env: a batch of worlds, used as scratch.
        action_KA: first actions of the Q replicas, as sampled (clipped here, as in collection).
        limit_K: control steps each state's replicas may take; a replica cut there is worth what it has earned.

    Raises:
        ValueError: `env` cannot hold the replicas of even one state.
    """
    at_once = env.num_envs // replicas.each
    if at_once == 0:
        raise ValueError(f"{env.num_envs} worlds cannot hold the {replicas.each} replicas of one state")
    returns, steps = [], 0
    for first in range(0, len(start), at_once):
        rows = np.arange(first, min(first + at_once, len(start)))
        return_KM, spent = _chunk(env, start.take(rows), action_KA[rows], limit_K[rows], replicas, generator)
        returns.append(return_KM)
        steps += spent
    whole_KM = torch.cat(returns)
    return Branches(whole_KM[:, : replicas.n_q], whole_KM[:, replicas.n_q :], steps)


def _chunk(
    env: BatchedEnv,
    start: Snapshot,
    action_KA: Tensor,
    limit_K: np.ndarray,
    replicas: Replicas,
    generator: torch.Generator,
) -> tuple[Tensor, int]:
    """Returns (K, M) of states that fit into `env` together, Q replicas first, and the steps spent."""
    states = len(start)
    alive = np.arange(states * replicas.each)
    obs = env.restore(start.repeat(replicas.each), alive)
    limit_W, factor_W = np.repeat(limit_K, replicas.each), np.tile(replicas.factors(), states)
    return_W, counts_W = np.zeros(len(alive)), np.ones(len(alive))
    discount, steps = 1.0, 0
    for t in range(int(limit_K.max())):
        noise_KMA = replicas.noise.draw(states, replicas.n_q, replicas.n_v, action_KA.shape[1], generator)
        action = replicas.policy.sample(torch.as_tensor(obs, dtype=torch.float32), noise_KMA.flatten(0, 1)[alive])
        if t == 0:
            action.view(states, replicas.each, -1)[:, : replicas.n_q] = action_KA[:, None]
        moved = env.advance(alive, action.clamp(-1, 1).numpy())
        steps += len(alive)
        return_W[alive] += discount * counts_W[alive] * moved.reward
        discount *= replicas.gamma
        # Finished replicas leave the batch: with a good continuation most end long before the limit.
        going = ~moved.terminated & (t + 1 < limit_W[alive])
        alive, obs = alive[going], moved.obs[going]
        if t + 1 == replicas.cut.after:
            factor = factor_W[alive]
            rest = discount * replicas.cut.values(torch.as_tensor(obs, dtype=torch.float32)).numpy()
            return_W[alive] += (1 - factor) * rest
            counts_W[alive] = factor
            alive, obs = alive[factor > 0], obs[factor > 0]
        if len(alive) == 0:
            break
    return torch.as_tensor(return_W, dtype=torch.float32).view(states, replicas.each), steps
