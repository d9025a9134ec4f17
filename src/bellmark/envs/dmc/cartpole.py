"""Cart-pole: balance, swing-up, each also sparse. 1 actuator, 5 observations. After dm_control's `cartpole.py`."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from bellmark.envs.dmc import mjcf
from bellmark.envs.dmc.tolerance import gaussian, inside, small_control
from bellmark.envs.engine import Floats, MujocoTask, World

CART_RANGE = (-0.25, 0.25)  # m
COSINE_RANGE = (0.995, 1.0)
POLE = 2  # the body after world and cart


def make(task: str) -> MujocoTask:
    """`balance`, `swingup`, `balance-sparse` or `swingup-sparse`."""
    begin = _hanging if task.startswith("swingup") else _upright
    reward = _sparse if task.endswith("sparse") else _smooth

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        cart, velocity, pole, turned = data.qpos[:1], data.qvel, data.xmat[POLE], np.array([mjcf.ZZ, mjcf.XZ])

        def observe(row: Floats) -> None:
            np.concatenate([cart, pole[turned], velocity], out=row)

        return World(begin(data), observe, reward(data))

    model = mjcf.read("cartpole").compile()
    return MujocoTask(model, bind, observation_size=5, substeps=1, intervals=mjcf.INTERVALS)


def _hanging(data: mujoco.MjData) -> Callable[[np.random.Generator], None]:
    def begin(rng: np.random.Generator) -> None:
        data.qpos[0] = 0.01 * rng.standard_normal()
        data.qpos[1] = np.pi + 0.01 * rng.standard_normal()
        data.qvel[:] = 0.01 * rng.standard_normal(2)

    return begin


def _upright(data: mujoco.MjData) -> Callable[[np.random.Generator], None]:
    def begin(rng: np.random.Generator) -> None:
        data.qpos[0] = rng.uniform(-0.1, 0.1)
        data.qpos[1] = rng.uniform(-0.034, 0.034)
        data.qvel[:] = 0.01 * rng.standard_normal(2)

    return begin


def _smooth(data: mujoco.MjData) -> Callable[[], float]:
    qpos, qvel, xmat, cosine_at = data.qpos, data.qvel, data.xmat, 9 * POLE + mjcf.ZZ
    centred, slow, economy = gaussian(0.0, 0.0, 2.0), gaussian(0.0, 0.0, 5.0), small_control(data.ctrl)

    def reward() -> float:
        upright = (xmat.item(cosine_at) + 1) / 2
        return upright * economy() * ((1 + slow(qvel.item(1))) / 2) * ((1 + centred(qpos.item(0))) / 2)

    return reward


def _sparse(data: mujoco.MjData) -> Callable[[], float]:
    qpos, xmat, cosine_at = data.qpos, data.xmat, 9 * POLE + mjcf.ZZ
    near, upright = inside(*CART_RANGE), inside(*COSINE_RANGE)
    return lambda: near(qpos.item(0)) * upright(xmat.item(cosine_at))
