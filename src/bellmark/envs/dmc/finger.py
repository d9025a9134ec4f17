"""Finger: spin, turn easy, turn hard. 2 actuators, 9 or 12 observations. After dm_control 1.0.50, `suite/finger.py`.

dm_control moves the target within the model; here worlds share a model, so the target's place is the world's memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import mujoco
import numpy as np

from bellmark.envs.dmc import mjcf
from bellmark.envs.engine import Floats, MujocoTask, World

TARGET_SIZE = {"turn-easy": 0.07, "turn-hard": 0.03}  # m
SPIN_VELOCITY = 15.0  # rad/s
SPIN_DAMPING = 0.03
ATTEMPTS = 1000  # draws of a pose without contacts before giving up


def make(task: str) -> MujocoTask:
    """`spin` (keep the free body turning) or one of the tasks of `TARGET_SIZE` (turn its tip to a target)."""
    spec = mjcf.read("finger")
    model = spec.compile()
    if task == "spin":
        model.joint("hinge").damping[:] = SPIN_DAMPING  # at run time, as dm_control sets it
        return MujocoTask(model, _bind_spin, observation_size=9, substeps=2, intervals=mjcf.INTERVALS)
    model.site("target").size[0] = TARGET_SIZE[task]
    return MujocoTask(
        model, _bind_turn, observation_size=12, substeps=2, intervals=mjcf.INTERVALS, memory=2, show=_show
    )


def _show(model: mujoco.MjModel, memory: Floats) -> None:
    model.site("target").pos[[0, 2]] = memory


def _bind_spin(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
    view, sensordata, spin_at = _view(model, data), data.sensordata, mjcf.sensor(model, "hinge_velocity")

    def observe(row: Floats) -> None:
        np.concatenate(view(), out=row)

    return World(_pose(model, data), observe, lambda: float(sensordata.item(spin_at) <= -SPIN_VELOCITY))


def _bind_turn(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
    view, pose, hinge = _view(model, data), _pose(model, data), data.joint("hinge").xanchor
    tip, spinner = _plane(model, data, "tip"), _plane(model, data, "spinner")
    reach, radius = float(model.geom("cap1").size.sum()), float(model.site("target").size[0])

    def begin(rng: np.random.Generator) -> None:
        angle = rng.uniform(-np.pi, np.pi)
        memory[:] = hinge[0] + reach * np.sin(angle), hinge[2] + reach * np.cos(angle)
        pose(rng)

    def distance() -> float:
        gap = (memory - spinner) - (tip - spinner)
        return math.sqrt(gap.dot(gap)) - radius

    def observe(row: Floats) -> None:
        np.concatenate([*view(), memory - spinner, [distance()]], out=row)

    return World(begin, observe, lambda: float(distance() <= 0))


def _view(model: mujoco.MjModel, data: mujoco.MjData) -> Callable[[], list[Floats]]:
    """What all tasks observe: joint positions, the tip from the hinge, joint velocities, touch on a log scale."""
    angles, speeds, touch = (
        data.sensordata[mjcf.sensors(model, *names)[0]]
        for names in (
            ("proximal", "distal"),
            ("proximal_velocity", "distal_velocity", "hinge_velocity"),
            ("touchtop", "touchbottom"),
        )
    )
    tip, spinner = _plane(model, data, "tip"), _plane(model, data, "spinner")
    return lambda: [angles, tip - spinner, speeds, np.log1p(touch)]


def _plane(model: mujoco.MjModel, data: mujoco.MjData, sensor: str) -> Floats:
    """The x and z of a position sensor, as a live view."""
    at = mjcf.sensor(model, sensor)
    return data.sensordata[at : at + 3 : 2]


def _pose(model: mujoco.MjModel, data: mujoco.MjData) -> Callable[[np.random.Generator], None]:
    draw = mjcf.joint_draw(model, data)

    def pose(rng: np.random.Generator) -> None:
        for _ in range(ATTEMPTS):
            draw(rng)
            if not mjcf.collides(model, data):
                return
        raise RuntimeError(f"no pose without contacts in {ATTEMPTS} draws")

    return pose
