"""Reacher: easy, hard. 2 actuators, 6 observations. After dm_control 1.0.50, `suite/reacher.py`.

dm_control moves the target within the model; here worlds share a model, so the target's place is the world's memory.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np

from bellmark.envs.dmc import mjcf
from bellmark.envs.dmc.tolerance import inside
from bellmark.envs.engine import Floats, MujocoTask, World

TARGET_SIZE = {"easy": 0.05, "hard": 0.015}  # m


def make(task: str) -> MujocoTask:
    """`easy` (a large target) or `hard` (a small one)."""

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        draw = mjcf.joint_draw(model, data)
        finger, qpos, qvel = data.geom("finger").xpos[:2], data.qpos, data.qvel
        reached = inside(0, float(model.geom("target").size[0] + model.geom("finger").size[0]))

        def begin(rng: np.random.Generator) -> None:
            draw(rng)
            angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.20)
            memory[:] = radius * np.sin(angle), radius * np.cos(angle)

        def observe(row: Floats) -> None:
            np.concatenate([qpos, memory - finger, qvel], out=row)

        def reward() -> float:
            gap = memory - finger
            return reached(math.sqrt(gap.dot(gap)))

        return World(begin, observe, reward)

    model = mjcf.read("reacher").compile()
    model.geom("target").size[0] = TARGET_SIZE[task]
    return MujocoTask(model, bind, observation_size=6, substeps=1, intervals=mjcf.INTERVALS, memory=2, show=_show)


def _show(model: mujoco.MjModel, memory: Floats) -> None:
    model.geom("target").pos[:2] = memory
