"""Environments written for Gymnasium as `Simulation`s: single ones side by side, or a batch with resets of its own."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from bellmark.envs.api import Exactness, Indices, Transition
from bellmark.errors import UserError

World = gymnasium.Env[Any, Any]
Actions = Box[Any] | Discrete[Any]
TRIED, COMPARED = 5, 20  # steps before and after the copy by which `why_not_copied` judges
log = logging.getLogger(__name__)


class OneByOne:
    """A `Simulation` of n single environments, stepped one after the other and saved by deep copy.

    Spaces: actions in a bounded box are mapped from [-1, 1], choices stay choices; observations that are not arrays are
    flattened. An environment that cuts episodes off itself must do so at the horizon.
    """

    action_repeat = 1
    succeeds = True  # it may say so at any step

    def __init__(self, worlds: Sequence[World], horizon: int) -> None:
        self.num_envs, self.horizon = len(worlds), horizon
        self.worlds = [_flat(world) for world in worlds]
        first = self.worlds[0]
        assert isinstance(first.observation_space, Box)
        self.observation_space: Box[Any] = first.observation_space
        self.action_space, self._native = _actions(first.action_space)
        self.refusal = why_not_copied(self.worlds[0])
        self.exactness = Exactness.NONE if self.refusal else Exactness.BITWISE
        self._elapsed = np.zeros(self.num_envs, dtype=np.int64)
        self._obs = np.zeros((self.num_envs, *self.observation_space.shape), self.observation_space.dtype)

    def begin(self, indices: Indices, rngs: Sequence[np.random.Generator]) -> NDArray[Any]:
        """`reset` of each indexed world, with a seed from its own stream."""
        for i, rng in zip(indices.tolist(), rngs, strict=True):
            self._obs[i], _ = self.worlds[i].reset(seed=int(rng.integers(2**31)))
        self._elapsed[indices] = 0
        return self._obs[indices]

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        """`step` of each indexed world; `info["success"]` or `info["is_success"]` is its success.

        Raises:
            UserError: a world was cut off by its own time limit before the horizon.
            ValueError: an action is not finite.
        """
        native = self._native(actions)
        reward, count = np.zeros(len(indices)), len(indices)
        terminated, success = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        self._elapsed[indices] += 1
        for k, i in enumerate(indices.tolist()):
            self._obs[i], reward[k], terminated[k], truncated, info = self.worlds[i].step(native[k])
            success[k] = bool(info.get("success", info.get("is_success", False)))
            if truncated and not terminated[k]:
                _refuse_cut(self._elapsed[i], self.horizon)
        return Transition(self._obs[indices], reward, terminated, success)

    def save(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """Deep copies of the worlds.

        Raises:
            UserError: this environment's copies do not continue as it would; says why.
        """
        if self.refusal:
            raise UserError(f"this environment cannot be saved and restored: {self.refusal}")
        copies = np.empty(len(indices), dtype=object)
        for k, i in enumerate(indices.tolist()):
            copies[k] = copy.deepcopy(self.worlds[i])
        return {"world": copies, "steps": self._elapsed[indices], "obs": self._obs[indices]}

    def load(self, indices: Indices, saved: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Copies of saved worlds into slots; returns the observations they had when saved."""
        for i, world in zip(indices.tolist(), saved["world"], strict=True):
            self.worlds[i] = copy.deepcopy(world)
        self._elapsed[indices] = saved["steps"]
        self._obs[indices] = saved["obs"]
        return self._obs[indices]

    def render(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """The environment's own frame, whatever its size.

        Raises:
            UserError: it was not made to draw arrays, or needs a package to do so.
        """
        try:
            return _frame(self.worlds[index].render())
        except gymnasium.error.DependencyNotInstalled as error:
            raise UserError(str(error)) from None

    def close(self) -> None:
        """Close every world."""
        for world in self.worlds:
            world.close()


class Together:
    """A `Simulation` of a vector environment that leaves resets to its caller; it steps all worlds or none."""

    action_repeat = 1
    succeeds = True  # it may say so at any step
    exactness = Exactness.NONE

    def __init__(self, batch: VectorEnv[Any, Any, Any], horizon: int) -> None:
        mode = batch.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.DISABLED:
            raise UserError(
                f"a vector environment must have metadata['autoreset_mode'] = AutoresetMode.DISABLED, not {mode}: "
                "it then resets the worlds of options['reset_mask'], and time limits and final observations stay exact"
            )
        if not isinstance(batch.single_observation_space, Box):
            raise UserError(f"a vector environment's observations must be a Box, not {batch.single_observation_space}")
        self.batch, self.num_envs, self.horizon = batch, batch.num_envs, horizon
        self._elapsed = np.zeros(batch.num_envs, dtype=np.int64)
        self.observation_space: Box[Any] = batch.single_observation_space
        self.action_space, self._native = _actions(batch.single_action_space)

    def begin(self, indices: Indices, rngs: Sequence[np.random.Generator]) -> NDArray[Any]:
        """`reset` of the indexed worlds by mask, each with a seed from its own stream."""
        mask = np.zeros(self.num_envs, dtype=bool)
        mask[indices] = True
        seeds: list[int | None] = [None] * self.num_envs
        for i, rng in zip(indices.tolist(), rngs, strict=True):
            seeds[i] = int(rng.integers(2**31))
        obs, _ = self.batch.reset(seed=seeds, options={"reset_mask": mask})  # type: ignore[arg-type]
        self._elapsed[indices] = 0
        return np.array(obs[indices])

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        """`step` of all worlds; `info["success"]` or `info["is_success"]` says which succeed.

        Raises:
            UserError: only some worlds are to be stepped, or one was cut off by its own time limit before the horizon.
        """
        if len(indices) != self.num_envs:
            raise UserError("a vector environment steps all its worlds at once; give a gymnasium.Env class to branch")
        obs, reward, terminated, truncated, info = self.batch.step(self._native(actions))
        self._elapsed += 1
        for taken in self._elapsed[np.asarray(truncated) & ~np.asarray(terminated)]:
            _refuse_cut(taken, self.horizon)
        success = np.asarray(info.get("success", info.get("is_success", np.zeros(self.num_envs))), dtype=bool)
        return Transition(np.array(obs), np.asarray(reward, dtype=np.float64), np.array(terminated), success)

    def save(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """Never possible.

        Raises:
            UserError: always.
        """
        raise UserError("a vector environment's worlds cannot be saved one by one; give a gymnasium.Env class instead")

    def load(self, indices: Indices, saved: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Never possible, as `save`."""
        return self.save(indices)["obs"]

    def render(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """The batch's own frame of one world."""
        frames = self.batch.render()
        return _frame(frames[index] if frames is not None else None)

    def close(self) -> None:
        """Close the batch."""
        self.batch.close()


def _refuse_cut(taken: int, horizon: int) -> None:
    """Of an episode that its own environment has truncated."""
    if taken < horizon:
        raise UserError(f"an episode was cut off after {taken} steps of {horizon}: set task.horizon={taken}")


def why_not_copied(world: World) -> str:
    """Why deep copies of this world must not be trusted, "" where they may: a copy and its original are compared.

    The copy is stepped first, the original after it, with the same actions: they differ where the copy shares state
    with the original, or where either draws from a global random stream. Both go through an episode's end if it comes.
    """
    rng = np.random.default_rng(0)
    world.action_space.seed(0)
    first, _ = world.reset(seed=5)
    again, _ = world.reset(seed=5)
    if not np.array_equal(first, again):
        log.warning("the environment's start does not follow its seed: evaluations will not be paired")
    _play(world, [world.action_space.sample() for _ in range(TRIED)])
    actions = [world.action_space.sample() for _ in range(COMPARED)]
    try:
        twin = copy.deepcopy(world)
        pickle.dumps(twin)  # what a checkpoint keeps
    except (TypeError, NotImplementedError, pickle.PicklingError, AttributeError) as error:
        return f"it cannot be copied ({error})"
    np.random.seed(int(rng.integers(2**31)))  # noqa: NPY002 - a global stream, if used, must not repeat itself
    ahead = _play(twin, actions)
    behind = _play(world, actions)
    if ahead != behind:
        step = next(k for k, (a, b) in enumerate(zip(ahead, behind, strict=True)) if a != b)
        return f"a copy went another way than its original {step + 1} steps later (shared or global state?)"
    return ""


def _play(world: World, actions: Sequence[Any]) -> list[tuple[bytes, float, bool, bool]]:
    rows = []
    for action in actions:
        obs, reward, terminated, truncated, _ = world.step(action)
        rows.append((np.asarray(obs).tobytes(), float(reward), bool(terminated), bool(truncated)))
        if terminated or truncated:
            world.reset()
    return rows


def _flat(world: World) -> World:
    if isinstance(world.observation_space, Box):
        return world
    return gymnasium.wrappers.FlattenObservation(world)


def _actions(space: gymnasium.Space[Any]) -> tuple[Actions, Any]:
    """The protocol's action space for a native one, and the function from its actions (K, ...) to native ones.

    Raises:
        UserError: the space is neither a bounded box nor a choice.
    """
    if isinstance(space, Discrete):
        return Discrete(space.n), lambda actions: actions + space.start
    if not isinstance(space, Box) or not space.is_bounded() or len(space.shape) != 1:
        raise UserError(f"actions must be a choice (Discrete) or a bounded vector (Box), not {space}")
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)

    def native(actions: NDArray[Any]) -> NDArray[Any]:
        if not np.isfinite(actions).all():
            raise ValueError(f"non-finite action: {actions[~np.isfinite(actions).all(axis=1)][0]}")
        scaled = low + (np.clip(actions, -1, 1) + 1) / 2 * (high - low)
        return np.clip(scaled, low, high).astype(space.dtype)

    return Box(-1.0, 1.0, space.shape, np.float32), native


def _frame(frame: Any) -> NDArray[np.uint8]:
    if not isinstance(frame, np.ndarray):
        raise UserError("this environment draws no arrays; give it arguments={render_mode: rgb_array}")
    return frame
