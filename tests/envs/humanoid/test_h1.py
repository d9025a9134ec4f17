"""HumanoidBench's H1 on the engine: the published model, its figures, and exact restoring."""

from __future__ import annotations

import pickle
from typing import get_args

import mujoco
import numpy as np
import pytest

from bellmark.envs.api import BatchedEnv, Exactness
from bellmark.envs.engine import Floats, MujocoSimulation
from bellmark.envs.humanoid import H1, TaskName
from bellmark.envs.humanoid.assets import BODIES, COMMAND, FEET, hulls_file
from bellmark.envs.humanoid.model import build, load_model
from bellmark.envs.humanoid.task import h1_task

shaped = pytest.mark.skipif(not hulls_file().is_file(), reason=f"needs the robot's shapes; run: {COMMAND}")

LEG = ["hip_yaw", "hip_roll", "hip_pitch", "knee", "ankle"]
ARM = ["shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow"]
ORDER = [*(f"left_{j}" for j in LEG), *(f"right_{j}" for j in LEG), "torso"]
ORDER += [*(f"left_{j}" for j in ARM), *(f"right_{j}" for j in ARM)]
# kp, kv and force limit in HumanoidBench's h1_pos.xml
GAINS = dict(zip(LEG, [(200, 5, 200)] * 3 + [(300, 6, 300), (40, 2, 40)], strict=True))
GAINS |= dict(zip(ARM, [(100, 2, 40)] * 2 + [(100, 2, 18)] * 2, strict=True)) | {"torso": (300, 6, 200)}


