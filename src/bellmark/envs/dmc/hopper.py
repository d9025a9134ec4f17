"""Hopper: stand, hop. 4 actuators, 15 observations. After dm_control 1.0.50, `suite/hopper.py`."""

from __future__ import annotations

import mujoco
import numpy as np

from bellmark.envs.dmc import mjcf
from bellmark.envs.dmc.tolerance import INFINITY, inside, linear, small_control
from bellmark.envs.engine import Floats, MujocoTask, World

STAND_HEIGHT = 0.6  # m, torso over foot
HOP_SPEED = 2  # m/s


def make(task: str) -> MujocoTask:
    """`stand` (upright, with small controls) or `hop` (upright and forward)."""

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        torso, foot = (3 * mjcf.row(model, body) + 2 for body in ("torso", "foot"))
        xipos, sensordata, speed_at = data.xipos, data.sensordata, mjcf.sensor(model, "torso_subtreelinvel")
        (touch_at,) = mjcf.sensors(model, "touch_toe", "touch_heel")
        position, velocity, touch = data.qpos[1:], data.qvel, sensordata[touch_at]
        standing, hopping = inside(STAND_HEIGHT, 2), linear(HOP_SPEED, INFINITY, HOP_SPEED / 2, 0.5)
        economy = small_control(data.ctrl)

        def observe(row: Floats) -> None:
            np.concatenate([position, velocity, np.log1p(touch)], out=row)

        def stand() -> float:
            return standing(xipos.item(torso) - xipos.item(foot)) * economy()

        def hop() -> float:
            return standing(xipos.item(torso) - xipos.item(foot)) * hopping(sensordata.item(speed_at))

        return World(mjcf.joint_draw(model, data), observe, {"stand": stand, "hop": hop}[task])

    model = mjcf.read("hopper").compile()
    return MujocoTask(model, bind, observation_size=15, substeps=4, intervals=mjcf.INTERVALS)
