"""Planar walker: stand, walk, run. 6 actuators, 24 observations. After dm_control 1.0.50, `suite/walker.py`."""

from __future__ import annotations

import mujoco
import numpy as np

from bellmark.envs.dmc import mjcf
from bellmark.envs.dmc.tolerance import INFINITY, gaussian, linear
from bellmark.envs.engine import Floats, MujocoTask, World

SPEED = {"stand": 0, "walk": 1, "run": 8}  # m/s forward
STAND_HEIGHT = 1.2  # m, of the torso


def make(task: str) -> MujocoTask:
    """One of the tasks of `SPEED`."""
    speed = SPEED[task]

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        torso, speed_at = mjcf.row(model, "torso"), mjcf.sensor(model, "torso_subtreelinvel")
        height_at, cosine_at = 3 * torso + 2, 9 * torso + mjcf.ZZ
        xpos, xmat, sensordata, velocity = data.xpos, data.xmat, data.sensordata, data.qvel
        turned = np.array([9 * body + entry for body in range(1, model.nbody) for entry in (mjcf.XX, mjcf.XZ)])
        height = xpos[torso, 2:]
        standing = gaussian(STAND_HEIGHT, INFINITY, STAND_HEIGHT / 2)
        moving = linear(speed, INFINITY, speed / 2, 0.5)

        def observe(row: Floats) -> None:
            np.concatenate([xmat.take(turned), height, velocity], out=row)

        def stand() -> float:
            return (3 * standing(xpos.item(height_at)) + (1 + xmat.item(cosine_at)) / 2) / 4

        def move() -> float:
            return stand() * (5 * moving(sensordata.item(speed_at)) + 1) / 6

        return World(mjcf.joint_draw(model, data), observe, move if speed else stand)

    model = mjcf.read("walker").compile()
    return MujocoTask(model, bind, observation_size=24, substeps=10, intervals=mjcf.INTERVALS)
