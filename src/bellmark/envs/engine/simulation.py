"""n worlds of one MuJoCo task behind the `Simulation` protocol: batched stepping, exact save and load, failures kept.

Why saving is exact: MuJoCo's future is a function of `mjSTATE_INTEGRATION` (it holds the solver's warm start, which the
smaller state vectors drop) once `mj_forward` has recomputed the derived arrays, and `mj_forward` leaves that state be.
What a task keeps beside it (a target's place) lives in the world's row of `memory`.
"""

from __future__ import annotations

import copy
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from bellmark.envs.api import Exactness, Indices, Transition
from bellmark.envs.engine.pool import Pool, cores
from bellmark.envs.engine.task import Floats, MujocoTask
from bellmark.envs.painter import Painter

STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
BROKEN = ("BADQPOS", "BADQVEL", "BADQACC")  # adjacent warnings, after which MuJoCo has thrown the state away
FAILURES_KEPT = 100
log = logging.getLogger(__name__)
mujoco.set_mju_user_warning(log.info)  # MuJoCo's default writes MUJOCO_LOG.TXT into the working directory


@dataclass(frozen=True)
class Failure:
    """A world whose episode ended because its action or its physics was no longer finite, with what replays it.

    `simulation.load(np.array([0]), failure.saved)`, then `advance(np.array([0]), failure.action[None])`, fails again.
    """

    index: int
    reason: str
    saved: dict[str, NDArray[Any]]  # one world as `save` gives it, just before the step
    action: Floats


