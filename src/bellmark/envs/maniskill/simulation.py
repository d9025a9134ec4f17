"""n worlds of ManiSkill's PickCube-v1 in this process: one scene each, read and judged together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from bellmark.envs.api import Exactness, Indices, Streams, Transition
from bellmark.envs.maniskill import reading
from bellmark.envs.maniskill.painter import Painter
from bellmark.envs.maniskill.scene import Scene, State

REST = np.array([0, np.pi / 8, 0, -5 * np.pi / 8, 0, 3 * np.pi / 4, np.pi / 4, 0.04, 0.04])  # rad, m
REST_NOISE = 0.02  # rad, standard deviation of the start angles
CUBE_HALF = 0.02  # m
SPAWN = 0.1  # m: cube and goal start within this distance of the centre, per axis
GOAL_HEIGHT = 0.3  # m: highest goal above the resting cube
DELTA = np.float32(0.1)  # rad: a full action moves a joint target this far from the joint's present angle
GRIP = np.array([-0.01, 0.04], np.float32)  # m: finger targets of actions -1 and 1; below zero presses
GRIP_MIDDLE, GRIP_HALF = np.float32(0.5) * (GRIP[1] + GRIP[0]), np.float32(0.5) * (GRIP[1] - GRIP[0])


class PickCubeV1:
    """A `Simulation` of n worlds (see `bellmark.envs.api`).

    PhysX keeps contacts of the substep before outside of what can be read and written, and orders contacts by what a
    scene has been through: a restored world goes on as the saved one while nothing touches, and close to it else.
    """

    action_repeat = 1
    exactness = Exactness.APPROXIMATE
    succeeds = True
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (42,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (8,), np.float32)
    SAVED = ("reading", "cube_velocity")  # what `save` gives, in this order

    def __init__(self, num_envs: int, *, reward: str = "sparse", horizon: int = 50) -> None:
        self.num_envs, self.horizon = num_envs, horizon
        self._reward = reading.REWARDS[reward]
        self._scenes = [Scene() for _ in range(num_envs)]
        self._rows = np.zeros((num_envs, reading.READING), np.float32)
        for scene, row in zip(self._scenes, self._rows, strict=True):
            scene.row = row
        self._painter = Painter()

    def begin(self, indices: Indices, rngs: Streams) -> NDArray[np.float32]:
        """Start states from ManiSkill's distribution: noisy rest pose, cube and goal over a 20 cm square."""
        return self.place(indices, *starts(rngs))

    def place(
        self, indices: Indices, qpos: NDArray[np.float32], cube: NDArray[np.float32], goal: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Start states as given: joints (K, 9), the cube's pose (K, 7), the goal (K, 3); returns observations."""
        for k, i in enumerate(indices.tolist()):
            self._scenes[i].begin(qpos[k], cube[k], goal[k])
        return reading.observe(self._rows[indices])

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        """One control step (50 ms) of the indexed worlds; actions (K, 8) are clipped to [-1, 1].

        Raises:
            ValueError: an action is not finite.
        """
        if not np.isfinite(actions).all():
            raise ValueError(f"non-finite action: {actions[~np.isfinite(actions).all(axis=1)][0]}")
        played = np.clip(actions.astype(np.float32), -1, 1)
        targets = np.empty((len(indices), 9), np.float32)
        targets[:, :7] = self._rows[indices, :7] + DELTA * played[:, :7]
        targets[:, 7:] = (GRIP_MIDDLE + GRIP_HALF * played[:, 7])[:, None]
        for i, target in zip(indices.tolist(), targets.tolist(), strict=True):
            self._scenes[i].step(target)
        rows = self._rows[indices]
        success = reading.succeeded(rows)
        return Transition(reading.observe(rows), self._reward(rows, success), success.copy(), success)

    def save(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """Readings and the cube's velocities: what ManiSkill's own `get_state` has."""
        velocity = np.array([self._scenes[i].velocity() for i in indices.tolist()], np.float32).reshape(-1, 6)
        return dict(zip(self.SAVED, (self._rows[indices], velocity), strict=True))

    def load(self, indices: Indices, saved: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Put saved worlds into slots; returns their observations as they were when saved."""
        rows = saved["reading"]
        self._rows[indices] = rows
        for i, row, velocity in zip(indices.tolist(), rows, saved["cube_velocity"], strict=True):
            self._scenes[i].put(State(row[reading.QPOS], row[reading.QVEL], row[reading.CUBE], velocity))
        return reading.observe(rows)

    def render(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """One frame (height, width, 3) from ManiSkill's render camera, the goal drawn as a green ball.

        Raises:
            UserError: SAPIEN finds no Vulkan device.
        """
        return self._painter.draw(self._rows[index], height, width)

    def close(self) -> None:
        """Free the scenes."""
        for scene in self._scenes:
            scene.close()
        self._painter.close()


def starts(rngs: Streams) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Joints (K, 9), the cube's poses (K, 7) and goals (K, 3), each world's from its own stream."""
    unit = np.array([rng.random(6) for rng in rngs]).reshape(-1, 6)
    noise = np.array([rng.standard_normal(7) for rng in rngs]).reshape(-1, 7)
    qpos, cube, goal = np.tile(REST, (len(rngs), 1)), np.zeros((len(rngs), 7)), np.zeros((len(rngs), 3))
    qpos[:, :7] += REST_NOISE * noise
    cube[:, :2], cube[:, 2] = SPAWN * (2 * unit[:, :2] - 1), CUBE_HALF
    cube[:, 3], cube[:, 6] = np.cos(np.pi * unit[:, 2]), np.sin(np.pi * unit[:, 2])  # about the vertical
    goal[:, :2], goal[:, 2] = SPAWN * (2 * unit[:, 3:5] - 1), CUBE_HALF + GOAL_HEIGHT * unit[:, 5]
    return qpos.astype(np.float32), cube.astype(np.float32), goal.astype(np.float32)
