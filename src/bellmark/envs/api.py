"""The environment protocol: a batch of simulated worlds under Gymnasium's vector interface, with snapshot and restore.

A suite writes a `Simulation`: n worlds that can begin an episode, advance by one control step, be saved and be loaded.
`BatchedEnv` adds what every suite shares: the time limit, same-step autoreset with the final observation kept, seeding
that gives every (seed, slot, episode) its own start state, and snapshots that continue as if nothing had happened.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple, Protocol, overload

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

Indices = NDArray[np.int64]
PICKLED = ".pickle"  # what the name of a plain column ends with that holds Python objects


class Exactness(StrEnum):
    """What a restored world promises; every suite's label is tested, not claimed."""

    BITWISE = "bitwise"  # continues bit for bit as the saved world would have, in any slot, instance or process
    SELF_CONSISTENT = "self-consistent"  # two restores of one snapshot agree bit for bit, the saved world may differ
    APPROXIMATE = "approximate"  # close, and no more
    NONE = "none"  # cannot be saved: `snapshot` refuses, and says why


class Transition(NamedTuple):
    """What one control step did to K worlds; the task's own end (`terminated`) is never a time limit."""

    obs: NDArray[Any]  # (K, *observation shape), after the step and before any reset
    reward: NDArray[np.float64]  # (K,)
    terminated: NDArray[np.bool_]  # (K,)
    success: NDArray[np.bool_]  # (K,) the task's success at this step; all False where a task defines none


class Streams(Sequence[np.random.Generator]):
    """The random stream of each world that begins an episode, decided by its key (seed, slot, episode) alone."""

    def __init__(self, keys: NDArray[np.int64]) -> None:
        self.keys = keys  # (K, 3), none negative

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> np.random.Generator: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[np.random.Generator]: ...
    def __getitem__(self, index: int | slice) -> np.random.Generator | Sequence[np.random.Generator]:
        return self._generators[index]

    @cached_property
    def _generators(self) -> list[np.random.Generator]:
        return [np.random.default_rng(key) for key in self.keys.tolist()]

    def uniform(self, count: int) -> NDArray[np.float64]:
        """(K, count) numbers in [0, 1), the same at every call: ten array operations where generators cost 12 us each.

        A counter-based stream: SplitMix64's finaliser (Steele et al., OOPSLA 2014) of key and column.
        """
        columns = np.arange(count, dtype=np.uint64) * _MIX[3]
        z = (self.keys.astype(np.uint64) @ _MIX[:3])[:, None] + columns
        z = (z ^ (z >> _SHIFTS[0])) * _FINAL[0]
        z = (z ^ (z >> _SHIFTS[1])) * _FINAL[1]
        z ^= z >> _SHIFTS[2]
        numbers: NDArray[np.float64] = (z >> _SHIFTS[3]) * 2.0**-53
        return numbers


# Odd constants with well-spread bits: a multiplier per key word and column, then the finaliser's own.
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype=np.uint64)
_FINAL = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)
_SHIFTS = np.array([30, 27, 31, 11], dtype=np.uint64)


