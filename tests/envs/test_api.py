"""`BatchedEnv`: autoreset, time limits, seeding and snapshots, on worlds whose every number is known."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from numpy.typing import NDArray

from bellmark.envs.api import BatchedEnv, Exactness, Indices, Snapshot, Streams, Transition


class Walks:
    """x starts in [0, 1) and grows by the action; ends above 3; the observation is (x, x of the start)."""

    horizon = 5
    action_repeat = 1
    exactness = Exactness.BITWISE
    succeeds = True

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.x = np.zeros((num_envs, 2))
        self.closed = False

    def begin(self, indices: Indices, rngs: Sequence[np.random.Generator]) -> NDArray[Any]:
        self.x[indices] = np.array([rng.random() for rng in rngs])[:, None]
        return self.x[indices].copy()

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        self.x[indices, 0] += actions[:, 0]
        x = self.x[indices].copy()
        return Transition(x, x[:, 0].copy(), x[:, 0] > 3, x[:, 0] > 2)

    def save(self, indices: Indices) -> dict[str, NDArray[Any]]:
        return {"x": self.x[indices]}

    def load(self, indices: Indices, saved: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        self.x[indices] = saved["x"]
        return self.x[indices].copy()

    def render(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        return np.full((height, width, 3), index, dtype=np.uint8)

    def close(self) -> None:
        self.closed = True


def make(num_envs: int = 3, seed: int = 0) -> BatchedEnv:
    env = BatchedEnv(Walks(num_envs))
    env.reset(seed=seed)
    return env


def act(*values: float) -> NDArray[np.float64]:
    return np.array(values)[:, None]


def run(env: BatchedEnv, actions: NDArray[Any]) -> list[tuple[Any, ...]]:
    """All that `actions` (T, N, A) lead to, as comparable bytes."""
    rows = []
    for a in actions:
        obs, reward, terminated, truncated, info = env.step(a)
        rows.append(tuple(v.tobytes() for v in (obs, reward, terminated, truncated, info["final_obs"])))
    return rows


def test_an_end_restarts_within_the_step_and_keeps_the_final_observation() -> None:
    env = make()
    for _ in range(3):
        obs, reward, terminated, truncated, info = env.step(act(1.0, 0.5, 0.0))
        before = obs
    assert terminated.tolist() == [True, False, False] and not truncated.any()
    final = info["final_obs"]
    assert 3 < final[0, 0] < 4 and reward[0] == final[0, 0], "the step's own outcome"
    assert 0 <= obs[0, 0] < 1 and obs[0, 0] == obs[0, 1], "the next episode's start"
    assert info["_final_obs"].tolist() == [True, False, False]
    np.testing.assert_array_equal(obs[1:], final[1:])
    assert env.elapsed.tolist() == [0, 3, 3] and info["elapsed"].tolist() == [3, 3, 3]
    assert before is obs


def test_the_time_limit_truncates_and_never_terminates() -> None:
    env = make(2)
    for _ in range(5):
        _, _, terminated, truncated, _ = env.step(act(0.0, 0.1))
    assert truncated.tolist() == [True, True] and not terminated.any()


def test_an_end_at_the_time_limit_is_an_end_only() -> None:
    env = make(2)
    for _ in range(4):
        env.step(act(0.5, 0.0))
    _, _, terminated, truncated, info = env.step(act(1.0, 0.0))
    assert terminated.tolist() == [True, False] and truncated.tolist() == [False, True]
    assert info["_final_obs"].all()


def test_success_is_passed_on() -> None:
    env = make(2)
    for _ in range(2):
        *_, info = env.step(act(1.0, 0.0))
    assert info["success"].tolist() == [True, False]


def test_a_start_state_depends_on_seed_slot_and_episode_alone() -> None:
    def starts(num_envs: int, episodes: int) -> NDArray[Any]:
        env = BatchedEnv(Walks(num_envs))
        rows = [env.reset(seed=7)[0]]
        while len(rows) < episodes:
            obs, _, _, truncated, _ = env.step(np.zeros((num_envs, 1)))
            if truncated.any():
                rows.append(obs)
        return np.array(rows)[:, :, 0]

    few, many = starts(2, 3), starts(5, 3)
    np.testing.assert_array_equal(few, many[:, :2])
    assert len(np.unique(many)) == many.size, "no two slots or episodes share a start"


def test_the_same_seed_begins_again_and_another_does_not() -> None:
    env = make(3, seed=4)
    first = env.reset(seed=4)[0]
    env.step(np.ones((3, 1)))
    np.testing.assert_array_equal(env.reset(seed=4)[0], first)
    assert not np.isin(env.reset(seed=5)[0], first).any()
    assert not np.isin(env.reset()[0], first).any(), "no seed: on to the next episode"


def test_a_list_of_seeds_fixes_each_world_whatever_its_slot() -> None:
    env = make(3)
    obs = env.reset(seed=[11, 12, 13])[0]
    np.testing.assert_array_equal(env.reset(seed=[13, 11, 12])[0], obs[[2, 0, 1]])


def test_worlds_never_seeded_still_differ() -> None:
    obs, _ = BatchedEnv(Walks(4)).reset()
    assert len(np.unique(obs[:, 0])) == 4


def test_reset_mask_restarts_those_worlds_and_no_other() -> None:
    env = make(3)
    env.step(act(0.5, 0.5, 0.5))
    rest = env.snapshot(np.array([1]))
    mask = np.array([True, False, True])
    obs, _ = env.reset(options={"reset_mask": mask})
    assert obs.shape == (2, 2), "one row per world begun"
    assert env.elapsed.tolist() == [0, 1, 0]
    for key, value in env.snapshot(np.array([1])).arrays.items():
        np.testing.assert_array_equal(value, rest.arrays[key])


ACTIONS = np.random.default_rng(0).uniform(-1, 1, (12, 3, 1)) + 0.3


@pytest.mark.parametrize("pickled", [False, True], ids=["plain", "pickled"])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]], ids=["same slots", "other slots"])
def test_a_restored_world_continues_bit_for_bit(order: list[int], pickled: bool) -> None:
    env = make(3, seed=1)
    run(env, ACTIONS[:4])
    snapshot = env.snapshot()
    if pickled:
        snapshot = pickle.loads(pickle.dumps(snapshot))
    expected = run(env, ACTIONS[:, order][:, np.argsort(order)])
    other = make(3, seed=99)
    run(other, ACTIONS[5:7])
    other.restore(snapshot.take(np.array(order)))
    again = run(other, ACTIONS[:, order])
    back = np.argsort(order)
    for row, want in zip(again, expected, strict=True):
        got = [np.frombuffer(v, dtype=np.uint8).reshape(3, -1)[back].tobytes() for v in row]
        assert got == list(want)


def test_restore_returns_the_observation_at_the_snapshot() -> None:
    env = make(3)
    obs, *_ = env.step(act(0.1, 0.2, 0.3))
    snapshot = env.snapshot()
    run(env, ACTIONS)
    np.testing.assert_array_equal(env.restore(snapshot), obs)
    np.testing.assert_array_equal(env.restore(snapshot.take(np.array([2])), np.array([0])), obs[[2]])


def test_a_snapshot_is_not_touched_by_what_follows() -> None:
    env = make(3)
    snapshot = env.snapshot()
    kept = pickle.dumps(snapshot)
    run(env, ACTIONS)
    env.restore(snapshot)
    run(env, ACTIONS)
    assert pickle.dumps(snapshot) == kept


def test_a_snapshot_must_fill_its_slots() -> None:
    env = make(3)
    with pytest.raises(ValueError, match="2 worlds cannot fill 3 slots"):
        env.restore(env.snapshot(np.array([0, 1])))


def test_snapshots_repeat_take_and_concatenate() -> None:
    snapshot = make(3).snapshot()
    x = snapshot.arrays["x"][:, 0]
    assert snapshot.repeat(2).arrays["x"][:, 0].tolist() == np.repeat(x, 2).tolist()
    both = Snapshot.concatenate([snapshot.take(np.array([2, 2])), snapshot])
    assert len(both) == 5 and both.arrays["x"][:, 0].tolist() == [x[2], x[2], *x]


def test_advance_moves_the_indexed_worlds_past_any_limit() -> None:
    env = make(3)
    at = np.array([2, 0])
    for step in range(1, 8):
        obs, _, terminated, _ = env.advance(at, act(0.01, 0.02))
        assert env.elapsed.tolist() == [step, 0, step] and not terminated.any()
    assert obs[1, 0] - obs[1, 1] == pytest.approx(0.14)


def test_gymnasium_accepts_it() -> None:
    env = make(3)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    wrapped = RecordEpisodeStatistics(env)
    obs, _ = wrapped.reset(seed=0)
    assert wrapped.observation_space.contains(obs)
    wrapped.action_space.seed(0)
    lengths = []
    for _ in range(20):
        obs, reward, terminated, truncated, info = wrapped.step(wrapped.action_space.sample())
        assert wrapped.observation_space.contains(obs)
        assert reward.shape == terminated.shape == truncated.shape == (3,)
        assert terminated.dtype == truncated.dtype == np.bool_
        lengths += info["episode"]["l"][info["_episode"]].tolist() if "episode" in info else []
    assert lengths and max(lengths) <= 5


KEYS = np.array([[7, 0, 0], [7, 1, 0], [7, 0, 1], [8, 0, 0], [2**40, 63, 10**9]])


def test_streams_are_decided_by_their_keys_alone() -> None:
    streams = Streams(KEYS)
    numbers = streams.uniform(6)
    assert numbers.shape == (5, 6) and numbers.min() >= 0 and numbers.max() < 1
    assert len(np.unique(numbers)) == 30, "no two keys or columns share a number"
    np.testing.assert_array_equal(Streams(KEYS[[4, 1]]).uniform(6), numbers[[4, 1]])
    np.testing.assert_array_equal(streams.uniform(2), numbers[:, :2])
    assert len(streams) == 5
    assert [rng.random() for rng in streams] == [np.random.default_rng(key).random() for key in KEYS.tolist()]
    assert streams[0] is streams[0], "a generator goes on where it was left"


def test_uniform_numbers_of_neighbouring_keys_are_even_and_uncorrelated() -> None:
    grid = np.stack(np.meshgrid([3], np.arange(64), np.arange(64), indexing="ij"), axis=-1).reshape(-1, 3)
    numbers = Streams(grid).uniform(2)  # 4096 keys that differ in slot and episode only
    counts = np.histogram(numbers, bins=32, range=(0, 1))[0]
    # 8192 numbers in 32 bins: chi-squared with 31 degrees of freedom exceeds 61.1 once in a thousand
    assert ((counts - 256) ** 2 / 256).sum() < 61.1
    table = numbers[:, 0].reshape(64, 64)
    pairs = [(numbers[:, 0], numbers[:, 1]), (table[1:], table[:-1]), (table[:, 1:], table[:, :-1])]
    for a, b in pairs:
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / np.sqrt(a.size)


def test_close_reaches_the_simulation_and_frames_come_from_it() -> None:
    env = make(2)
    assert env.frame(1, 4, 6).shape == (4, 6, 3) and env.frame(1, 4, 6).max() == 1
    env.close()
    assert env.simulation.closed
