"""All worlds in ManiSkill's GPU simulation, through its own batched interface.

Written against the interface that the tests drive with one world on a processor core; it has not been run on a GPU.
PhysX steps all worlds there or none: when only some are to be stepped, the others are written back afterwards, which
disturbs their contacts as a restore does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bellmark.envs.api import Indices, Streams, Transition
from bellmark.envs.maniskill import stand_in
from bellmark.envs.maniskill.simulation import PickCubeV1, starts
from bellmark.errors import UserError

MODES = {"sparse": "sparse", "dense": "normalized_dense"}  # ours -> ManiSkill's
AT_REST = np.zeros((1, 6), np.float32)


class Together:
    """A `Simulation` over one ManiSkill environment of n worlds."""

    action_repeat = PickCubeV1.action_repeat
    exactness = PickCubeV1.exactness
    succeeds = PickCubeV1.succeeds
    observation_space = PickCubeV1.observation_space
    action_space = PickCubeV1.action_space

    def __init__(self, env: Any, horizon: int) -> None:
        self.num_envs, self.horizon = env.num_envs, horizon
        self._env, self._device = env, env.device
        self._obs = np.zeros((env.num_envs, 42), np.float32)
        self._still: dict[str, torch.Tensor] = env._init_raw_state["actors"]

    def begin(self, indices: Indices, rngs: Streams) -> NDArray[np.float32]:
        """Start states as everywhere here, so that a seed is the same start on cores and on a GPU."""
        options = {"env_idx": self._tensor(indices), "reset_to_env_states": {"env_states": self._states(*starts(rngs))}}
        obs, _ = self._env.reset(options=options)
        self._obs[indices] = obs.cpu().numpy()[indices]
        return self._obs[indices]

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        """One control step of the indexed worlds; the others stay where they are.

        Raises:
            ValueError: an action is not finite.
        """
        if not np.isfinite(actions).all():
            raise ValueError(f"non-finite action: {actions[~np.isfinite(actions).all(axis=1)][0]}")
        played = np.zeros((self.num_envs, 8), np.float32)
        played[indices] = np.clip(actions, -1, 1)
        others = np.setdiff1d(np.arange(self.num_envs), indices)
        before = self._env.get_state() if len(others) else None
        obs, reward, terminated, _, info = self._env.step(torch.as_tensor(played, device=self._device))
        if before is not None:
            self._env.set_state(before[self._tensor(others)], self._tensor(others))
        self._obs[indices] = obs.cpu().numpy()[indices]
        columns = (reward.to(torch.float64), terminated, info["success"])
        return Transition(self._obs[indices], *(column.cpu().numpy()[indices] for column in columns))

    def save(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """ManiSkill's own states (K, 70) and the observations."""
        return {"state": self._env.get_state()[self._tensor(indices)].cpu().numpy(), "obs": self._obs[indices]}

    def load(self, indices: Indices, saved: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Put saved worlds into slots; returns their observations as they were when saved."""
        self._env.set_state(torch.as_tensor(saved["state"], device=self._device), self._tensor(indices))
        self._obs[indices] = saved["obs"]
        return self._obs[indices]

    def render(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """Never possible.

        Raises:
            UserError: always.
        """
        raise UserError("worlds on a GPU are not drawn here; film the policy with task.simulator=cpu")

    def close(self) -> None:
        """Free the environment."""
        self._env.close()

    def _tensor(self, indices: Indices) -> torch.Tensor:
        return torch.as_tensor(indices, dtype=torch.int64, device=self._device)

    def _states(self, qpos: NDArray[np.float32], cube: NDArray[np.float32], goal: NDArray[np.float32]) -> torch.Tensor:
        """(K, 70) ManiSkill's flat states: actors in its order, each pose and velocities, then the robot."""
        count = len(qpos)
        upright = np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1))
        poses = {"cube": cube, "goal_site": np.concatenate([goal, upright], axis=1)}
        parts: list[NDArray[Any]] = []
        for name, initial in self._still.items():
            pose = poses.get(name, np.repeat(initial[:1, :7].cpu().numpy(), count, axis=0))
            parts += [pose, np.repeat(AT_REST, count, axis=0)]
        (robot,) = self._env._init_raw_state["articulations"].values()
        parts += [np.repeat(robot[:1, :13].cpu().numpy(), count, axis=0), qpos, np.zeros_like(qpos)]
        return torch.as_tensor(np.concatenate(parts, axis=1), device=self._device)


def on_gpu(num_envs: int, *, reward: str, horizon: int) -> Together:
    """Worlds on the CUDA device that PyTorch sees.

    Raises:
        UserError: it sees none.
    """
    stand_in.load()
    if not torch.cuda.is_available():
        raise UserError("task.simulator=cuda: PyTorch sees no CUDA device here; task.simulator=cpu runs anywhere")
    return Together(stand_in.make(MODES[reward], num_envs=num_envs, cuda=True), horizon)
