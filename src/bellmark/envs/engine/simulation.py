"""n worlds of one MuJoCo task behind the `Simulation` protocol: batched stepping, exact save and load, failures kept.

Why saving is exact: MuJoCo's future is a function of `mjSTATE_INTEGRATION` (it holds the solver's warm start, which the
smaller state vectors drop) once `mj_forward` has recomputed the derived arrays, and `mj_forward` leaves that state be.
What a task keeps beside it (a target's place) lives in the world's row of `memory`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from bellmark.envs.api import Exactness, Indices, Transition
from bellmark.envs.engine.pool import Pool, cores
from bellmark.envs.engine.stepper import ENDED, GOING, NON_FINITE, REASONS, STATE, Buffers, Read, stepper
from bellmark.envs.engine.task import Floats, MujocoTask, never
from bellmark.envs.failures import Failure, Failures
from bellmark.envs.painter import Painter

mujoco.set_mju_user_warning(
    logging.getLogger(__name__).info
)  # MuJoCo's default writes MUJOCO_LOG.TXT into the working directory


class MujocoSimulation:
    """A `Simulation` of n worlds of one `MujocoTask` (see `bellmark.envs.api`).

    Results do not depend on `threads` (default: the cores this process may use). Actions are clipped to [-1, 1]. A
    world with a non-finite action or a broken physics state stays where it was before the step: its transition is
    terminated with reward 0 and the observation before the step, and `failures` keeps what replays it (in files too
    where `config` is given: the task's configuration as plain values).
    """

    exactness = Exactness.BITWISE
    succeeds = False

    def __init__(
        self,
        task: MujocoTask,
        num_envs: int,
        *,
        action_repeat: int = 1,
        threads: int | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.task = task
        self.num_envs = num_envs
        self.action_repeat = action_repeat
        self.horizon = task.intervals // action_repeat
        self.model = copy.copy(task.model)
        self.datas = [mujoco.MjData(self.model) for _ in range(num_envs)]
        self.memory = np.zeros((num_envs, task.memory))
        self.failures = Failures(config)
        self.worlds = [task.bind(self.model, d, row) for d, row in zip(self.datas, self.memory, strict=True)]
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (task.observation_size,), task.dtype)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.model.nu,), np.float32)
        self._obs = np.zeros((num_envs, task.observation_size))
        self._turn = Buffers.empty(self.model, num_envs)
        self._ends = any(world.terminated is not never for world in self.worlds)
        self._pool = Pool(min(threads or cores(), num_envs))
        phases = task.order(self.model, task.substeps)
        self._stepper = stepper(self.model, self.datas, phases, self._turn, action_repeat, self._pool)
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
        count, turn = len(indices), self._turn
        turn.slots[:count] = indices
        turn.controls[:count] = self.task.control(np.clip(actions, -1.0, 1.0))
        turn.status[:count] = np.where(np.isfinite(actions).all(axis=1), GOING, NON_FINITE)
        rewards: list[float] = [0.0] * count
        self._stepper.drive(count, self._reader(indices.tolist(), rewards))
        status = turn.status[:count].copy()
        terminated, reward = status != GOING, np.array(rewards)
        for k in np.flatnonzero(terminated & (status != ENDED)).tolist():
            reward[k] = 0.0
            self._fail(int(indices[k]), REASONS[int(status[k])], actions[k])
        return Transition(self._observations(indices), reward, terminated, np.zeros(count, dtype=np.bool_))

    def save(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """MuJoCo's integration state (K, S), the task's memory (K, M) and the last observation (K, D)."""
        state = np.empty((len(indices), self._turn.before.shape[1]))
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
        self._stepper.close()
        self._pool.close()
        self._painter.close()

    def _reader(self, slots: list[int], rewards: list[float]) -> Read:
        """What is read from a world after a control interval of the turn, and whether it takes another."""
        status, worlds, obs, ends = self._turn.status, self.worlds, self._obs, self._ends
        left = [self.action_repeat] * len(slots)

        def read(k: int) -> bool:
            world = worlds[slots[k]]
            if status[k] != GOING:
                return False
            rewards[k] += world.reward()
            left[k] -= 1
            if ends and world.terminated():
                status[k] = ENDED
            elif left[k]:
                return True
            world.observe(obs[slots[k]])
            return False

        return read

    def _default(self, slot: int) -> None:
        mujoco.mj_resetData(self.model, self.datas[slot])
        mujoco.mj_forward(self.model, self.datas[slot])

    def _restore(self, slot: int, state: Floats) -> None:
        data = self.datas[slot]
        mujoco.mj_setState(self.model, data, state, STATE)
        mujoco.mj_forward(self.model, data)
        data.warning.number[:] = 0

    def _fail(self, slot: int, reason: str, action: Floats) -> None:
        state = self._turn.before[[slot]]
        saved = {"state": state, "memory": self.memory[[slot]], "obs": self._obs[[slot]]}
        self.failures.add(Failure(slot, reason, saved, action.copy()))
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
