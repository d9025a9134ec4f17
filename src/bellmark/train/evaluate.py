"""Judging a policy: fixed start states, first episodes only, deterministic and sampled actions.

Episode i of an evaluation starts from the state of (seed, i) whatever the policy, the run or the number of episodes, so
differences between policies are paired. Each world plays one episode and leaves the batch: restarting early finishers
within a fixed number of steps, as vectorised evaluations often do, counts only their further successes and biases up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bellmark.agents.api import Metrics, Policy
from bellmark.envs.api import BatchedEnv


@dataclass(frozen=True)
class Episodes:
    """One whole episode per start state."""

    returns: NDArray[np.float64]  # (E,) undiscounted
    success: NDArray[np.bool_]  # (E,) success at any step
    length: NDArray[np.int64]  # (E,) control steps
    frames: list[NDArray[np.uint8]]  # pictures of episode 0; empty unless asked for


@torch.no_grad()
def play(policy: Policy, env: BatchedEnv, seed: int, *, deterministic: bool, film: bool = False) -> Episodes:
    """Play one episode in every world of `env` from the start states of `seed`."""
    generator = torch.Generator().manual_seed(seed)
    obs, _ = env.reset(seed=seed)
    alive = np.arange(env.num_envs)
    returns, success = np.zeros(env.num_envs), np.zeros(env.num_envs, dtype=bool)
    length = np.zeros(env.num_envs, dtype=np.int64)
    frames = [env.frame()] if film else []
    for _ in range(env.horizon):
        action = policy.act(torch.as_tensor(obs), deterministic=deterministic, generator=generator)
        moved = env.advance(alive, action.clamp(-1, 1).numpy())
        returns[alive] += moved.reward
        success[alive] |= moved.success
        length[alive] += 1
        if film and alive[0] == 0:
            frames.append(env.frame())
        going = ~moved.terminated
        alive, obs = alive[going], moved.obs[going]
        if len(alive) == 0:
            break
    return Episodes(returns, success, length, frames)


def evaluate(policy: Policy, env: BatchedEnv, seed: int) -> Metrics:
    """Both modes over all worlds of `env`, under the names of the common metric vocabulary."""
    greedy = play(policy, env, seed, deterministic=True)
    sampled = play(policy, env, seed, deterministic=False)
    return {
        "eval/return": float(greedy.returns.mean()),
        "eval/success": float(greedy.success.mean()),
        "eval/length": float(greedy.length.mean()),
        "eval/return_sampled": float(sampled.returns.mean()),
        "eval/success_sampled": float(sampled.success.mean()),
        "eval/episodes": float(env.num_envs),
    }
