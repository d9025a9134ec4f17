"""Probe environments: tasks so small that the right values and actions are known, each failing one kind of mistake.

After Andy Jones, "Debugging RL, Without the Agonizing Pain" (2021): a learner that cannot solve `constant` has a broken
value loss, one that solves it but not `discount` bootstraps wrongly, and so on down the list. The last two tell a real
end from a time limit, which is where value targets are most often wrong.

Every probe is one real number x per world, which is also the observation, and one action in [-1, 1]. Only `terminal`
shows x and 1 - x: normalisation makes one number and its multiples alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from bellmark.config import Choice, knob
from bellmark.envs.api import BatchedEnv, Exactness, Indices, Transition

Array = NDArray[np.float64]
ProbeName = Literal["constant", "from-obs", "discount", "policy", "policy-from-obs", "terminal", "time-limit"]
TARGET = 0.5  # the best action's distance from zero in the policy probes
CLOSE = 0.1  # an action this near the best one counts as success


@dataclass(frozen=True)
class ProbeTask:
    """One probe with its answers: functions of x (K,) and, for the reward, of the action a (K,)."""

    about: str
    starts: tuple[float, ...]  # x of a new episode, each equally likely
    reward: Callable[[Array, Array], Array]
    ends: Callable[[Array], NDArray[np.bool_]]  # whether the step taken at x is the episode's last
    following: Callable[[Array], Array]  # x after the step
    horizon: int
    value: Callable[[Array, float], Array]  # the optimal value at x under a discount gamma
    best: Callable[[Array], Array] | None = None  # the optimal action at x; None where actions do not matter
    seen: Callable[[Array], Array] = lambda x: x[:, None]  # the observation (K, O)


def _always(x: Array) -> NDArray[np.bool_]:
    return np.ones(x.shape, dtype=bool)


def _never(x: Array) -> NDArray[np.bool_]:
    return np.zeros(x.shape, dtype=bool)


def _one(x: Array, _: object = None) -> Array:
    return np.ones_like(x)


def _same(x: Array, _: object = None) -> Array:
    return x.copy()


PROBES: Mapping[ProbeName, ProbeTask] = {
    "constant": ProbeTask(
        about="one step, reward 1: the value loss and its optimiser",
        starts=(0.0,),
        reward=_one,
        ends=_always,
        following=_same,
        horizon=1,
        value=_one,
    ),
    "from-obs": ProbeTask(
        about="one step, reward equal to the observation (-1 or 1): gradients through the value network",
        starts=(-1.0, 1.0),
        reward=_same,
        ends=_always,
        following=_same,
        horizon=1,
        value=_same,
    ),
    "discount": ProbeTask(
        about="two steps, reward 1 at the second: bootstrapping and the discount",
        starts=(0.0,),
        reward=_same,
        ends=lambda x: x == 1.0,
        following=lambda x: np.where(x == 0.0, 1.0, -1.0),  # the end looks like no other state
        horizon=2,
        value=lambda x, gamma: np.where(x == 1.0, 1.0, gamma),
    ),
    "policy": ProbeTask(
        about="one step, reward 1 - (a - 1/2)^2: advantages and the policy update",
        starts=(0.0,),
        reward=lambda x, a: 1.0 - (a - TARGET) ** 2,
        ends=_always,
        following=_same,
        horizon=1,
        value=_one,
        best=lambda x: np.full_like(x, TARGET),
    ),
    "policy-from-obs": ProbeTask(
        about="one step, reward 1 - (a - x/2)^2 with x -1 or 1: observations and actions kept in step",
        starts=(-1.0, 1.0),
        reward=lambda x, a: 1.0 - (a - TARGET * x) ** 2,
        ends=_always,
        following=_same,
        horizon=1,
        value=_one,
        best=lambda x: TARGET * x,
    ),
    "terminal": ProbeTask(
        about="reward 1 per step, x counts down in quarters to a real end: ends predicted, no value beyond them",
        starts=(0.25, 0.5, 0.75, 1.0),
        reward=_one,
        ends=lambda x: x <= 0.25,
        following=lambda x: x - 0.25,
        horizon=8,
        value=lambda x, gamma: np.sum(gamma ** np.arange(4) * (np.arange(4) < 4 * x[..., None]), axis=-1),
        seen=lambda x: np.stack((x, 1 - x), axis=1),
    ),
    "time-limit": ProbeTask(
        about="reward 1 per step, never an end, cut after five: a time limit must not look like one",
        starts=(0.0,),
        reward=_one,
        ends=_never,
        following=_same,
        horizon=5,
        value=lambda x, gamma: np.full_like(x, 1.0 / (1.0 - gamma)),
    ),
}


class ProbeSimulation:
    """A `Simulation` of n worlds of one probe (see `bellmark.envs.api`)."""

    action_repeat = 1
    exactness = Exactness.BITWISE

    def __init__(self, num_envs: int, task: ProbeTask) -> None:
        self.num_envs = num_envs
        self.horizon = task.horizon
        self.succeeds = task.best is not None
        size = task.seen(np.zeros(1)).shape[1]
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (size,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._task = task
        self._x = np.zeros(num_envs)

    def begin(self, indices: Indices, rngs: Sequence[np.random.Generator]) -> NDArray[np.float32]:
        """One of the task's starts in each world."""
        self._x[indices] = [rng.choice(self._task.starts) for rng in rngs]
        return self._observe(indices)

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        """One step of the indexed worlds; actions (K, 1) are clipped to [-1, 1].

        Raises:
            ValueError: an action is not finite.
        """
        if not np.isfinite(actions).all():
            raise ValueError(f"non-finite action in worlds {indices[~np.isfinite(actions[:, 0])][:5].tolist()}")
        x = self._x[indices]
        a = np.clip(np.asarray(actions, dtype=np.float64)[:, 0], -1.0, 1.0)
        reward, ended = self._task.reward(x, a), self._task.ends(x)
        best = self._task.best
        success = _never(x) if best is None else np.abs(a - best(x)) < CLOSE
        self._x[indices] = self._task.following(x)
        return Transition(self._observe(indices), reward, ended, success)

    def save(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """The number each world consists of."""
        return {"x": self._x[indices]}

    def load(self, indices: Indices, saved: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Put saved numbers into slots; returns their observations."""
        self._x[indices] = saved["x"]
        return self._observe(indices)

    def render(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """A grey field with a white column at x."""
        frame = np.full((height, width, 3), 64, dtype=np.uint8)
        column = round((self._x[index] + 1) / 2 * (width - 1))
        frame[:, max(column - width // 32, 0) : column + width // 32 + 1] = 255
        return frame

    def close(self) -> None:
        """Nothing is held."""

    def _observe(self, indices: Indices) -> NDArray[np.float32]:
        return self._task.seen(self._x[indices]).astype(np.float32)


class Probe(Choice):
    """A probe environment: solved in seconds, with known values and actions."""

    kind: Literal["probe"] = "probe"
    name: ProbeName = knob("policy", "which probe", source="Jones 2021", scope="model")

    def make(self, num_envs: int, threads: int = 1) -> BatchedEnv:
        """The batched environment; one thread is all it uses."""
        return BatchedEnv(ProbeSimulation(num_envs, PROBES[self.name]))
