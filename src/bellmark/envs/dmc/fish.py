"""Fish: swim. 5 actuators, 24 observations. After dm_control 1.0.50, `suite/fish.py`.

dm_control moves the target within the model; here worlds share a model, so the target's place is the world's memory.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np

from bellmark.envs.dmc import mjcf
from bellmark.envs.dmc.tolerance import gaussian
from bellmark.envs.engine import Floats, MujocoTask, World

JOINTS = 7  # after the free root, in the order of dm_control's list


def make(task: str) -> MujocoTask:
    """`swim`: the mouth to the target, and belly down."""

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        qpos, qvel, root = data.qpos, data.qvel, data.qpos[3:7]
        mouth, frame = data.geom("mouth").xpos, data.geom("mouth").xmat.reshape(3, 3)
        cosine = data.xmat[mjcf.row(model, "torso"), mjcf.ZZ :]
        radii = float(model.geom("mouth").size[0] + model.geom("target").size[0])
        near, angles = gaussian(0, radii, 2 * radii), qpos[7:]

        def begin(rng: np.random.Generator) -> None:
            quaternion = rng.standard_normal(4)
            root[:] = quaternion / np.linalg.norm(quaternion)
            angles[:] = rng.uniform(-0.2, 0.2, JOINTS)
            memory[:] = rng.uniform(-0.4, 0.4), rng.uniform(-0.4, 0.4), rng.uniform(0.1, 0.3)

        def observe(row: Floats) -> None:
            np.concatenate([angles, cosine, (memory - mouth).dot(frame), qvel], out=row)

        def reward() -> float:
            gap = (memory - mouth).dot(frame)
            return (7 * near(math.sqrt(gap.dot(gap))) + 0.5 * (cosine.item() + 1)) / 8

        return World(begin, observe, reward)

    model = mjcf.read("fish").compile()
    return MujocoTask(model, bind, observation_size=24, substeps=10, intervals=mjcf.INTERVALS, memory=3, show=_show)


def _show(model: mujoco.MjModel, memory: Floats) -> None:
    model.geom("target").pos[:] = memory
