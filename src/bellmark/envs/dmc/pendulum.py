"""Pendulum: swing-up. 1 actuator, 3 observations. After dm_control 1.0.50, `suite/pendulum.py`."""

from __future__ import annotations

import math

import mujoco
import numpy as np

from bellmark.envs.dmc import mjcf
from bellmark.envs.dmc.tolerance import inside
from bellmark.envs.engine import Floats, MujocoTask, World

COSINE = math.cos(math.radians(8))


def make(task: str) -> MujocoTask:
    """`swingup`: 1 while the pole stands within 8 degrees."""

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        qpos, qvel, pole = data.qpos, data.qvel, data.xmat[mjcf.row(model, "pole")]
        turned, upright = np.array([mjcf.ZZ, mjcf.XZ]), inside(COSINE, 1)

        def begin(rng: np.random.Generator) -> None:
            qpos[0] = rng.uniform(-np.pi, np.pi)

        def observe(row: Floats) -> None:
            np.concatenate([pole[turned], qvel], out=row)

        return World(begin, observe, lambda: upright(pole.item(mjcf.ZZ)))

    model = mjcf.read("pendulum").compile()
    return MujocoTask(model, bind, observation_size=3, substeps=1, intervals=mjcf.INTERVALS)
