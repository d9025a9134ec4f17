"""Cheetah: run. 6 actuators, 17 observations. After dm_control 1.0.50, `suite/cheetah.py`."""

from __future__ import annotations

import warnings

import mujoco
import numpy as np

from bellmark.envs.dmc import mjcf
from bellmark.envs.dmc.tolerance import INFINITY, linear
from bellmark.envs.engine import Floats, MujocoTask, World, once, refreshed

RUN_SPEED = 10  # m/s
SETTLE = 200  # physics steps before the episode begins, for the drawn pose to come to rest


def make(task: str) -> MujocoTask:
    """`run`: forward speed up to 10 m/s."""

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        limited = np.flatnonzero(model.jnt_limited)
        low, high = model.jnt_range[limited].T.copy()
        address, qpos = model.jnt_qposadr[limited].copy(), data.qpos
        position, velocity = data.qpos[1:], data.qvel
        settle = once(refreshed(model, SETTLE), model, data)
        running, sensordata = linear(RUN_SPEED, INFINITY, RUN_SPEED, 0.0), data.sensordata
        speed_at = mjcf.sensor(model, "torso_subtreelinvel")

        def begin(rng: np.random.Generator) -> None:
            qpos[address] = rng.uniform(low, high)
            settle()  # its first half step still sees the default pose, in dm_control as here
            data.time = 0.0

        def observe(row: Floats) -> None:
            np.concatenate([position, velocity], out=row)

        return World(begin, observe, lambda: running(sensordata.item(speed_at)))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*settotalmass", category=UserWarning)  # dm_control's model uses it
        model = mjcf.read("cheetah").compile()
    return MujocoTask(model, bind, observation_size=17, substeps=1, intervals=mjcf.INTERVALS)