def cubes() -> dict[str, Floats]:
    """Stand-ins for the links' shapes, so that what does not depend on them is tested everywhere."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
    return dict.fromkeys((*BODIES, *FEET), 0.03 * corners)


def play(env: BatchedEnv, action: Floats | np.random.Generator, seed: int) -> tuple[Floats, Floats]:
    """Returns and lengths (N,) of one episode in each world under a fixed or a uniformly random action."""
    env.reset(seed=seed)
    total, length, alive = np.zeros(env.num_envs), np.zeros(env.num_envs), np.ones(env.num_envs, dtype=bool)
    while alive.any():
        fixed = not isinstance(action, np.random.Generator)
        actions = np.tile(action, (env.num_envs, 1)) if fixed else action.uniform(-1, 1, (env.num_envs, 19))
        _, reward, terminated, truncated, _ = env.step(actions)
        total += alive * reward
        length += alive
        alive &= ~(terminated | truncated)
    return total, length


def test_the_model_has_the_published_dimensions_masses_and_servos() -> None:
    model = build("plain", cubes())
    assert (model.nq, model.nv, model.nu) == (26, 25, 19)
    assert model.body_mass.sum() == pytest.approx(51.649896, abs=5e-7)
    assert [model.actuator(i).name for i in range(19)] == ORDER
    assert [model.joint(i + 1).name for i in range(19)] == ORDER
    np.testing.assert_array_equal(model.actuator_ctrlrange, model.jnt_range[1:])
    for i, name in enumerate(ORDER):
        kp, kv, limit = GAINS[name.removeprefix("left_").removeprefix("right_")]
        assert model.actuator_gainprm[i, 0] == kp and model.actuator_biasprm[i, :3].tolist() == [0, -kp, -kv]
        assert model.actuator_forcerange[i].tolist() == [-limit, limit]
    assert np.all(model.dof_damping[6:] == 1) and np.all(model.dof_armature[6:] == 0.1)
    assert not model.dof_damping[:6].any() and not model.dof_armature[:6].any()
    option = model.opt
    assert (option.timestep, option.iterations, option.ls_iterations) == (0.002, 100, 50)
    assert option.solver == mujoco.mjtSolver.mjSOL_NEWTON and option.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL


@pytest.mark.parametrize(("scenery", "geoms"), [("plain", 0), ("slide", 9 + 3), ("stair", 4 * 5 + 3)])
def test_sceneries_add_what_they_should(scenery: str, geoms: int) -> None:
    plain, model = build("plain", cubes()), build(scenery, cubes())
    assert model.ngeom == plain.ngeom + geoms and model.body_mass.sum() == plain.body_mass.sum()


@pytest.mark.parametrize(("scenery", "x", "height"), [("slide", 5.3, 1.75), ("slide", 10.3, 0.0), ("stair", 3.2, 0.9)])
def test_the_ground_rises_as_published(scenery: str, x: float, height: float) -> None:
    model = build(scenery, cubes())
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    hit = np.zeros(1, dtype=np.int32)
    fall = mujoco.mj_ray(model, data, np.array([x, 4.0, 10.0]), np.array([0, 0, -1.0]), None, 1, -1, hit)
    assert 10 - fall == pytest.approx(height, abs=1e-6)


@shaped
def test_actions_are_joint_targets_with_limits_rounded_as_in_the_reference() -> None:
    task = h1_task("walk")
    low, high = load_model("plain").actuator_ctrlrange.T
    ends = task.control(np.array([[-1.0] * 19, [1.0] * 19, [0.0] * 19]))
    np.testing.assert_array_equal(ends[0], low.astype(np.float32))
    np.testing.assert_allclose(ends[1], high.astype(np.float32), rtol=0, atol=1e-15)
    np.testing.assert_allclose(ends[2], (low + high) / 2, rtol=0, atol=1e-7)  # float32 of numbers up to 4.45
    assert (ends[0] != low).any(), "0.43 is no float32"


@shaped
def test_the_observation_is_the_noisy_start_pose_and_zero_velocity() -> None:
    env = H1().make(50)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (50, 51) and obs.dtype == np.float64
    noise = obs[:, :26] - load_model("plain").key_qpos[0]
    assert np.abs(noise).max() <= 0.01 + 1e-12 and not obs[:, 26:].any()
    # U(-0.01, 0.01) has standard deviation 0.02/sqrt(12); the quaternion is noisy, too, and not normalised
    np.testing.assert_allclose(noise.std(), 0.02 / np.sqrt(12), rtol=0.05)
    assert np.all(noise.std(axis=0) > 0.004)


@shaped
@pytest.mark.parametrize(("task", "want", "spread", "steps"), [("walk", 4.1, 2.4, 53), ("slide", 4.8, 2.2, 44)])
def test_random_actions_earn_and_last_what_was_measured(
    task: TaskName, want: float, spread: float, steps: float
) -> None:
    """Measured over 200 episodes on MuJoCo 3.17: 4.12 +- 2.38 and 4.82 +- 2.19; 53 and 45 steps."""
    total, length = play(H1(task=task).make(40), np.random.default_rng(0), seed=0)
    assert abs(total.mean() - want) < 4 * spread / np.sqrt(40)
    assert abs(length.mean() - steps) < 8


@shaped
@pytest.mark.parametrize(
    ("task", "zero", "hold", "steps"), [("walk", (5.7, 6.6), 11.8, 95), ("slide", (7.7, 8.6), 13.6, 97)]
)
def test_still_and_held_poses_earn_what_was_measured(
    task: TaskName, zero: tuple[float, float], hold: float, steps: int
) -> None:
    """The held start pose from `default_rng(0)`'s start, and the middle of all joints from any, as measured on 3.17."""
    total, _ = play(H1(task=task).make(4), np.zeros(19), seed=0)
    assert zero[0] - 0.4 < total.mean() < zero[1] + 0.4
    simulation = MujocoSimulation(h1_task(task), 1, threads=1)
    simulation.begin(np.array([0]), [np.random.default_rng(0)])
    low, high = load_model("plain").actuator_ctrlrange.T
    action = 2 * (load_model("plain").key_qpos[[0], 7:] - low) / (high - low) - 1
    rewards, ended = [], False
    while not ended:
        _, reward, terminated, _ = simulation.advance(np.array([0]), action)
        rewards.append(reward[0])
        ended = bool(terminated[0])
    assert sum(rewards) == pytest.approx(hold, abs=0.1) and abs(len(rewards) - steps) <= 1