class Simulation(Protocol):
    """n worlds of one task: what a suite implements. Slots are addressed by index; order in is order out."""

    num_envs: int
    horizon: int  # control steps until truncation
    action_repeat: int  # simulator control intervals per agent step, for step accounting
    exactness: Exactness
    succeeds: bool  # whether episodes can succeed or fail; where the task says nothing of it, no success is recorded

    @property
    def observation_space(self) -> gymnasium.spaces.Box[Any]:
        """The observation of one world."""
        ...

    @property
    def action_space(self) -> gymnasium.spaces.Box[Any] | gymnasium.spaces.Discrete[Any]:
        """The action of one world: numbers, always in [-1, 1], or one of a few choices."""
        ...

    def begin(self, indices: Indices, rngs: Streams) -> NDArray[Any]:
        """Put each indexed world at a start state drawn from its own generator; returns observations (K, ...)."""
        ...

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        """One control step of the indexed worlds with actions (K, A), or (K,) choices; no time limit, no reset."""
        ...

    def save(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """Arrays with leading axis K that hold all that decides the future of the indexed worlds."""
        ...

    def load(self, indices: Indices, saved: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Put saved worlds into the indexed slots; returns their observations as they were when saved."""
        ...

    def render(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """One frame (height, width, 3) of one world."""
        ...

    def close(self) -> None:
        """Release threads, processes and contexts."""
        ...


@dataclass(frozen=True)
class Snapshot:
    """Saved worlds as plain arrays with one leading axis: pickles, goes into checkpoints, crosses processes."""

    arrays: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.arrays["elapsed"])

    def take(self, indices: Indices) -> Snapshot:
        """The snapshot of the indexed worlds, in that order; an index may repeat."""
        return Snapshot({k: v[indices] for k, v in self.arrays.items()})

    def repeat(self, count: int) -> Snapshot:
        """Every world `count` times in a row: a, a, b, b."""
        return Snapshot({k: np.repeat(v, count, axis=0) for k, v in self.arrays.items()})

    @staticmethod
    def concatenate(parts: Sequence[Snapshot]) -> Snapshot:
        """The worlds of all parts, one after the other."""
        return Snapshot({k: np.concatenate([p.arrays[k] for p in parts]) for k in parts[0].arrays})

    def plain(self) -> dict[str, NDArray[Any]]:
        """Arrays of numbers alone, for files: a column of Python objects becomes the bytes of its pickle."""
        return {
            k + PICKLED * v.dtype.hasobject: np.array(bytearray(pickle.dumps(v))) if v.dtype.hasobject else v
            for k, v in self.arrays.items()
        }

    @staticmethod
    def of_plain(arrays: Mapping[str, NDArray[Any]]) -> Snapshot:
        """What `plain` was made of; of a file that one trusts, for it is unpickled."""
        return Snapshot(
            {
                k.removesuffix(PICKLED): pickle.loads(v.tobytes()) if k.endswith(PICKLED) else v
                for k, v in arrays.items()
            }
        )


class BatchedEnv(VectorEnv[Any, Any, Any]):
    """Any `Simulation` as a Gymnasium vector environment (same-step autoreset) that can be saved and restored.

    `step` returns observations after an eventual reset; `info["final_obs"]` holds, for every world, the observation the
    step itself led to (so values bootstrap from it), and `info["success"]` the task's success at this step.
    """

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.num_envs = simulation.num_envs
        self.horizon = simulation.horizon
        self.exactness = simulation.exactness
        self.succeeds = simulation.succeeds
        self.single_observation_space = simulation.observation_space
        self.single_action_space = simulation.action_space
        self.observation_space = batch_space(simulation.observation_space, self.num_envs)
        self.action_space = batch_space(simulation.action_space, self.num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": ["rgb_array"]}
        self._all = np.arange(self.num_envs)
        self._elapsed = np.zeros(self.num_envs, dtype=np.int64)
        self._keys = np.zeros((self.num_envs, 3), dtype=np.int64)  # (seed, slot, episode) of each world's start state
        self._seed, self._episode = self._keys[:, :2], self._keys[:, 2]
        self._seed[:, 1] = self._all
        self._episode[:] = -1

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin an episode in every world, or in those of `options["reset_mask"]`; returns their observations only.

        With an int seed, world i draws its episodes from (seed, i); with a sequence, from (seed[i], 0). The same
        (seed, slot, episode) is the same start state whatever the batch size, which is what pairs evaluations.
        """
        mask = (options or {}).get("reset_mask")
        indices = self._all if mask is None else np.flatnonzero(mask)
        if isinstance(seed, int | np.integer):
            self._seed[indices] = np.stack([np.full(len(indices), seed), indices], axis=1)
            self._episode[indices] = -1
        elif seed is not None:
            self._seed[indices] = np.stack([np.asarray(seed), np.zeros(len(indices), dtype=np.int64)], axis=1)
            self._episode[indices] = -1
        obs = self._begin(indices)
        return obs, {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """One control step of every world; worlds that end begin their next episode within the same step."""
        obs, reward, terminated, success = self.advance(self._all, actions)
        truncated = (self._elapsed >= self.horizon) & ~terminated
        done = terminated | truncated
        info = {"final_obs": obs, "_final_obs": done, "success": success, "elapsed": self._elapsed.copy()}
        if done.any():
            obs = obs.copy()
            obs[done] = self._begin(np.flatnonzero(done))
        return obs, reward, terminated, truncated, info

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        """One control step of the indexed worlds alone, without time limit or reset: what re-rollouts are made of."""
        self._elapsed[indices] += 1
        return self.simulation.advance(indices, actions)

    def snapshot(self, indices: Indices | None = None) -> Snapshot:
        """The indexed worlds (default: all) with step count and random stream, at the exactness the suite promises."""
        at = self._all if indices is None else indices
        own = {"elapsed": self._elapsed[at], "seed": self._seed[at], "episode": self._episode[at]}
        return Snapshot({**self.simulation.save(at), **{k: v.copy() for k, v in own.items()}})

    def restore(self, snapshot: Snapshot, indices: Indices | None = None) -> NDArray[Any]:
        """Put saved worlds into the indexed slots (default: all, in order); returns their observations.

        Raises:
            ValueError: the snapshot does not hold as many worlds as there are slots to fill.
        """
        at = self._all if indices is None else indices
        if len(snapshot) != len(at):
            raise ValueError(f"snapshot of {len(snapshot)} worlds cannot fill {len(at)} slots")
        self._elapsed[at] = snapshot.arrays["elapsed"]
        self._seed[at] = snapshot.arrays["seed"]
        self._episode[at] = snapshot.arrays["episode"]
        return self.simulation.load(at, snapshot.arrays)

    @property
    def elapsed(self) -> NDArray[np.int64]:
        """(N,) control steps taken in each world's current episode."""
        return self._elapsed.copy()

    def frame(self, index: int = 0, height: int = 240, width: int = 320) -> NDArray[np.uint8]:
        """One picture (height, width, 3) of one world."""
        return self.simulation.render(index, height, width)

    def close_extras(self, **kwargs: Any) -> None:
        """Release what the simulation holds (called by Gymnasium's `close`)."""
        self.simulation.close()

    def _begin(self, indices: Indices) -> NDArray[Any]:
        self._episode[indices] += 1
        self._elapsed[indices] = 0
        return self.simulation.begin(indices, Streams(self._keys[indices]))
