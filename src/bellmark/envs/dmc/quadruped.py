"""Quadruped: walk, run. 12 actuators, 78 observations. After dm_control 1.0.50, `suite/quadruped.py`.

dm_control looks for a start height by raising the body in steps of 1 cm until nothing touches, with two full forwards
a step (11 ms). Contacts with the ground only vanish with height, so the same rung is found here by bisection over
collision checks; a test compares the states.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, repeat

import mujoco
import numpy as np

from bellmark.envs.dmc import mjcf
from bellmark.envs.dmc.tolerance import INFINITY, linear
from bellmark.envs.engine import Floats, MujocoTask, World

SPEED = {"walk": 0.5, "run": 5}  # m/s forward
TIME_LIMIT = 20  # s; sets the floor's size with the speed
FETCHING = ("wall_px", "wall_py", "wall_nx", "wall_ny", "terrain")  # belongs to other tasks of the domain
TOES = ("front_left", "front_right", "back_right", "back_left")
RUNGS = tuple(accumulate(repeat(0.01, 9_999), initial=0.0))  # m: heights as dm_control's repeated addition gives them


def make(task: str) -> MujocoTask:
    """One of the tasks of `SPEED`."""
    spec = mjcf.read("quadruped")
    size = TIME_LIMIT * SPEED[task]
    spec.geom("floor").size = [size, size, 0.5]
    spec.delete(spec.body("ball"))
    spec.delete(spec.site("target"))
    for name in FETCHING:
        spec.delete(spec.geom(name))
    for sensor in [s for s in spec.sensors if s.type == mujoco.mjtSensor.mjSENS_RANGEFINDER]:
        spec.delete(sensor)
    model, speed = spec.compile(), SPEED[task]

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        return World(_begin(model, data), _observe(model, data), _reward(model, data, speed))

    control = mjcf.scaled(model)
    return MujocoTask(model, bind, observation_size=78, substeps=4, intervals=mjcf.INTERVALS, control=control, camera=2)


def _begin(model: mujoco.MjModel, data: mujoco.MjData) -> Callable[[np.random.Generator], None]:
    place, orientation = data.qpos[:3], data.qpos[3:7]

    def touches(rung: int) -> bool:
        place[:] = 0.0, 0.0, RUNGS[rung]
        return mjcf.collides(model, data)

    def begin(rng: np.random.Generator) -> None:
        quaternion = rng.standard_normal(4)
        orientation[:] = quaternion / np.linalg.norm(quaternion)
        place[:] = 0.0, 0.0, RUNGS[lowest_clear(touches)]

    return begin


def lowest_clear(touches: Callable[[int], bool]) -> int:
    """The first rung that touches nothing, given that all above it touch nothing either.

    Raises:
        IndexError: every rung touches.
    """
    if not touches(0):
        return 0
    low, high = 0, 64
    while touches(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if touches(middle) else (low, middle)
    return high


def _observe(model: mujoco.MjModel, data: mujoco.MjData) -> Callable[[Floats], None]:
    torso, sensordata = mjcf.row(model, "torso"), data.sensordata
    (velocity,) = mjcf.sensors(model, "velocimeter")
    (imu,) = mjcf.sensors(model, "imu_accel", "imu_gyro")
    (effort,) = mjcf.sensors(model, *(f"{kind}_toe_{toe}" for kind in ("force", "torque") for toe in TOES))
    state = [data.qpos[7:], data.qvel[6:], data.act]
    seen = [*state, sensordata[velocity], data.xmat[torso, mjcf.ZZ :], sensordata[imu]]
    felt = sensordata[effort]

    def observe(row: Floats) -> None:
        np.concatenate([*seen, np.arcsinh(felt)], out=row)

    return observe


def _reward(model: mujoco.MjModel, data: mujoco.MjData, speed: float) -> Callable[[], float]:
    cosine_at, forward_at = 9 * mjcf.row(model, "torso") + mjcf.ZZ, mjcf.sensor(model, "velocimeter")
    xmat, sensordata = data.xmat, data.sensordata
    upright, moving = linear(1.0, INFINITY, 2.0, 0.0), linear(speed, INFINITY, speed, 0.5)
    return lambda: upright(xmat.item(cosine_at)) * moving(sensordata.item(forward_at))