class MujocoSimulation:
    """A `Simulation` of n worlds of one `MujocoTask` (see `bellmark.envs.api`).

    Results do not depend on `threads` (default: the cores this process may use). Actions are clipped to [-1, 1]. A
    world with a non-finite action or a broken physics state stays where it was before the step: its transition is
    terminated with reward 0 and the observation before the step, and `failures` keeps what replays it.
    """

    exactness = Exactness.BITWISE

    def __init__(self, task: MujocoTask, num_envs: int, *, action_repeat: int = 1, threads: int | None = None) -> None:
        self.task = task
        self.num_envs = num_envs
        self.action_repeat = action_repeat
        self.horizon = task.intervals // action_repeat
        self.model = copy.copy(task.model)
        self.datas = [mujoco.MjData(self.model) for _ in range(num_envs)]
        self.memory = np.zeros((num_envs, task.memory))
        self.failures: deque[Failure] = deque(maxlen=FAILURES_KEPT)
        self.worlds = [task.bind(self.model, d, row) for d, row in zip(self.datas, self.memory, strict=True)]
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (task.observation_size,), task.dtype)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.model.nu,), np.float32)
        self._obs = np.zeros((num_envs, task.observation_size))
        self._before = np.zeros((num_envs, mujoco.mj_stateSize(self.model, STATE)))
        self._drive = [self._bind_drive(i) for i in range(num_envs)]
        self._pool = Pool(min(threads or cores(), num_envs))
        self._painter = Painter(self.model)

    def begin(self, indices: Indices, rngs: Sequence[np.random.Generator]) -> NDArray[Any]:
        """Default state, forward, the task's own draw, forward again: dm_control's sequence."""
        slots = indices.tolist()
        with self._passive():
            self._pool.run(lambda k: self._default(slots[k]), len(slots))
        self._pool.run(lambda k: self.worlds[slots[k]].begin(rngs[k]), len(slots))
        with self._passive():
            self._pool.run(lambda k: mujoco.mj_forward(self.model, self.datas[slots[k]]), len(slots))
        for slot in slots:
            self.worlds[slot].observe(self._obs[slot])
        return self._observations(indices)

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        """`action_repeat` control intervals of the indexed worlds (none twice), rewards summed; actions (K, A)."""
        actions = np.asarray(actions, dtype=np.float64)
        finite = np.isfinite(actions).all(axis=1).tolist()
        controls = self.task.control(np.clip(actions, -1.0, 1.0))
        slots, drive, obs = indices.tolist(), self._drive, self._obs
        reward, terminated = np.zeros(len(slots)), np.zeros(len(slots), dtype=np.bool_)
        broken: list[tuple[int, str]] = []

        def world(k: int) -> None:
            slot = slots[k]
            if finite[k]:
                reward[k], terminated[k], reason = drive[slot](controls[k], obs[slot])
            else:
                terminated[k], reason = True, "non-finite action"
                mujoco.mj_getState(self.model, self.datas[slot], self._before[slot], STATE)
            if reason:
                broken.append((k, reason))

        self._pool.run(world, len(slots))
        for k, reason in sorted(broken):
            self._fail(slots[k], reason, actions[k])
        return Transition(self._observations(indices), reward, terminated, np.zeros(len(slots), dtype=np.bool_))

    def save(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """MuJoCo's integration state (K, S), the task's memory (K, M) and the last observation (K, D)."""
        state = np.empty((len(indices), self._before.shape[1]))
        for row, slot in zip(state, indices.tolist(), strict=True):
            mujoco.mj_getState(self.model, self.datas[slot], row, STATE)
        return {"state": state, "memory": self.memory[indices], "obs": self._obs[indices]}

    def load(self, indices: Indices, saved: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Put saved worlds into slots; returns the observations they had when saved."""
        slots, state = indices.tolist(), saved["state"]
        self.memory[indices] = saved["memory"]
        self._obs[indices] = saved["obs"]
        self._pool.run(lambda k: self._restore(slots[k], state[k]), len(slots))
        return self._observations(indices)

    def render(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """One frame (height, width, 3) from the task's camera."""
        stage = mujoco.MjData(self.model)  # of its own: drawing must not touch the world
        self.task.show(self.model, self.memory[index])
        mujoco.mj_copyData(stage, self.model, self.datas[index])
        mujoco.mj_forward(self.model, stage)
        return self._painter.draw(stage, self.task.camera, height, width)

    def close(self) -> None:
        """Stop the threads and free the drawing contexts."""
        self._pool.close()
        self._painter.close()

    def _bind_drive(self, slot: int) -> Callable[[Floats, Floats], tuple[float, bool, str]]:
        """One agent step of one world as one closure: (controls, observation row) -> (reward, terminated, failure)."""
        model, data, world, before = self.model, self.datas[slot], self.worlds[slot], self._before[slot]
        interval = self.task.order(model, data, self.task.substeps)
        reward, ended, observe = world.reward, world.terminated, world.observe
        ctrl, repeats, get_state = data.ctrl, range(self.action_repeat), mujoco.mj_getState
        first = int(mujoco.mjtWarning.mjWARN_BADQPOS)
        warned = data.warning.number[first : first + len(BROKEN)]
        none = bytes(warned.nbytes)

        def drive(control: Floats, row: Floats) -> tuple[float, bool, str]:
            get_state(model, data, before, STATE)
            ctrl[:] = control
            total, done = 0.0, False
            for _ in repeats:
                interval()
                if warned.tobytes() != none:
                    return 0.0, True, BROKEN[int(warned.argmax())]
                total += reward()
                done = ended()
                if done:
                    break
            observe(row)
            return total, done, ""

        return drive

    def _default(self, slot: int) -> None:
        mujoco.mj_resetData(self.model, self.datas[slot])
        mujoco.mj_forward(self.model, self.datas[slot])

    def _restore(self, slot: int, state: Floats) -> None:
        data = self.datas[slot]
        mujoco.mj_setState(self.model, data, state, STATE)
        mujoco.mj_forward(self.model, data)
        data.warning.number[:] = 0

    def _fail(self, slot: int, reason: str, action: Floats) -> None:
        state = self._before[[slot]]
        saved = {"state": state, "memory": self.memory[[slot]], "obs": self._obs[[slot]]}
        self.failures.append(Failure(slot, reason, saved, action.copy()))
        log.warning("world %d ended as failed (%s); simulation.failures keeps its state", slot, reason)
        self._restore(slot, state[0])

    def _observations(self, indices: Indices) -> NDArray[Any]:
        return self._obs[indices].astype(self.task.dtype, copy=False)

    @contextmanager
    def _passive(self) -> Iterator[None]:
        """Actuators off while start states are forwarded, where the task asks for it: there is no control input yet."""
        flags = self.model.opt.disableflags
        if self.task.reset_passive:
            self.model.opt.disableflags = flags | int(mujoco.mjtDisableBit.mjDSBL_ACTUATION)
        try:
            yield
        finally:
            self.model.opt.disableflags = flags
