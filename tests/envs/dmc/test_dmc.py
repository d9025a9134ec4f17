"""The factory: names, step accounting, configuration, and what it says when something is missing."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from bellmark.config import build
from bellmark.envs.dmc import Dmc, catalogue, make_dmc, task_ids
from bellmark.envs.dmc.catalogue import DIRECT_IDS, STOCK_IDS, normal, resolve
from bellmark.errors import UserError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("dmc/dog-run", "dog-run"),
        ("dog-run", "dog-run"),
        ("ball_in_cup-catch", "cup-catch"),
        ("cup-catch", "cup-catch"),
        ("cartpole-swingup_sparse", "cartpole-swingup-sparse"),
        ("finger_turn_easy", "finger-turn-easy"),
        ("humanoid_CMU-run", "humanoid-cmu-run"),
    ],
)
def test_names_as_people_write_them(written: str, meant: str) -> None:
    assert resolve(written) == meant


def test_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown task 'dog-rnu'; did you mean dog-run"):
        make_dmc("dog-rnu", 1)
    with pytest.raises(UserError, match="hopper-hop"):
        build(Dmc, {"task": "hoper-hop"})


def test_every_dm_control_task_is_served_once_but_escape(suite: Any) -> None:
    theirs = {normal(f"{domain}-{task}") for domain, task in suite.ALL_TASKS}
    assert DIRECT_IDS.keys() | STOCK_IDS.keys() == theirs - {"quadruped-escape"}
    assert not DIRECT_IDS.keys() & STOCK_IDS.keys()
    assert len(task_ids()) == len(DIRECT_IDS) + len(STOCK_IDS)


@pytest.mark.parametrize(("repeat", "horizon"), [(1, 1000), (2, 500), (4, 250)])
def test_action_repeat_sums_rewards_and_shortens_the_episode(repeat: int, horizon: int) -> None:
    env, single = (
        make_dmc("cartpole-balance", 2, action_repeat=repeat),
        make_dmc("cartpole-balance", 2, action_repeat=1),
    )
    assert env.horizon == env.simulation.horizon == horizon
    assert env.simulation.action_repeat == repeat
    env.reset(seed=0)
    single.reset(seed=0)
    action = np.full((2, 1), 0.3)
    steps = [single.step(action) for _ in range(repeat)]
    obs, reward, *_ = env.step(action)
    np.testing.assert_array_equal(obs, steps[-1][0])
    np.testing.assert_array_equal(reward, sum(step[1] for step in steps))


def test_an_episode_is_truncated_never_terminated() -> None:
    env = Dmc(task="pendulum-swingup", action_repeat=100).make(3)
    env.reset(seed=0)
    for step in range(1, 11):
        obs, _, terminated, truncated, info = env.step(np.zeros((3, 1)))
        assert not terminated.any()
        assert truncated.all() == (step == 10)
    assert not np.array_equal(obs, info["final_obs"])


def test_actions_beyond_the_range_are_clipped() -> None:
    env, other = make_dmc("quadruped-walk", 1), make_dmc("quadruped-walk", 1)
    env.reset(seed=0)
    other.reset(seed=0)
    np.testing.assert_array_equal(env.step(np.full((1, 12), 7.0))[0], other.step(np.ones((1, 12)))[0])


def test_the_config_keeps_one_form_of_a_task_s_name() -> None:
    assert build(Dmc, {"task": "dmc/cup_catch"}).task == "cup-catch"
    with pytest.raises(UserError, match="action_repeat"):
        build(Dmc, {"action_repeat": 0})


def test_stock_tasks_have_the_same_interface() -> None:
    env = make_dmc("point_mass-easy", 2)
    obs, _ = env.reset(seed=0)
    assert obs.shape == env.observation_space.shape == (2, 4)
    assert env.horizon == 500
    env.step(np.zeros((2, 2)))
    bad = np.zeros((2, 2))
    bad[1] = np.nan
    _, reward, terminated, _, _ = env.step(bad)
    assert terminated.tolist() == [False, True]
    assert reward[1] == 0
    assert env.simulation.failures[0].reason == "non-finite action"  # type: ignore[attr-defined]
    env.close()


@pytest.mark.parametrize("missing", ["mujoco", "dm_control"])
def test_missing_packages_are_named_with_the_command(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str, *rest: Any) -> Any:
        return None if name == missing else importlib.util.find_spec(name, *rest)

    monkeypatch.setattr(catalogue, "find_spec", find)
    with pytest.raises(UserError, match=rf"needs {missing}; run: pip install 'bellmark\[dmc\]'"):
        make_dmc("dog-run", 1)


def test_the_config_imports_without_mujoco() -> None:
    import subprocess
    import sys

    script = (
        "import sys; sys.modules['mujoco'] = None; from bellmark.envs.dmc import Dmc; print(Dmc(task='dog-run').task)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "dog-run"
