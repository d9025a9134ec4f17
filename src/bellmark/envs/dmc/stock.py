"""dm_control's own environments, unchanged, behind the `Simulation` protocol: for the tasks not moved to the engine.

On one thread and about half as fast as the engine, but exact all the same: what dm_control keeps of a world is MuJoCo's
integration state and, for tasks with random scenery, the model arrays of `SCENERY`. Tests check this for every task
served here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from bellmark.envs.api import Exactness, Indices, Transition
from bellmark.envs.engine import Floats
from bellmark.envs.engine.stepper import STATE
from bellmark.envs.failures import NON_FINITE, Failure, Failures

if TYPE_CHECKING:
    from dm_control.rl.control import Environment

SCENERY = ("body_pos", "body_quat", "geom_pos", "wrap_prm")  # what reset draws into the model
UNLIMITED = 1e9  # dm_control writes actuators without a range as +-1e10: actions then pass as they are
INTERVALS = 1000  # of tasks to which dm_control gives no time limit


class StockSimulation:
    """A `Simulation` of n dm_control environments of one task (see `bellmark.envs.api`)."""

    exactness = Exactness.BITWISE
    succeeds = False

    def __init__(
        self,
        domain: str,
        task: str,
        num_envs: int,
        *,
        action_repeat: int = 1,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.num_envs = num_envs
        self.action_repeat = action_repeat
        self.failures = Failures(config)
        self._envs = [_load(domain, task) for _ in range(num_envs)]
        limit = self._envs[0]._step_limit
        self.horizon = (INTERVALS if math.isinf(limit) else math.ceil(limit)) // action_repeat
        for env in self._envs:
            env._step_limit = math.inf  # truncation is the batch's business
        spec = self._envs[0].action_spec()
        bounded = bool((spec.maximum < UNLIMITED).all())
        self._low = spec.minimum if bounded else np.full(spec.shape, -1.0)
        self._scale = (spec.maximum - spec.minimum) / 2 if bounded else np.ones(spec.shape)
        size = len(_flat(self._envs[0].reset().observation))
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, spec.shape, np.float32)
        self._obs = np.zeros((num_envs, size))
        self._renderers: dict[tuple[int, int, int], mujoco.Renderer] = {}

    def begin(self, indices: Indices, rngs: Sequence[np.random.Generator]) -> NDArray[Any]:
        """dm_control's reset, its random draws taken from the given generators' bit streams."""
        for slot, rng in zip(indices.tolist(), rngs, strict=True):
            env = self._envs[slot]
            env.task._random = np.random.RandomState(rng.bit_generator)  # read-only in dm_control's interface
            self._obs[slot] = _flat(env.reset().observation)
        return self._obs[indices]

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        """`action_repeat` control intervals of the indexed worlds, rewards summed; actions (K, A) are clipped."""
        actions = np.asarray(actions, dtype=np.float64)
        controls = self._low + self._scale * (np.clip(actions, -1.0, 1.0) + 1)
        reward, terminated = np.zeros(len(indices)), np.zeros(len(indices), dtype=np.bool_)
        for k, slot in enumerate(indices.tolist()):
            if np.isfinite(actions[k]).all():
                reward[k], terminated[k] = self._step(slot, controls[k], actions[k])
            else:
                self._fail(slot, NON_FINITE, self.save(np.array([slot])), actions[k])
                terminated[k] = True
        return Transition(self._obs[indices], reward, terminated, np.zeros(len(indices), dtype=np.bool_))

    def save(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """MuJoCo's integration state (K, S), the model's drawn scenery (K, P) and the last observation (K, D)."""
        envs = [self._envs[slot] for slot in indices.tolist()]
        state = np.stack([env.physics.get_state(sig=STATE) for env in envs])
        scenery = np.stack([np.concatenate([a.ravel() for a in _scenery(env)]).astype(np.float64) for env in envs])
        return {"state": state, "scenery": scenery, "obs": self._obs[indices]}

    def load(self, indices: Indices, saved: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Put saved worlds into slots; returns the observations they had when saved."""
        self._obs[indices] = saved["obs"]
        for slot, state, scenery in zip(indices.tolist(), saved["state"], saved["scenery"], strict=True):
            env, start = self._envs[slot], 0
            for array in _scenery(env):
                array[...] = scenery[start : start + array.size].reshape(array.shape)
                start += array.size
            env.physics.set_state(state, sig=STATE)
            mujoco.mj_forward(env.physics.model.ptr, env.physics.data.ptr)
        return self._obs[indices]

    def render(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """One frame (height, width, 3) from the task's first camera."""
        from bellmark.envs.video import ensure_gl

        ensure_gl()
        physics, key = self._envs[index].physics, (index, height, width)
        if key not in self._renderers:
            self._renderers[key] = mujoco.Renderer(physics.model.ptr, height, width)
        self._renderers[key].update_scene(physics.data.ptr, camera=0 if physics.model.ncam else -1)
        frame: NDArray[np.uint8] = self._renderers[key].render().copy()
        return frame

    def close(self) -> None:
        """Free the drawing contexts."""
        for renderer in self._renderers.values():
            renderer.close()
        for env in self._envs:
            env.close()
        self._renderers.clear()

    def _step(self, slot: int, control: Floats, action: Floats) -> tuple[float, bool]:
        from dm_control.rl.control import PhysicsError

        env, before, total = self._envs[slot], self.save(np.array([slot])), 0.0
        try:
            for _ in range(self.action_repeat):
                env._reset_next_step = False  # dm_control would reset by itself after a termination
                moment = env.step(control)
                total += moment.reward
                if moment.last():
                    break
        except PhysicsError as error:
            self._fail(slot, str(error), before, action)
            return 0.0, True
        self._obs[slot] = _flat(moment.observation)
        return total, bool(moment.last())

    def _fail(self, slot: int, reason: str, saved: dict[str, NDArray[Any]], action: Floats) -> None:
        self.failures.add(Failure(slot, reason, saved, action.copy()))
        self.load(np.array([slot]), saved)


def _load(domain: str, task: str) -> Environment:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dm_control tries for a display when first imported
        from dm_control import suite
    return suite.load(domain, task, task_kwargs={"random": 0})


def _scenery(env: Environment) -> list[NDArray[Any]]:
    return [getattr(env.physics.model.ptr, name) for name in SCENERY]


def _flat(observation: Mapping[str, Any]) -> Floats:
    return np.concatenate([np.ravel(value) for value in observation.values()]).astype(np.float64)
