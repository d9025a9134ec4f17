"""Our tasks against the installed dm_control: the same draws and actions must give the same numbers, step for step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
import pytest

from bellmark.envs.dmc.catalogue import DIRECT_IDS, direct_task
from bellmark.envs.engine import MujocoSimulation

KEY = ("dog-run", "hopper-hop", "humanoid-walk", "quadruped-walk")
REWARD_TOLERANCE = 1e-15  # factors of a product are rounded in another order
PATHS = {"mesh_pathadr", "skin_pathadr", "tex_pathadr"}  # where files were read from: ours by path, theirs by name
ONE = np.array([0])


def compare(name: str, reference: Any, seeds: range, steps: int) -> None:
    """Whole episodes: observations equal bit for bit, rewards to 1e-15, from the same draws with the same actions."""
    simulation = MujocoSimulation(direct_task(name), 1)
    actions = simulation.action_space.shape[0]
    for seed in seeds:
        start = simulation.begin(ONE, [np.random.default_rng(seed)])
        np.testing.assert_array_equal(start[0], reference.reset(seed), err_msg=f"{name}, start state of seed {seed}")
        rng = np.random.default_rng([seed, 1])
        for step in range(steps):
            action = rng.uniform(-1, 1, (1, actions))
            if step % 5 == 0:
                action = np.sign(action)
            transition = simulation.advance(ONE, action)
            obs, reward = reference.step(simulation.task.control(action)[0])
            np.testing.assert_array_equal(transition.obs[0], obs, err_msg=f"{name}, seed {seed}, step {step}")
            assert abs(transition.reward[0] - reward) <= REWARD_TOLERANCE, (name, seed, step)
    simulation.close()


@pytest.mark.parametrize("name", sorted(set(DIRECT_IDS) - set(KEY)))
def test_observations_and_rewards_equal_dm_control(name: str, reference: Callable[[str], Any]) -> None:
    compare(name, reference(name), range(2), 20 if name.startswith("dog") else 60)


@pytest.mark.parametrize("name", KEY)
def test_whole_episodes_equal_dm_control(name: str, reference: Callable[[str], Any]) -> None:
    compare(name, reference(name), range(1), 1000)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(DIRECT_IDS))
def test_whole_episodes_of_every_task_equal_dm_control(name: str, reference: Callable[[str], Any]) -> None:
    compare(name, reference(name), range(3), 1000)


@pytest.mark.parametrize("name", ["dog-run", "quadruped-walk", "reacher-hard", "finger-spin", "cheetah-run"])
def test_compiled_models_are_dm_control_s(name: str, reference: Callable[[str], Any]) -> None:
    ours = MujocoSimulation(direct_task(name), 1).model
    env = reference(name)
    env.reset(0)
    theirs = env.env.physics.model.ptr
    placed = {"geom_pos"} if name.startswith("reacher") else {"site_rgba"} if name.startswith("finger") else set()
    for field in dir(theirs):
        value = getattr(theirs, field)
        if isinstance(value, np.ndarray) and not field.startswith("_") and field not in placed | PATHS:
            np.testing.assert_array_equal(getattr(ours, field), value, err_msg=field)
    for field in dir(theirs.opt):
        if not field.startswith("_"):
            np.testing.assert_array_equal(getattr(ours.opt, field), getattr(theirs.opt, field), err_msg=field)


@pytest.mark.parametrize("name", sorted(DIRECT_IDS))
def test_interval_and_horizon_are_dm_control_s(name: str, reference: Callable[[str], Any]) -> None:
    task, env = direct_task(name), reference(name).env
    assert task.substeps == env._n_sub_steps
    assert task.intervals == math.ceil(env._step_limit)
    spec = env.action_spec()
    ends = task.control(np.stack([-np.ones(spec.shape), np.ones(spec.shape)]))
    np.testing.assert_allclose(ends, [spec.minimum, spec.maximum], rtol=1e-15)


def test_quadruped_starts_at_dm_control_s_height(reference: Callable[[str], Any]) -> None:
    """Bisection finds the rung that dm_control's climb stops at, for any orientation; the whole state is the same."""
    simulation, env = MujocoSimulation(direct_task("quadruped-walk"), 1), reference("quadruped-walk")
    size = mujoco.mj_stateSize(simulation.model, mujoco.mjtState.mjSTATE_INTEGRATION)
    heights = set()
    for seed in range(60):
        simulation.begin(ONE, [np.random.default_rng(seed)])
        env.reset(seed)
        theirs = np.empty(size)
        physics = env.env.physics
        mujoco.mj_getState(physics.model.ptr, physics.data.ptr, theirs, mujoco.mjtState.mjSTATE_INTEGRATION)
        np.testing.assert_array_equal(simulation.save(ONE)["state"][0], theirs)
        heights.add(round(float(physics.data.qpos[2]), 2))
    assert len(heights) > 10, "the orientations drawn should need many heights"


def test_targets_are_drawn_per_world() -> None:
    simulation = MujocoSimulation(direct_task("reacher-easy"), 4)
    simulation.begin(np.arange(4), [np.random.default_rng(seed) for seed in range(4)])
    radius = np.linalg.norm(simulation.memory, axis=1)
    assert len(np.unique(simulation.memory[:, 0])) == 4
    assert ((radius >= 0.05) & (radius <= 0.20)).all()
