"""Dog: stand, walk, trot, run. 38 muscles' filters, 223 observations. After dm_control 1.0.50, `suite/dog.py`."""

from __future__ import annotations

import math
from collections.abc import Callable

import mujoco
import numpy as np

from bellmark.envs.dmc import mjcf
from bellmark.envs.dmc.tolerance import INFINITY, gaussian, linear
from bellmark.envs.engine import Floats, MujocoTask, World

SPEED = {"stand": 0, "walk": 1, "trot": 3, "run": 9}  # m/s forward
TIME_LIMIT = 15  # s; sets the floor's size with the speed
STAND_HEIGHT = 0.9  # of the height over the ground at the default pose
UPRIGHT = math.cos(math.radians(30))
FETCHING = ("ball", "target", "wall_px", "wall_nx", "wall_py", "wall_ny")  # belongs to the fetch task


def make(task: str) -> MujocoTask:
    """One of the tasks of `SPEED`."""
    spec = mjcf.read("dog")
    size = max(SPEED[task], SPEED["walk"]) * TIME_LIMIT
    spec.geom("floor").size = [size, size, 0.1]
    spec.delete(spec.body("ball"))
    for name in FETCHING[1:]:
        spec.delete(spec.geom(name))
    for camera in [c for c in spec.cameras if c.name in ("ball", "head")]:
        spec.delete(camera)
    bind = _binder(SPEED[task])
    return MujocoTask(spec.compile(), bind, observation_size=223, substeps=3, intervals=mjcf.INTERVALS)


def _binder(speed: float) -> Callable[[mujoco.MjModel, mujoco.MjData, Floats], World]:
    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        reward = _reward(model, data, speed)
        return World(_begin(model, data), _observe(model, data), reward)

    return bind


def _begin(model: mujoco.MjModel, data: mujoco.MjData) -> Callable[[np.random.Generator], None]:
    orientation, qvel, act = data.qpos[3:7], data.qvel, data.act
    low, high = model.actuator_ctrlrange.T.copy()

    def begin(rng: np.random.Generator) -> None:
        azimuth = rng.uniform(0, 2 * np.pi)
        orientation[:] = np.cos(azimuth / 2), 0, 0, np.sin(azimuth / 2)
        qvel[[0, 1, 5]] = 2 * rng.standard_normal(3)
        act[:] = rng.uniform(low, high)

    return begin


def _observe(model: mujoco.MjModel, data: mujoco.MjData) -> Callable[[Floats], None]:
    torso, pelvis, skull = (mjcf.row(model, name) for name in ("torso", "pelvis", "skull"))
    velocity = data.sensordata[mjcf.sensors(model, "torso_linvel")[0]]
    frame = data.xmat[torso].reshape(3, 3)
    felt = ("accelerometer", "velocimeter", "gyro", "foot_L", "foot_R", "hand_L", "hand_R")
    touch = ("palm_L", "palm_R", "sole_L", "sole_R")
    before = [data.qpos[7:], data.qvel[6:], data.xpos[torso, 2:], data.xpos[pelvis, 2:]]
    before += [data.xmat[body, mjcf.ZX :] for body in (skull, torso, pelvis)]
    after = [*(data.sensordata[at] for at in mjcf.sensors(model, *felt, *touch)), data.act]

    def observe(row: Floats) -> None:
        np.concatenate([*before, velocity.dot(frame), *after], out=row)

    return observe


def _reward(model: mujoco.MjModel, data: mujoco.MjData, speed: float) -> Callable[[], float]:
    """Height, uprightness, ground contact up to body weight, and speed, multiplied."""
    bodies = [mjcf.row(model, name) for name in ("torso", "pelvis", "skull")]
    mujoco.mj_forward(model, data)  # the default pose gives the standing heights
    standing = [gaussian(h, INFINITY, h) for h in (data.xpos[bodies[:2], 2] * STAND_HEIGHT).tolist()]
    heights = [data.xpos[body, 2:] for body in bodies[:2]]
    weight = float(-model.opt.gravity[2] * model.body_subtreemass[bodies[0]])
    upright = linear(UPRIGHT, INFINITY, UPRIGHT + 1, 0.0)
    touching = linear(weight, INFINITY, weight, 0.9)
    moving = linear(speed, 2 * speed, max(1.0, speed), 0.0)
    touch = data.sensordata[mjcf.sensors(model, "palm_L", "palm_R", "sole_L", "sole_R")[0]]
    velocity = data.sensordata[mjcf.sensors(model, "torso_linvel")[0]]
    xmat, cosines, forward = data.xmat, [9 * body + mjcf.ZZ for body in bodies], data.xmat[bodies[0], 0::3]

    def reward() -> float:
        height = standing[0](heights[0].item()) * standing[1](heights[1].item())
        cosine = upright(xmat.item(cosines[0])) * upright(xmat.item(cosines[1])) * upright(xmat.item(cosines[2]))
        return height * cosine * touching(float(touch.sum()))

    def reward_moving() -> float:
        return reward() * (4 * moving(float(velocity.dot(forward))) + 1) / 5

    return reward_moving if speed else reward
