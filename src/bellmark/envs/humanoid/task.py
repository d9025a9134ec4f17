"""What HumanoidBench's H1 locomotion tasks observe, pay and end on (Sferrazza et al. 2024, `basic_locomotion_envs.py`).

Reward = (small joint forces) x (standing upright) x (moving at the task's speed), each in [0, 1]. As in the reference
no `mj_forward` follows a step, so rewards and the hills' termination read poses, sensors and forces 2 ms old, while
observations and the plain's termination read fresh positions. Physics is today's MuJoCo, which finds one more contact
per foot than the reference's 3.1.6: the same task statistically, not bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from bellmark.envs.dmc.tolerance import INFINITY, gaussian, linear
from bellmark.envs.engine import Floats, MujocoTask, World, stepped
from bellmark.envs.humanoid.model import load_model

SUBSTEPS = 10  # of 2 ms
STEPS = 1000
NOISE = 0.01  # half width of the uniform draw added to every number of the start pose, the quaternion's included
FORCE_SCALE = 10.0  # N m or N: a joint's force beyond which it counts as large
SPEED = {"stand": 0.0, "walk": 1.0, "run": 5.0, "stair": 1.0, "slide": 1.0}  # m/s
SCENERY = {"stand": "plain", "walk": "plain", "run": "plain", "stair": "stair", "slide": "slide"}
HEAD_HEIGHT = 1.65  # m, above the floor
BODY_HEIGHT = 1.2  # m, head above either foot on hills
FALLEN_HEIGHT = 0.2  # m, of the pelvis
FALLEN_UPRIGHT = 0.1  # cosine of the torso's tilt
NONE = 0.0  # an indicator's value at its margin


def h1_task(name: str) -> MujocoTask:
    """The engine's task of one of `SPEED`'s names.

    Raises:
        UserError: the robot's shapes have not been fetched.
    """
    model = load_model(SCENERY[name])
    low, high = (
        model.actuator_ctrlrange.astype(np.float32).astype(np.float64).T
    )  # rounded, as the reference's spaces are

    def control(actions: Floats) -> Floats:
        return (actions + 1) / 2 * (high - low) + low

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        paid, ended = (_plain if SCENERY[name] == "plain" else _hills)(model, data)
        economy, progress = _small_forces(data.actuator_force), _progress(model, data, SPEED[name])

        state = (data.qpos, data.qvel)

        def observe(row: Floats) -> None:
            np.concatenate(state, out=row)

        def reward() -> float:
            return economy() * paid() * progress()

        return World(_start(model, data), observe, reward, ended)

    size = model.nq + model.nv
    return MujocoTask(
        model, bind, size, SUBSTEPS, STEPS, order=stepped, control=control, reset_passive=False, camera="follow"
    )


def _start(model: mujoco.MjModel, data: mujoco.MjData) -> Callable[[np.random.Generator], None]:
    def begin(rng: np.random.Generator) -> None:
        mujoco.mj_resetDataKeyframe(model, data, 0)
        mujoco.mj_forward(model, data)
        data.qpos += rng.uniform(-NOISE, NOISE, model.nq)

    return begin


def _plain(model: mujoco.MjModel, data: mujoco.MjData) -> tuple[Callable[[], float], Callable[[], bool]]:
    """Standing on the floor: the head's height and the torso's tilt; over when the pelvis is low."""
    high = gaussian(HEAD_HEIGHT, INFINITY, HEAD_HEIGHT / 4)
    upright = linear(0.9, INFINITY, 1.9, NONE)
    head, zz = _height_of(model, "head"), _tilt_of(model)
    places, poses, qpos = data.site_xpos, data.xmat, data.qpos

    def standing() -> float:
        return high(places.item(head)) * upright(poses.item(zz))

    def fallen() -> bool:
        return qpos.item(2) < FALLEN_HEIGHT

    return standing, fallen


def _hills(model: mujoco.MjModel, data: mujoco.MjData) -> tuple[Callable[[], float], Callable[[], bool]]:
    """Standing on hills: the head's height over either foot and the torso's tilt; over when the torso lies."""
    high = gaussian(BODY_HEIGHT, INFINITY, 0.45)
    upright = linear(0.5, INFINITY, 1.9, NONE)
    head, left, right = (_height_of(model, site) for site in ("head", "left_foot", "right_foot"))
    zz, places, poses = _tilt_of(model), data.site_xpos, data.xmat

    def standing() -> float:
        top = places.item(head)
        return high(top - places.item(left)) * high(top - places.item(right)) * upright(poses.item(zz))

    def fallen() -> bool:
        return poses.item(zz) < FALLEN_UPRIGHT

    return standing, fallen


def _small_forces(forces: Floats) -> Callable[[], float]:
    """4/5 plus a fifth of the mean of 1 - (force/10)^2, floored at 0."""
    count, total = len(forces), np.add.reduce

    def economy() -> float:
        scaled = forces / FORCE_SCALE
        return (4 + float(total(np.maximum(1 - scaled * scaled, 0))) / count) / 5

    return economy


def _progress(model: mujoco.MjModel, data: mujoco.MjData, speed: float) -> Callable[[], float]:
    """A sixth for nothing, the rest for the body's speed along x; at speed 0, for keeping still along x and y."""
    at, sensors = model.sensor("pelvis_velocity").adr.item(), data.sensordata
    if speed:
        fast = linear(speed, INFINITY, speed, NONE)
        return lambda: (5 * fast(sensors.item(at)) + 1) / 6
    still = gaussian(0, 0, 2)
    return lambda: (still(sensors.item(at)) + still(sensors.item(at + 1))) / 2


def _height_of(model: mujoco.MjModel, site: str) -> int:
    return 3 * int(model.site(site).id) + 2


def _tilt_of(model: mujoco.MjModel) -> int:
    return 9 * int(model.body("torso_link").id) + 8
