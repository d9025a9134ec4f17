"""Whole episodes of a policy, every observation, action and reward kept."""

from __future__ import annotations

import torch
from torch import Tensor

from bellmark.agents.api import Policy
from bellmark.agents.dreamer.dreams import Episode
from bellmark.envs.api import BatchedEnv
from bellmark.train.worlds import as_obs, command, spec_of


@torch.no_grad()
def record(policy: Policy, env: BatchedEnv, seed: int, *, deterministic: bool) -> list[Episode]:
    """One episode of every world from the start states of `seed`, as `evaluate.play` plays them."""
    spec = spec_of(env)
    generator = torch.Generator().manual_seed(seed)
    obs = as_obs(env.reset(seed=seed)[0], spec)
    rows: list[list[tuple[Tensor, Tensor, float]]] = [[] for _ in obs]  # (action, next observation, reward) of steps
    resets, terminated = list(obs), [False] * len(obs)
    alive = torch.arange(env.num_envs)
    state, first = policy.initial(env.num_envs), torch.ones(env.num_envs, dtype=torch.bool)
    for _ in range(env.horizon):
        decision = policy.act(obs, first, state, deterministic=deterministic, generator=generator)
        moved = env.advance(alive.numpy(), command(decision.action, spec))
        obs, ended = as_obs(moved.obs, spec), torch.as_tensor(moved.terminated)
        for place, world in enumerate(alive.tolist()):
            rows[world].append((decision.action[place].cpu(), obs[place], float(moved.reward[place])))
            terminated[world] = bool(ended[place])
        if ended.all():
            break
        alive, obs, first = alive[~ended], obs[~ended], torch.zeros(int((~ended).sum()), dtype=torch.bool)
        state = {k: v[(~ended).to(v.device)] for k, v in decision.state.items()}
    return [
        Episode(
            obs=torch.stack([reset, *(row[1] for row in steps)]),
            action=torch.stack([row[0] for row in steps]),
            reward=torch.tensor([0.0, *(row[2] for row in steps)]),
            terminated=end,
        )
        for reset, steps, end in zip(resets, rows, terminated, strict=True)
    ]
