"""PickCube's worlds as rows of one array, stepped through `mujoco.rollout` on a pool of threads.

A control step is a pure function of a row: full physics state in, five substeps at 100 Hz with the joint targets held,
full physics state out, the solver's warm start zero at its beginning. So a row *is* the integration state, and any row
can be saved, copied a thousand times and continued anywhere, bit for bit, whatever the threads or neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
from mujoco.rollout import Rollout
from numpy.typing import NDArray

from bellmark.envs.api import Exactness, Indices, Transition
from bellmark.envs.failures import NON_FINITE, Failure, Failures
from bellmark.envs.painter import Painter
from bellmark.envs.pick_cube import task
from bellmark.envs.pick_cube.kinematics import Chain, quaternions

SUBSTEPS = 5  # 100 Hz physics under 20 Hz control
DELTA = 0.1  # rad: a full action moves a joint target this far from the joint's present angle
GRIP_RANGE = (-0.01, 0.04)  # m: finger targets of actions -1 and 1; below zero presses
CLOCK_ERROR = 1e-6  # s
TIME, QPOS, QVEL = slice(0, 1), slice(1, 17), slice(17, 32)  # columns of the full physics state
ARM, FINGERS, CUBE, CUBE_QUAT = slice(0, 7), slice(7, 9), slice(9, 12), slice(12, 16)  # columns of qpos


@cache
def load_model() -> mujoco.MjModel:
    """The compiled arm, cube and table; shared: nothing that physics reads is ever written."""
    return mujoco.MjModel.from_xml_path(str(Path(__file__).with_name("arm.xml")))


class PickCubeSimulation:
    """A `Simulation` of n PickCube worlds (see `bellmark.envs.api`)."""

    action_repeat = 1
    exactness = Exactness.BITWISE
    succeeds = True

    def __init__(
        self,
        num_envs: int,
        *,
        reward: str = "sparse",
        horizon: int = 50,
        threads: int = 1,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.num_envs = num_envs
        self.horizon = horizon
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (42,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (8,), np.float32)
        self.failures = Failures(config)
        self._model = load_model()
        self._reward = task.REWARDS[reward]
        self._chain = Chain(self._model, "tcp")
        self._pool = Rollout(nthread=threads)
        self._scratch = [mujoco.MjData(self._model) for _ in range(threads)]
        self._physics = np.zeros((num_envs, mujoco.mj_stateSize(self._model, mujoco.mjtState.mjSTATE_FULLPHYSICS)))
        self._goal = np.zeros((num_envs, 3))
        self._grip = np.zeros((num_envs, self._model.nsensordata))  # N: net force of left pad, of right pad
        self._models = [self._model] * num_envs
        self._painter = Painter(self._model)

    def begin(self, indices: Indices, rngs: Sequence[np.random.Generator]) -> NDArray[np.float32]:
        """Start states: rest pose with noise, cube and goal drawn over a 20 cm square, goal up to 30 cm high."""
        unit = np.stack([rng.random(6) for rng in rngs])
        noise = np.stack([rng.standard_normal(7) for rng in rngs])
        cube_xy, turn, goal_xy, lift = unit[:, :2], unit[:, 2], unit[:, 3:5], unit[:, 5]
        qpos = np.zeros((len(rngs), 16))
        qpos[:, ARM] = task.REST + task.REST_NOISE * noise
        qpos[:, FINGERS] = task.FINGER_OPEN
        qpos[:, CUBE] = np.column_stack([task.SPAWN * (2 * cube_xy - 1), np.full(len(rngs), task.CUBE_HALF)])
        qpos[:, 12], qpos[:, 15] = np.cos(np.pi * turn), np.sin(np.pi * turn)  # about the vertical
        self._physics[indices] = 0.0
        self._physics[indices, QPOS] = qpos
        self._grip[indices] = 0.0
        height = task.CUBE_HALF + task.GOAL_HEIGHT * lift
        self._goal[indices] = np.column_stack([task.SPAWN * (2 * goal_xy - 1), height])
        return task.observe(self._worlds(indices))

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        """One control step (50 ms) of the indexed worlds; actions (K, 8) are clipped to [-1, 1].

        A world with a non-finite action or a broken physics state stays where it was: its transition is terminated with
        reward 0 and the observation before the step, and `failures` keeps what replays it.
        """
        count = len(indices)
        start = self._physics[indices]
        finite = np.isfinite(actions).all(axis=1)
        played = np.clip(actions if finite.all() else np.where(finite[:, None], actions, 0.0), -1, 1)
        control = np.repeat(self._targets(start, played)[:, None], SUBSTEPS, axis=1)
        states = np.empty((count, SUBSTEPS, start.shape[1]))
        sensors = np.empty((count, SUBSTEPS, self._grip.shape[1]))
        self._pool.rollout(
            self._models[:count],
            self._scratch,
            start,
            control,
            nstep=SUBSTEPS,
            state=states,
            sensordata=sensors,
            skip_checks=True,
        )
        end = states[:, -1]
        # MuJoCo sets a broken world back to its default, clock included, and the rollout stops there.
        whole = np.abs(end[:, TIME] - start[:, TIME] - SUBSTEPS * self._model.opt.timestep)[:, 0] < CLOCK_ERROR
        failed = ~(finite & whole)
        if failed.any():
            for k in np.flatnonzero(failed).tolist():
                reason = "broken physics state" if finite[k] else NON_FINITE
                self.failures.add(Failure(int(indices[k]), reason, self.save(indices[[k]]), np.array(actions[k])))
            end = np.where(failed[:, None], start, end)
            sensors[failed, -1] = self._grip[indices[failed]]
        self._physics[indices] = end
        self._grip[indices] = sensors[:, -1]
        worlds = self._worlds(indices)
        success = task.succeeded(worlds) & ~failed
        reward = np.where(failed, 0.0, self._reward(worlds, success))
        return Transition(task.observe(worlds), reward, success | failed, success)

    def save(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """Physics rows, goals and pad forces."""
        return {"physics": self._physics[indices], "goal": self._goal[indices], "grip": self._grip[indices]}

    def load(self, indices: Indices, saved: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Put saved rows into slots; returns their observations."""
        self._physics[indices] = saved["physics"]
        self._goal[indices] = saved["goal"]
        self._grip[indices] = saved["grip"]
        return task.observe(self._worlds(indices))

    def render(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """One frame (height, width, 3) from the fixed camera, the goal drawn as a translucent ball."""
        stage = mujoco.MjData(self._model)  # of its own: drawing must not touch the rollout's scratch
        mujoco.mj_setState(self._model, stage, self._physics[index], mujoco.mjtState.mjSTATE_FULLPHYSICS)
        stage.mocap_pos[0] = self._goal[index]
        mujoco.mj_forward(self._model, stage)
        return self._painter.draw(stage, "view", height, width)

    def close(self) -> None:
        """Stop the thread pool and free the drawing contexts."""
        self._pool.close()
        self._painter.close()

    def _targets(self, start: NDArray[np.float64], actions: NDArray[Any]) -> NDArray[np.float64]:
        """Servo targets (K, 9): present angles plus scaled deltas, both fingers at the gripper's absolute opening."""
        low, high = GRIP_RANGE
        arm = start[:, QPOS][:, ARM] + DELTA * actions[:, :7]
        opening = low + (high - low) * (actions[:, 7:] + 1) / 2
        return np.concatenate([arm, opening, opening], axis=1)

    def _worlds(self, indices: Indices) -> task.Worlds:
        row, grip = self._physics[indices], self._grip[indices]
        qpos, qvel = row[:, QPOS], row[:, QVEL]
        tcp, rotation = self._chain(qpos[:, ARM])
        return task.Worlds(
            qpos=qpos[:, :9],
            qvel=qvel[:, :9],
            tcp=tcp,
            tcp_quat=quaternions(rotation),
            grasped=task.grasped(grip[:, :3], grip[:, 3:], -rotation[:, :, 1]),
            cube=qpos[:, CUBE],
            cube_quat=qpos[:, CUBE_QUAT],
            goal=self._goal[indices],
        )
