"""ManiSkill PickCube-v1's observation, success and rewards from readings of K worlds, in its own single precision.

After `PickCubeEnv` and `Panda.is_grasping` of mani_skill 3.0.1; the tests compare every step with it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]  # (K, READING)
Bools = NDArray[np.bool_]

# Columns of a reading, which is an observation's first part.
QPOS, QVEL = slice(0, 9), slice(9, 18)  # seven angles (rad), two finger openings (m); their rates
HELD = 18  # 1 while both fingers push on the cube, else 0
TCP, GOAL, CUBE = slice(19, 26), slice(26, 29), slice(29, 36)  # poses: position (m), quaternion; the goal (m)
READING = 36

SUBSTEP = 0.01  # s
GOAL_RADIUS = 0.025  # m: the cube counts as placed within this distance of the goal
STILL_SPEED = 0.2  # rad/s: the arm counts as still when no joint is faster
GRIP_FORCE = 0.5  # N: least push of either finger for a grasp
GRIP_COSINE = math.cos(math.radians(85))  # a push counts as a grip within 85 degrees of the closing direction


def observe(rows: Rows) -> Rows:
    """(K, 42): qpos 9, qvel 9, grasped 1, tool pose 7, goal 3, cube pose 7, tool to cube 3, cube to goal 3."""
    tool, cube, goal = rows[:, 19:22], rows[:, 29:32], rows[:, GOAL]
    return np.concatenate([rows, cube - tool, goal - cube], axis=1)


def pushes(impulse: Sequence[float], turn: Sequence[float], side: int) -> bool:
    """Whether a finger with this orientation (quaternion, real part first) pushes on the cube as in a grasp.

    `impulse` (N s) is what the finger received in the last substep; it closes along its y axis times `side`.
    """
    size = math.hypot(*impulse) / SUBSTEP
    if size < GRIP_FORCE:
        return False
    r, i, j, k = turn
    scale = 2 / (r * r + i * i + j * j + k * k)
    closing = (scale * (i * j - k * r), 1 - scale * (i * i + k * k), scale * (j * k + i * r))
    along = side * sum(map(operator.mul, impulse, closing)) / SUBSTEP
    return along >= GRIP_COSINE * size


def placed(rows: Rows) -> Bools:
    """(K,) the cube is within 2.5 cm of the goal."""
    near: Bools = np.linalg.norm(rows[:, GOAL] - rows[:, 29:32], axis=1) <= GOAL_RADIUS
    return near


def succeeded(rows: Rows) -> Bools:
    """(K,) the cube is placed and no arm joint is faster than 0.2 rad/s; a grasp is not required."""
    still: Bools = np.abs(rows[:, 9:16]).max(axis=1) <= STILL_SPEED
    return placed(rows) & still


def sparse_reward(rows: Rows, success: Bools) -> NDArray[np.float64]:
    """(K,) 1 at success, 0 elsewhere: ManiSkill's `sparse`."""
    return success.astype(np.float64)


def dense_reward(rows: Rows, success: Bools) -> NDArray[np.float64]:
    """(K,) in [0, 1]: ManiSkill's `normalized_dense`: reach, grasp, place while grasped, hold still while placed."""
    tool, cube, goal, held = rows[:, 19:22], rows[:, 29:32], rows[:, GOAL], rows[:, HELD]
    reach = 1 - np.tanh(5 * np.linalg.norm(cube - tool, axis=1))
    place = 1 - np.tanh(5 * np.linalg.norm(goal - cube, axis=1))
    still = 1 - np.tanh(5 * np.linalg.norm(rows[:, 9:16], axis=1))
    shaped = reach + held + place * held + still * placed(rows)
    return (np.where(success, np.float32(5), shaped) / np.float32(5)).astype(np.float64)


REWARDS = {"sparse": sparse_reward, "dense": dense_reward}
