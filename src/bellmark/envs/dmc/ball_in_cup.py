"""Ball in cup: catch. 2 actuators, 8 observations. After dm_control 1.0.50, `suite/ball_in_cup.py`."""

from __future__ import annotations

import mujoco
import numpy as np

from bellmark.envs.dmc import mjcf
from bellmark.envs.engine import Floats, MujocoTask, World


def make(task: str) -> MujocoTask:
    """`catch`: 1 while the ball is inside the cup."""

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        qpos, qvel = data.qpos, data.qvel
        ball_x, ball_z = (int(model.joint(name).qposadr[0]) for name in ("ball_x", "ball_z"))
        target, ball = data.site("target").xpos, data.xpos[mjcf.row(model, "ball")]
        half_x, half_z = (float(model.site("target").size[i] - model.geom("ball").size[0]) for i in (0, 2))

        def begin(rng: np.random.Generator) -> None:
            while True:
                qpos[ball_x] = rng.uniform(-0.2, 0.2)
                qpos[ball_z] = rng.uniform(0.2, 0.5)
                if not mjcf.collides(model, data):
                    return

        def observe(row: Floats) -> None:
            np.concatenate([qpos, qvel], out=row)

        def reward() -> float:
            inside = abs(target.item(0) - ball.item(0)) < half_x and abs(target.item(2) - ball.item(2)) < half_z
            return float(inside)

        return World(begin, observe, reward)

    model = mjcf.read("ball_in_cup").compile()
    return MujocoTask(model, bind, observation_size=8, substeps=10, intervals=mjcf.INTERVALS)
