"""The label "bitwise", proved for every task: a saved world continues the same in any slot, instance and process."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bellmark.envs.api import BatchedEnv, Exactness
from bellmark.envs.dmc import make_dmc
from bellmark.envs.dmc.catalogue import DIRECT_IDS, STOCK_IDS

STEPS = 12
ELSEWHERE = """
import pickle, sys
import numpy as np
from bellmark.envs.dmc import make_dmc
name, path = sys.argv[1:]
with open(path, "rb") as file:
    snapshot, actions = pickle.load(file)
env = make_dmc(name, 2, threads=1)
env.restore(snapshot.take(np.array([1, 0])))
steps = [env.step(action[::-1])[:2] for action in actions]
with open(path, "wb") as file:
    pickle.dump([(obs[::-1], reward[::-1]) for obs, reward in steps], file)
env.close()
"""


def roll(env: BatchedEnv, actions: NDArray[np.float64]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    return [env.step(action)[:2] for action in actions]


def started(name: str, num_envs: int, threads: int | None = None) -> tuple[BatchedEnv, NDArray[np.float64]]:
    """A batch some steps into its episodes, and actions to go on with."""
    env = make_dmc(name, num_envs, threads=threads)
    env.reset(seed=7)
    shape = env.single_action_space.shape
    assert shape is not None
    actions = np.random.default_rng(0).uniform(-1, 1, (2 * STEPS, num_envs, *shape))
    roll(env, actions[:STEPS])
    return env, actions[STEPS:]


def assert_same(first: list[tuple[NDArray[np.float64], ...]], second: list[tuple[NDArray[np.float64], ...]]) -> None:
    for step, (a, b) in enumerate(zip(first, second, strict=True)):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y, err_msg=f"step {step}")


@pytest.mark.parametrize("name", sorted(DIRECT_IDS))
def test_continues_in_another_slot_and_instance(name: str) -> None:
    env, actions = started(name, 2)
    assert env.exactness is Exactness.BITWISE
    snapshot = pickle.loads(pickle.dumps(env.snapshot()))
    straight = roll(env, actions)

    swapped = np.array([1, 0])
    obs = env.restore(snapshot.take(swapped))
    np.testing.assert_array_equal(obs, snapshot.arrays["obs"][swapped])
    there = roll(env, actions[:, swapped])
    assert_same(straight, [(o[swapped], r[swapped]) for o, r in there])
    env.close()

    other = make_dmc(name, 3, threads=1)
    other.reset(seed=99)
    roll(other, np.zeros((3, 3, *actions.shape[2:])))
    other.restore(snapshot, np.array([2, 1]))
    padded = np.concatenate([np.zeros_like(actions[:, :1]), actions[:, swapped]], axis=1)
    assert_same(straight, [(o[[2, 1]], r[[2, 1]]) for o, r in roll(other, padded)])
    other.close()


@pytest.mark.parametrize("name", ["humanoid-walk", "reacher-hard"])
def test_continues_in_another_process(name: str, tmp_path: Path) -> None:
    env, actions = started(name, 2)
    path = tmp_path / "world.pickle"
    path.write_bytes(pickle.dumps((env.snapshot(), actions)))
    straight = roll(env, actions)
    subprocess.run([sys.executable, "-c", ELSEWHERE, name, str(path)], check=True, timeout=120)
    assert_same(straight, pickle.loads(path.read_bytes()))
    env.close()


@pytest.mark.parametrize("name", ["point-mass-hard", "swimmer-swimmer6", "stacker-stack-2", "manipulator-insert-peg"])
def test_stock_tasks_continue_too(name: str) -> None:
    env, actions = started(name, 2)
    snapshot, swapped = env.snapshot(), np.array([1, 0])
    straight = roll(env, actions)
    env.reset(seed=5)
    env.restore(snapshot.take(swapped))
    assert_same(straight, [(o[swapped], r[swapped]) for o, r in roll(env, actions[:, swapped])])
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STOCK_IDS))
def test_every_stock_task_continues(name: str) -> None:
    test_stock_tasks_continue_too(name)


def test_the_number_of_threads_changes_nothing() -> None:
    one, actions = started("quadruped-walk", 5, threads=1)
    many, _ = started("quadruped-walk", 5, threads=4)
    assert_same(roll(one, actions), roll(many, actions))
    one.close()
    many.close()


def test_an_episode_goes_on_across_a_restore_and_its_own_reset() -> None:
    """Step count and random stream travel too: after the time limit, the next start state is the same."""
    env = make_dmc("pendulum-swingup", 2)
    env.reset(seed=3)
    actions = np.random.default_rng(1).uniform(-1, 1, (510, 2, 1))
    roll(env, actions[:490])
    snapshot = env.snapshot()
    straight = roll(env, actions[490:])
    env.restore(snapshot)
    assert_same(straight, roll(env, actions[490:]))
    assert (env.elapsed == 10).all()
    env.close()