@shaped
def test_feet_touch_the_floor_with_four_corners_each() -> None:
    """MuJoCo 3.17 finds four contacts per foot; the held pose's pelvis is at 0.9036 m after a second, as measured."""
    simulation = MujocoSimulation(h1_task("walk"), 1, threads=1)
    simulation.begin(np.array([0]), [_Still()])  # type: ignore[list-item]
    low, high = load_model("plain").actuator_ctrlrange.T
    action = 2 * (load_model("plain").key_qpos[[0], 7:] - low) / (high - low) - 1
    for _ in range(50):
        obs = simulation.advance(np.array([0]), action).obs
    assert obs[0, 2] == pytest.approx(0.9036, abs=5e-5) and simulation.datas[0].ncon == 8


class _Still:
    """A source of noise that has none."""

    def uniform(self, low: float, high: float, size: int) -> Floats:
        return np.zeros(size)


@shaped
@pytest.mark.parametrize("task", get_args(TaskName))
def test_rewards_are_products_of_the_published_factors(task: TaskName) -> None:
    simulation = MujocoSimulation(h1_task(task), 1, threads=1)
    simulation.begin(np.array([0]), [np.random.default_rng(3)])
    data, rng, k = simulation.datas[0], np.random.default_rng(0), np.sqrt(-2 * np.log(0.1))
    for _ in range(30):
        got = simulation.advance(np.array([0]), rng.uniform(-1, 1, (1, 19))).reward[0]
        economy = (4 + np.mean(np.clip(1 - (data.actuator_force / 10) ** 2, 0, None))) / 5
        head, zz = data.site("head").xpos[2], data.body("torso_link").xmat[8]
        feet = [data.site(f"{side}_foot").xpos[2] for side in ("left", "right")]
        if task in ("slide", "stair"):
            drops = [max(0.0, 1.2 - (head - foot)) / 0.45 for foot in feet]
            standing = np.prod([np.exp(-0.5 * (d * k) ** 2) for d in drops])
            upright = np.clip(1 - (0.5 - zz) / 1.9, 0, 1)
        else:
            standing = np.exp(-0.5 * (max(0.0, 1.65 - head) / (1.65 / 4) * k) ** 2)
            upright = np.clip(1 - (0.9 - zz) / 1.9, 0, 1)
        vx, vy, _ = data.sensor("pelvis_velocity").data
        speed = {"walk": 1, "run": 5, "stair": 1, "slide": 1}.get(task, 0)
        moving = (
            (5 * np.clip(vx / speed, 0, 1) + 1) / 6
            if speed
            else np.mean(np.exp(-0.5 * (np.array([vx, vy]) / 2 * k) ** 2))
        )
        assert got == pytest.approx(economy * standing * upright * moving, rel=1e-12, abs=1e-15)


@shaped
@pytest.mark.parametrize("task", ["walk", "slide"])
def test_a_restored_world_continues_bit_for_bit_elsewhere(task: TaskName) -> None:
    env, other = H1(task=task).make(3, threads=2), H1(task=task).make(3)
    assert env.exactness is Exactness.BITWISE
    env.reset(seed=1)
    other.reset(seed=2)
    actions = np.random.default_rng(0).uniform(-1, 1, (70, 3, 19))
    for a in actions[:20]:
        env.step(a)
        other.step(a)
    snapshot = pickle.loads(pickle.dumps(env.snapshot()))
    order = np.array([2, 0, 1])
    other.restore(snapshot.take(order))
    for a in actions[20:]:
        rows = zip(env.step(a)[:4], other.step(a[order])[:4], strict=True)
        assert all(np.array_equal(mine[order], theirs) for mine, theirs in rows)


@shaped
def test_episodes_end_when_the_robot_falls() -> None:
    env = H1().make(4)
    env.reset(seed=0)
    ended = np.zeros(4, dtype=bool)
    while not ended.all():
        *_, terminated, truncated, info = env.step(np.zeros((4, 19)))
        assert not truncated.any()
        heights = info["final_obs"][:, 2]
        assert np.array_equal(terminated, heights < 0.2)
        ended |= terminated
