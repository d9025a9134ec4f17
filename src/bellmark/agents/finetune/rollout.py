"""On-policy collection: T steps of N environments, with everything an advantage source may ask for.

Axes: T time, N environments, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from bellmark.agents.finetune.networks import GaussianPolicy
    from bellmark.envs.api import BatchedEnv, Snapshot


@dataclass(frozen=True)
class Rollout:
    """What was seen and done. `terminated` is the task's own end; `done` also counts the time limit."""

    obs_TNO: Tensor
    action_TNA: Tensor  # as sampled, before clipping: log_prob belongs to it
    log_prob_TN: Tensor
    reward_TN: Tensor
    next_obs_TNO: Tensor  # what the step led to, before any reset
    terminated_TN: Tensor
    done_TN: Tensor
    elapsed_TN: Tensor  # steps taken in the episode before this one
    snapshots: list[Snapshot]  # T snapshots of N worlds, taken before each step; empty when not asked for
    episode_returns: list[float]
    episode_successes: list[bool]
    horizon: int  # control steps until an episode is truncated

    @staticmethod
    def concatenate(parts: Sequence[Rollout]) -> Rollout:
        """The environments of all parts side by side; parts must have as many steps."""
        first = parts[0]
        if len(parts) == 1:
            return first
        columns: dict[str, Any] = {n: torch.cat([getattr(part, n) for part in parts], dim=1) for n in COLUMNS}
        saved = [type(worlds[0]).concatenate(worlds) for worlds in zip(*(p.snapshots for p in parts), strict=True)]
        returns = [value for part in parts for value in part.episode_returns]
        successes = [value for part in parts for value in part.episode_successes]
        return Rollout(
            **columns, snapshots=saved, episode_returns=returns, episode_successes=successes, horizon=first.horizon
        )

    def state(self) -> dict[str, Any]:
        """For a checkpoint: everything but the snapshots, which are spent once advantages are estimated."""
        own = ("episode_returns", "episode_successes", "horizon")
        return {name: getattr(self, name) for name in (*COLUMNS, *own)}

    @staticmethod
    def restored(state: Mapping[str, Any]) -> Rollout:
        """What `state` saved."""
        return Rollout(**state, snapshots=[])


COLUMNS = (
    "obs_TNO", "action_TNA", "log_prob_TN", "reward_TN", "next_obs_TNO", "terminated_TN", "done_TN", "elapsed_TN",
)  # fmt: skip


@torch.no_grad()
def collect(
    env: BatchedEnv,
    policy: GaussianPolicy,
    obs: np.ndarray,
    steps: int,
    generator: torch.Generator,
    running_return: np.ndarray,
    *,
    reward_scale: float = 1.0,
    snapshots: bool,
) -> tuple[Rollout, np.ndarray]:
    """Step `env` `steps` times from its present state; returns the rollout and the observation to go on from.

    `running_return` (N,) holds the undiscounted return of each unfinished episode and is updated in place, so that
    episodes that span two rollouts are counted whole.
    """
    rows: list[tuple[Tensor, ...]] = []
    saved: list[Snapshot] = []
    returns: list[float] = []
    successes: list[bool] = []
    for _ in range(steps):
        if snapshots:
            saved.append(env.snapshot())
        elapsed = env.elapsed
        obs_t = torch.as_tensor(obs, dtype=torch.float32)
        action_t = policy.sample(obs_t, torch.randn((len(obs_t), policy.log_std.numel()), generator=generator))
        log_prob_t = policy.log_prob(obs_t, action_t)
        obs, reward, terminated, truncated, info = env.step(action_t.clamp(-1, 1).numpy())
        done = terminated | truncated
        running_return += reward
        returns += running_return[done].tolist()
        successes += info["success"][done].tolist()
        running_return[done] = 0.0
        arrays = ((reward_scale * reward).astype(np.float32), info["final_obs"], terminated, done, elapsed)
        rows.append((obs_t, action_t, log_prob_t, *(torch.as_tensor(a) for a in arrays)))
    columns = [torch.stack(column) for column in zip(*rows, strict=True)]
    obs_T, action_T, log_prob_T, reward_T, next_obs_T, terminated_T, done_T, elapsed_T = columns
    rollout = Rollout(
        obs_T,
        action_T,
        log_prob_T,
        reward_T,
        next_obs_T.float(),
        terminated_T,
        done_T,
        elapsed_T,
        saved,
        returns,
        successes,
        env.horizon,
    )
    return rollout, obs
