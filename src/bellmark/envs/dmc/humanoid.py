"""Humanoid: stand, walk, run. 21 actuators, 67 observations. After dm_control 1.0.50, `suite/humanoid.py`."""

from __future__ import annotations

import math
from collections.abc import Callable

import mujoco
import numpy as np

from bellmark.envs.dmc import mjcf
from bellmark.envs.dmc.tolerance import INFINITY, gaussian, linear, small_control
from bellmark.envs.engine import Floats, MujocoTask, World

SPEED = {"stand": 0, "walk": 1, "run": 10}  # m/s, in any horizontal direction
STAND_HEIGHT = 1.4  # m, of the head
LIMBS = ("left_hand", "left_foot", "right_hand", "right_foot")


def make(task: str) -> MujocoTask:
    """One of the tasks of `SPEED`."""

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        return World(_begin(model, data), _observe(model, data), _reward(model, data, SPEED[task]))

    model = mjcf.read("humanoid").compile()
    return MujocoTask(model, bind, observation_size=67, substeps=5, intervals=mjcf.INTERVALS)


def _begin(model: mujoco.MjModel, data: mujoco.MjData) -> Callable[[np.random.Generator], None]:
    draw = mjcf.joint_draw(model, data)

    def begin(rng: np.random.Generator) -> None:
        draw(rng)
        while mjcf.collides(model, data):
            draw(rng)

    return begin


def _observe(model: mujoco.MjModel, data: mujoco.MjData) -> Callable[[Floats], None]:
    torso, head = mjcf.row(model, "torso"), mjcf.row(model, "head")
    frame, origin = data.xmat[torso].reshape(3, 3), data.xpos[torso]
    left_hand, left_foot, right_hand, right_foot = (data.xpos[mjcf.row(model, limb)] for limb in LIMBS)
    vertical, velocity = data.xmat[torso, mjcf.ZX :], data.sensordata[mjcf.sensors(model, "torso_subtreelinvel")[0]]
    angles, height, speeds = data.qpos[7:], data.xpos[head, 2:], data.qvel

    def observe(row: Floats) -> None:
        limbs = [
            (left_hand - origin).dot(frame),  # one product each: a batched one rounds differently
            (left_foot - origin).dot(frame),
            (right_hand - origin).dot(frame),
            (right_foot - origin).dot(frame),
        ]
        np.concatenate([angles, height, *limbs, vertical, velocity, speeds], out=row)

    return observe


def _reward(model: mujoco.MjModel, data: mujoco.MjData, speed: float) -> Callable[[], float]:
    height_at, cosine_at = 3 * mjcf.row(model, "head") + 2, 9 * mjcf.row(model, "torso") + mjcf.ZZ
    x_at = mjcf.sensor(model, "torso_subtreelinvel")
    y_at = x_at + 1
    xpos, xmat, sensordata = data.xpos, data.xmat, data.sensordata
    standing, upright = gaussian(STAND_HEIGHT, INFINITY, STAND_HEIGHT / 4), linear(0.9, INFINITY, 1.9, 0.0)
    still, moving = gaussian(0.0, 0.0, 2.0), linear(speed, INFINITY, speed, 0.0)
    economy = small_control(data.ctrl)

    def stand() -> float:
        stood = standing(xpos.item(height_at)) * upright(xmat.item(cosine_at))
        return economy() * stood * (still(sensordata.item(x_at)) + still(sensordata.item(y_at))) / 2

    def move() -> float:
        stood = standing(xpos.item(height_at)) * upright(xmat.item(cosine_at))
        velocity = math.hypot(sensordata.item(x_at), sensordata.item(y_at))
        return economy() * stood * (5 * moving(velocity) + 1) / 6

    return move if speed else stand
