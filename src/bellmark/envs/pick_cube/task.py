"""The PickCube task as pure functions of the simulated state: observation, success, sparse and dense reward.

After ManiSkill's PickCube-v1 (Tao et al. 2024), with its constants. Two deviations: contact forces are those of the
last 10 ms substep, and only pads, palm, cube and table collide (the arm's links are drawn only).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

CUBE_HALF = 0.02  # m
GOAL_RADIUS = 0.025  # m: the cube counts as placed within this distance of the goal
STILL_SPEED = 0.2  # rad/s: the arm counts as still when no joint is faster
GRIP_FORCE = 0.5  # N: least push of either pad for a grasp
GRIP_COSINE = np.cos(np.deg2rad(85.0))  # a push counts as a grip within 85 degrees of the closing direction
REST = np.array([0.0, np.pi / 8, 0.0, -5 * np.pi / 8, 0.0, 3 * np.pi / 4, np.pi / 4])  # rad
REST_NOISE = 0.02  # rad, standard deviation of the start angles
SPAWN = 0.1  # m: cube and goal start within this distance of the centre, per axis
GOAL_HEIGHT = 0.3  # m: highest goal above the resting cube
FINGER_OPEN = 0.04  # m


@dataclass(frozen=True)
class Worlds:
    """The quantities of K worlds that the task reads."""

    qpos: Float  # (K, 9) seven angles (rad), two finger openings (m)
    qvel: Float  # (K, 9)
    tcp: Float  # (K, 3) point between the fingertips
    tcp_quat: Float  # (K, 4)
    grasped: Bool  # (K,)
    cube: Float  # (K, 3)
    cube_quat: Float  # (K, 4)
    goal: Float  # (K, 3)


def observe(w: Worlds) -> NDArray[np.float32]:
    """(K, 42): qpos 9, qvel 9, grasped 1, tool pose 7, goal 3, cube pose 7, tool to cube 3, cube to goal 3."""
    columns = [
        w.qpos,
        w.qvel,
        w.grasped[:, None],
        w.tcp,
        w.tcp_quat,
        w.goal,
        w.cube,
        w.cube_quat,
        w.cube - w.tcp,
        w.goal - w.cube,
    ]
    return np.concatenate(columns, axis=1, dtype=np.float32)


def grasped(left_force: Float, right_force: Float, closing: Float) -> Bool:
    """Whether both pads push on the cube against each other.

    Forces (K, 3) in newtons act from each pad on the cube, in world axes; `closing` (K, 3) is the unit direction in
    which the left pad closes.
    """
    return _pushes(left_force, closing) & _pushes(right_force, -closing)


def _pushes(force: Float, direction: Float) -> Bool:
    size = np.sqrt(np.einsum("ki,ki->k", force, force))
    along = np.einsum("ki,ki->k", force, direction)
    return (size >= GRIP_FORCE) & (along >= GRIP_COSINE * size)


def placed(w: Worlds) -> Bool:
    """(K,) the cube is within 2.5 cm of the goal."""
    return np.linalg.norm(w.cube - w.goal, axis=1) <= GOAL_RADIUS


def succeeded(w: Worlds) -> Bool:
    """(K,) the cube is placed and every arm joint is slower than 0.2 rad/s; a grasp is not required."""
    return placed(w) & (np.abs(w.qvel[:, :7]).max(axis=1) < STILL_SPEED)


def sparse_reward(w: Worlds, success: Bool) -> Float:
    """(K,) 1 at success, 0 elsewhere."""
    return success.astype(np.float64)


def dense_reward(w: Worlds, success: Bool) -> Float:
    """(K,) in [0, 1]: reach, then grasp, then place while grasped, then hold still while placed; success gives 1."""
    reach = 1 - np.tanh(5 * np.linalg.norm(w.cube - w.tcp, axis=1))
    place = 1 - np.tanh(5 * np.linalg.norm(w.goal - w.cube, axis=1))
    still = 1 - np.tanh(5 * np.linalg.norm(w.qvel[:, :7], axis=1))
    shaped = reach + w.grasped + place * w.grasped + still * placed(w)
    return np.where(success, 5.0, shaped) / 5.0


REWARDS = {"sparse": sparse_reward, "dense": dense_reward}
