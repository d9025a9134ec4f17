"""Judging a policy: fixed start states, first episodes only, deterministic and sampled actions.

Episode i of an evaluation starts from the state of (seed, i) whatever the policy, the run or the number of episodes, so
differences between policies are paired. Each world plays one episode and leaves the batch: restarting early finishers
within a fixed number of steps, as vectorised evaluations often do, counts only their further successes and biases up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bellmark.agents.api import Agent, Metrics, Policy
from bellmark.envs.api import BatchedEnv, Transition
from bellmark.train.worlds import as_obs, command, spec_of

NEXT_NOISE = 1_000_003  # between the seeds of two draws of noise


@dataclass(frozen=True)
class Episodes:
    """One whole episode per start state."""

    returns: NDArray[np.float64]  # (E,) undiscounted
    discounted: NDArray[np.float64]  # (E,) from the start state, under the agent's discount
    success: NDArray[np.bool_]  # (E,) success at any step
    length: NDArray[np.int64]  # (E,) control steps
    frames: list[NDArray[np.uint8]]  # pictures of episode 0; empty unless asked for
    noted: Metrics  # means of what a judged policy says of its steps: extras named as metrics, nan where it is silent


Witness = Callable[[NDArray[np.int64], Tensor, Tensor, Transition], None]  # worlds (B,), obs, actions, what followed


def unwatched() -> None:
    """Nobody can interrupt this evaluation."""


def unseen(worlds: NDArray[np.int64], obs: Tensor, action: Tensor, moved: Transition) -> None:
    """Nobody keeps what was played."""


@torch.no_grad()
def play(
    policy: Policy,
    env: BatchedEnv,
    seed: int,
    *,
    deterministic: bool,
    gamma: float = 1.0,
    noise: int = 0,
    film: bool = False,
    watch: Callable[[], None] = unwatched,
    witness: Witness = unseen,
) -> Episodes:
    """Play one episode in every world of `env` from the start states of `seed`.

    `watch` is called before every step, `witness` after it, with what was seen and done in the worlds still playing.

    `noise` numbers the draws of a policy's own noise from the same start states.
    """
    spec = spec_of(env)
    generator = torch.Generator().manual_seed(seed + NEXT_NOISE * noise)
    obs, _ = env.reset(seed=seed)
    alive = np.arange(env.num_envs)
    state, first = policy.initial(env.num_envs), torch.ones(env.num_envs, dtype=torch.bool)
    returns, discounted, weight = np.zeros(env.num_envs), np.zeros(env.num_envs), 1.0
    success = np.zeros(env.num_envs, dtype=bool)
    length = np.zeros(env.num_envs, dtype=np.int64)
    frames = [env.frame()] if film else []
    noted: dict[str, list[Tensor]] = {}
    for _ in range(env.horizon):
        watch()
        before = as_obs(obs, spec)
        decision = policy.act(before, first, state, deterministic=deterministic, generator=generator)
        for name in (name for name in decision.extras if "/" in name):
            noted.setdefault(name, []).append(decision.extras[name])
        moved = env.advance(alive, command(decision.action, spec))
        witness(alive, before, decision.action, moved)
        returns[alive] += moved.reward
        discounted[alive] += weight * moved.reward
        weight *= gamma
        success[alive] |= moved.success
        length[alive] += 1
        if film and alive[0] == 0:
            frames.append(env.frame())
        going = ~moved.terminated
        if not going.any():
            break
        rows = torch.as_tensor(going)
        alive, obs = alive[going], moved.obs[going]
        state, first = (
            {k: v[rows.to(v.device)] for k, v in decision.state.items()},
            torch.zeros(len(alive), dtype=torch.bool),
        )
    means = {name: torch.cat(steps).nanmean() for name, steps in noted.items()}
    said = {name: float(mean) for name, mean in means.items() if mean.isfinite()}
    return Episodes(returns, discounted, success, length, frames, said)


def evaluate(
    policy: Policy,
    env: BatchedEnv,
    seed: int,
    *,
    gamma: float = 1.0,
    sampled: bool = True,
    watch: Callable[[], None] = unwatched,
    witness: Witness = unseen,
) -> Metrics:
    """One or both modes over all worlds of `env`, under the names of the common metric vocabulary.

    `witness` sees the deterministic episodes.
    """
    greedy = play(policy, env, seed, deterministic=True, gamma=gamma, watch=watch, witness=witness)
    metrics = {
        "eval/return": float(greedy.returns.mean()),
        "eval/return_std": float(greedy.returns.std()),
        "eval/discounted": float(greedy.discounted.mean()),
        "eval/discounted_std": float(greedy.discounted.std()),
        "eval/length": float(greedy.length.mean()),
        "eval/episodes": float(env.num_envs),
        **greedy.noted,
    }
    if env.succeeds:
        metrics["eval/success"] = float(greedy.success.mean())
    if not sampled:
        return {**metrics, "eval/steps": float(greedy.length.sum())}
    drawn = play(policy, env, seed, deterministic=False, watch=watch)
    metrics["eval/return_sampled"] = float(drawn.returns.mean())
    if env.succeeds:
        metrics["eval/success_sampled"] = float(drawn.success.mean())
    return {**metrics, "eval/steps": float(greedy.length.sum() + drawn.length.sum())}


@torch.no_grad()
def start_values(agent: Agent, env: BatchedEnv, seed: int) -> Metrics:
    """What the agent expects of the evaluation's start states, beside `eval/discounted`, which is what follows."""
    obs, _ = env.reset(seed=seed)
    values = agent.start_values(as_obs(obs, spec_of(env)))
    return {"value/start": float(values.mean())} if len(values) else {}
