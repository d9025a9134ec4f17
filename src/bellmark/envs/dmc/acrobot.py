"""Acrobot: swing-up, also sparse. 1 actuator, 6 observations. After dm_control 1.0.50, `suite/acrobot.py`."""

from __future__ import annotations

import mujoco
import numpy as np

from bellmark.envs.dmc import mjcf
from bellmark.envs.dmc.tolerance import gaussian, inside
from bellmark.envs.engine import Floats, MujocoTask, World


def make(task: str) -> MujocoTask:
    """`swingup`: the tip near the target; `swingup-sparse`: the tip inside it."""

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        arms = [9 * mjcf.row(model, body) for body in ("upper_arm", "lower_arm")]
        turned = np.array([arm + entry for entry in (mjcf.XZ, mjcf.ZZ) for arm in arms])
        target, tip = (data.site_xpos[model.site(name).id] for name in ("target", "tip"))
        radius = float(model.site("target").size[0])
        near = inside(0, radius) if task.endswith("sparse") else gaussian(0, radius, 1)
        qpos, qvel, xmat, norm = data.qpos, data.qvel, data.xmat, np.linalg.norm

        def begin(rng: np.random.Generator) -> None:
            qpos[:] = rng.uniform(-np.pi, np.pi, 2)

        def observe(row: Floats) -> None:
            np.concatenate([xmat.take(turned), qvel], out=row)

        return World(begin, observe, lambda: near(float(norm(target - tip))))

    model = mjcf.read("acrobot").compile()
    return MujocoTask(model, bind, observation_size=6, substeps=1, intervals=mjcf.INTERVALS)
