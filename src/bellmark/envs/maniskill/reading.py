"""ManiSkill PickCube-v1's observation, success and rewards from readings of K worlds, in its own single precision.

After `PickCubeEnv` and `Panda.is_grasping` of mani_skill 3.0.1; the tests compare every step with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]  # (K, READING)
Bools = NDArray[np.bool_]

# Columns of a reading: all that the task is computed from.
QPOS, QVEL = slice(0, 9), slice(9, 18)  # seven angles (rad), two finger openings (m); their rates
TCP, CUBE = slice(18, 25), slice(25, 32)  # poses: position (m), quaternion
LEFT, RIGHT = slice(32, 35), slice(35, 38)  # N s: what the cube gave each finger in the last substep
LEFT_TURN, RIGHT_TURN = slice(38, 42), slice(42, 46)  # quaternions of fingers that touch the cube
GOAL = slice(46, 49)  # m
READING = 49

SUBSTEP = np.float32(0.01)  # s
GOAL_RADIUS = 0.025  # m: the cube counts as placed within this distance of the goal
STILL_SPEED = 0.2  # rad/s: the arm counts as still when no joint is faster
GRIP_FORCE, GRIP_ANGLE = 0.5, 85  # N, degrees: a grasp is a push of both fingers, along which they close
SMALLEST = 1e-6  # N: a shorter force has no direction


def observe(rows: Rows) -> Rows:
    """(K, 42): qpos 9, qvel 9, grasped 1, tool pose 7, goal 3, cube pose 7, tool to cube 3, cube to goal 3."""
    tool, cube, goal = rows[:, 18:21], rows[:, 25:28], rows[:, GOAL]
    held = grasped(rows)[:, None]
    return np.concatenate(
        [rows[:, :18], held, rows[:, TCP], goal, rows[:, CUBE], cube - tool, goal - cube], axis=1, dtype=np.float32
    )


def grasped(rows: Rows) -> Bools:
    """(K,) whether both fingers push on the cube, each within 85 degrees of the direction in which it closes."""
    held: Bools = np.logical_and(rows[:, LEFT].any(axis=1), rows[:, RIGHT].any(axis=1))
    some = np.flatnonzero(held)
    if some.size:
        touching = rows[some]
        left = _pushes(touching[:, LEFT], _sideways(touching[:, LEFT_TURN]))
        held[some] = left & _pushes(touching[:, RIGHT], -_sideways(touching[:, RIGHT_TURN]))
    return held


def placed(rows: Rows) -> Bools:
    """(K,) the cube is within 2.5 cm of the goal."""
    near: Bools = np.linalg.norm(rows[:, GOAL] - rows[:, 25:28], axis=1) <= GOAL_RADIUS
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
    tool, cube, goal = rows[:, 18:21], rows[:, 25:28], rows[:, GOAL]
    reach = 1 - np.tanh(5 * np.linalg.norm(cube - tool, axis=1))
    held = grasped(rows)
    place = 1 - np.tanh(5 * np.linalg.norm(goal - cube, axis=1))
    still = 1 - np.tanh(5 * np.linalg.norm(rows[:, 9:16], axis=1))
    shaped = reach + held + place * held + still * placed(rows)
    return (np.where(success, np.float32(5), shaped) / np.float32(5)).astype(np.float64)


REWARDS = {"sparse": sparse_reward, "dense": dense_reward}


def _sideways(turn: Rows) -> Rows:
    """(K, 3) the y axes of frames with these quaternions (K, 4), real part first."""
    r, i, j, k = turn.T
    scale = np.float32(2) / (turn * turn).sum(axis=1)
    return np.stack([scale * (i * j - k * r), 1 - scale * (i * i + k * k), scale * (j * k + i * r)], axis=1)


def _pushes(impulse: Rows, closing: Rows) -> Bools:
    force = impulse / SUBSTEP
    size = np.linalg.norm(force, axis=1)
    along = np.einsum("ki,ki->k", force, closing) / np.where(size < SMALLEST, 1, size)
    angle = np.rad2deg(np.arccos(np.clip(along, -1, 1)))
    pushes: Bools = (size >= GRIP_FORCE) & (angle <= GRIP_ANGLE)
    return pushes
