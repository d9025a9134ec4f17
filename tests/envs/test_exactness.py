"""The promise of `bitwise`, suite by suite: saved in mid-episode, continued in another process, the same bytes."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bellmark.envs.api import BatchedEnv, Exactness
from bellmark.envs.facts import describe
from bellmark.envs.suite import make_env, parse_task

TASKS = [
    "pick_cube",
    "dmc/walker-walk",
    "dmc/point-mass-easy",
    "h1-walk",
    "h1-slide",
    "cartpole",
    "cartpole/pixels",
    "probe/terminal",
    "gym/Pendulum-v1",
]
BEFORE, AFTER, WORLDS = 25, 40, 3


def actions(env: BatchedEnv, count: int, seed: int) -> np.ndarray:
    """(T, N, ...) random actions of a task."""
    rng = np.random.default_rng(seed)
    if env.single_action_space.shape == ():
        return rng.integers(0, 2, (count, env.num_envs))
    return rng.uniform(-1, 1, (count, env.num_envs, *env.single_action_space.shape))


def future(env: BatchedEnv) -> str:
    """A digest of all that the next steps bring, episodes that end and begin included."""
    total = hashlib.sha256()
    for a in actions(env, AFTER, seed=1):
        obs, reward, terminated, truncated, info = env.step(a)
        for value in (obs, reward, terminated, truncated, info["final_obs"], info["success"]):
            total.update(np.ascontiguousarray(value).tobytes())
    return total.hexdigest()


def continue_elsewhere(folder: Path) -> None:
    """What the other process does: restore every snapshot into worlds of its own and print what follows."""
    for name in TASKS:
        stored = folder / name.replace("/", "_")
        if stored.is_file():
            env = make_env(parse_task(name), WORLDS)
            env.reset(seed=99)
            env.restore(pickle.loads(stored.read_bytes()))
            print(name, future(env))
            env.close()


@pytest.fixture(scope="module")
def futures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str, str]]:
    """Task -> digests of the future here, here again after restoring, and in the other process."""
    folder = tmp_path_factory.mktemp("worlds")
    here: dict[str, tuple[str, str]] = {}
    for name in TASKS:
        if describe(name).missing:
            continue
        env = make_env(parse_task(name), WORLDS)
        assert env.exactness is Exactness.BITWISE
        env.reset(seed=7)
        for a in actions(env, BEFORE, seed=0):
            env.step(a)
        snapshot = env.snapshot()
        (folder / name.replace("/", "_")).write_bytes(pickle.dumps(snapshot))
        first = future(env)
        env.restore(snapshot)
        here[name] = (first, future(env))
        env.close()
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_exactness; "
        f"test_exactness.continue_elsewhere(test_exactness.Path({str(folder)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    there = dict(line.split() for line in done.stdout.splitlines())
    return {name: (*pair, there[name]) for name, pair in here.items()}


@pytest.mark.parametrize("name", TASKS)
def test_a_world_continues_bit_for_bit_in_another_process(name: str, futures: dict[str, tuple[str, str, str]]) -> None:
    if name not in futures:
        pytest.skip(describe(name).missing)
    first, again, there = futures[name]
    assert again == first, "restored in place"
    assert there == first, "restored in another process"
