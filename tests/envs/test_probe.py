"""Probe environments: what happens is what their stated answers say."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from bellmark.config import build
from bellmark.envs.api import BatchedEnv, Exactness
from bellmark.envs.probe import CLOSE, PROBES, Probe, ProbeName, ProbeSimulation
from bellmark.errors import UserError

GAMMA = 0.9


def returns(env: BatchedEnv, name: ProbeName, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) start observations and discounted returns of the best actions; a time limit adds the value beyond it."""
    task = PROBES[name]
    obs, _ = env.reset(seed=3)
    start = obs[:, 0].copy()
    total, alive = np.zeros(env.num_envs), np.ones(env.num_envs, dtype=bool)
    for t in range(steps):
        x = obs[:, 0].astype(np.float64)
        action = np.zeros_like(x) if task.best is None else task.best(x)
        obs, reward, terminated, truncated, info = env.step(action[:, None])
        total += alive * GAMMA**t * reward
        cut = alive & truncated
        total[cut] += GAMMA ** (t + 1) * task.value(info["final_obs"][cut, 0].astype(np.float64), GAMMA)
        alive &= ~(terminated | truncated)
    assert not alive.any()
    return start, total


@pytest.mark.parametrize("name", get_args(ProbeName))
def test_the_stated_value_is_the_return_of_the_best_actions(name: ProbeName) -> None:
    start, total = returns(Probe(name=name).make(16), name, steps=8)
    np.testing.assert_allclose(total, PROBES[name].value(start.astype(np.float64), GAMMA), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", get_args(ProbeName))
def test_every_start_occurs_and_observations_lie_in_the_space(name: ProbeName) -> None:
    env = Probe(name=name).make(64)
    obs, _ = env.reset(seed=0)
    assert obs.dtype == np.float32 and env.observation_space.contains(obs)
    assert set(obs[:, 0].tolist()) == set(PROBES[name].starts)


@pytest.mark.parametrize(("name", "x", "best"), [("policy", 0.0, 0.5), ("policy-from-obs", -1.0, -0.5)])
def test_reward_falls_with_the_square_of_the_distance_from_the_best_action(
    name: ProbeName, x: float, best: float
) -> None:
    task = PROBES[name]
    at = np.full(3, x)
    assert task.best is not None and task.best(at).tolist() == [best] * 3
    # 1 - d^2 at d = 0, 0.1 and 0.5
    np.testing.assert_allclose(task.reward(at, best + np.array([0.0, 0.1, -0.5])), [1.0, 0.99, 0.75], atol=1e-15)


def test_success_means_close_to_the_best_action() -> None:
    env = Probe(name="policy").make(2)
    env.reset(seed=0)
    *_, info = env.step(np.array([[0.5 + 0.9 * CLOSE], [0.5 + 1.1 * CLOSE]]))
    assert info["success"].tolist() == [True, False]


def test_an_end_and_a_time_limit_are_told_apart() -> None:
    ends, limit = Probe(name="terminal").make(8), Probe(name="time-limit").make(8)
    for env, steps in ((ends, 4), (limit, 5)):
        env.reset(seed=1)
        flags = [env.step(np.zeros((8, 1)))[2:4] for _ in range(steps)]
        terminated, truncated = (np.array(f) for f in zip(*flags, strict=True))
        assert terminated.any() == (env is ends) and truncated.any() == (env is limit)
    assert ends.horizon > 4, "the longest countdown must never meet the time limit"


def test_actions_are_clipped_and_must_be_finite() -> None:
    env = Probe(name="policy").make(2)
    env.reset(seed=0)
    assert env.step(np.array([[3.0], [-3.0]]))[1].tolist() == [0.75, -1.25]  # 1 - 0.5^2, 1 - 1.5^2
    with pytest.raises(ValueError, match=r"worlds \[1\]"):
        env.step(np.array([[0.0], [np.nan]]))


def test_config_names_the_nearest_probe() -> None:
    assert build(Probe, {"name": "discount"}).make(1).simulation.exactness is Exactness.BITWISE
    with pytest.raises(UserError, match="time-limit"):
        build(Probe, {"name": "timelimit"})


def test_a_picture_shows_where_x_is() -> None:
    simulation = ProbeSimulation(2, PROBES["terminal"])
    simulation.begin(np.array([0, 1]), [np.random.default_rng(i) for i in range(2)])
    frame = simulation.render(1, 8, 64)
    assert frame.shape == (8, 64, 3) and frame.dtype == np.uint8 and frame.max() == 255
