"""PickCube: geometry against MuJoCo, bitwise snapshots, thread and batch independence, task semantics."""

from __future__ import annotations

import pickle
import subprocess
import sys

import mujoco
import numpy as np
import pytest

from bellmark.envs.api import BatchedEnv, Exactness, Snapshot
from bellmark.envs.failures import read
from bellmark.envs.pick_cube import PickCube, task
from bellmark.envs.pick_cube.kinematics import Chain, quaternions
from bellmark.envs.pick_cube.simulation import QPOS, SUBSTEPS, PickCubeSimulation, load_model

FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS


def actions(count: int, steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, count, 8)).astype(np.float32)


def played(env: BatchedEnv, acts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = [env.step(a)[:2] for a in acts]
    return np.stack([r[0] for r in rows]), np.stack([r[1] for r in rows])


@pytest.fixture(scope="module")
def grasping() -> Snapshot:
    """Worlds mid-episode, some of them in contact."""
    env = PickCube(reward="dense").make(16)
    env.reset(seed=3)
    for a in actions(16, 23):
        env.step(a)
    return env.snapshot()


def test_spaces_and_start():
    env = PickCube().make(4)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (4, 42)
    assert obs.dtype == np.float32
    assert env.single_action_space.shape == (8,)
    assert env.horizon == 50
    np.testing.assert_allclose(obs[:, :7], np.tile(task.REST, (4, 1)), atol=0.1)
    np.testing.assert_allclose(obs[:, 31], 0.02, atol=1e-6)  # the cube lies on the table
    np.testing.assert_allclose(obs[:, 36:39], obs[:, 29:32] - obs[:, 19:22], atol=1e-6)
    np.testing.assert_allclose(obs[:, 39:42], obs[:, 26:29] - obs[:, 29:32], atol=1e-6)


def test_kinematics_equal_mujocos(grasping):
    model = load_model()
    data = mujoco.MjData(model)
    chain = Chain(model, "tcp")
    for row in grasping.arrays["physics"]:
        mujoco.mj_setState(model, data, row, FULL)
        mujoco.mj_kinematics(model, data)
        position, rotation = chain(row[QPOS][None, :7])
        np.testing.assert_allclose(position[0], data.site("tcp").xpos, atol=1e-12)
        np.testing.assert_allclose(rotation[0].ravel(), data.site("tcp").xmat, atol=1e-12)
        reference = np.zeros(4)
        mujoco.mju_mat2Quat(reference, data.site("tcp").xmat)
        assert abs(quaternions(rotation)[0] @ reference) == pytest.approx(1.0, abs=1e-12)


def test_quaternions_of_half_turns():
    # Half turns about x, y, z have scalar part zero: the branch where 1 + trace vanishes.
    for axis in range(3):
        rotation = -np.eye(3)
        rotation[axis, axis] = 1.0
        expected = np.zeros(4)
        expected[axis + 1] = 1.0
        np.testing.assert_allclose(np.abs(quaternions(rotation[None])[0]), expected, atol=1e-12)


def test_label_is_bitwise():
    assert PickCubeSimulation(1).exactness is Exactness.BITWISE


@pytest.mark.parametrize("slots", [np.arange(16), np.arange(16)[::-1].copy()])
def test_continuation_is_bitwise_in_any_slot_and_instance(grasping, slots):
    acts = actions(16, 12, seed=1)
    first = PickCube(reward="dense").make(16)
    first.restore(grasping)
    obs, reward = played(first, acts)
    other = PickCube(reward="dense").make(16, threads=2)
    other.reset(seed=99)
    other.step(acts[0])
    other.restore(pickle.loads(pickle.dumps(grasping)), slots)
    moved = np.empty_like(acts)
    moved[:, slots] = acts
    obs_moved, reward_moved = played(other, moved)
    assert np.array_equal(obs_moved[:, slots], obs)
    assert np.array_equal(reward_moved[:, slots], reward)


def test_continuation_equals_the_world_that_went_on(grasping):
    env = PickCube(reward="dense").make(16)
    env.restore(grasping)
    acts = actions(16, 40, seed=2)
    played(env, acts[:5])
    saved = env.snapshot()
    went_on = played(env, acts[5:])  # crosses the time limit: also the next episodes' start states must agree
    env.restore(saved)
    again = played(env, acts[5:])
    assert np.array_equal(went_on[0], again[0])
    assert np.array_equal(went_on[1], again[1])


def test_continuation_is_bitwise_in_another_process(grasping, tmp_path):
    acts = actions(16, 6, seed=4)
    env = PickCube(reward="dense").make(16)
    env.restore(grasping)
    here = played(env, acts)[0]
    (tmp_path / "in.pkl").write_bytes(pickle.dumps((grasping, acts)))
    code = (
        "import pickle, sys, numpy as np\n"
        "from bellmark.envs.pick_cube import PickCube\n"
        "saved, acts = pickle.load(open(sys.argv[1], 'rb'))\n"
        "env = PickCube(reward='dense').make(16); env.restore(saved)\n"
        "np.save(sys.argv[2], np.stack([env.step(a)[0] for a in acts]))\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "in.pkl", tmp_path / "out.npy"], check=True)
    assert np.array_equal(np.load(tmp_path / "out.npy"), here)


def test_rows_are_the_integration_state(grasping):
    """A control step from a row equals plain `mj_step` from the same state with a zero warm start, bit for bit."""
    env = PickCube().make(16)
    env.restore(grasping)
    act = actions(16, 1, seed=5)[0]
    model = load_model()
    for i in range(16):
        data = mujoco.MjData(model)
        mujoco.mj_setState(model, data, grasping.arrays["physics"][i], FULL)
        integration = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(model, data, integration, mujoco.mjtState.mjSTATE_INTEGRATION)
        fresh = mujoco.MjData(model)
        mujoco.mj_setState(model, fresh, integration, mujoco.mjtState.mjSTATE_INTEGRATION)
        opening = -0.01 + 0.05 * (act[i, 7] + np.float32(1)) / 2
        fresh.ctrl[:7] = fresh.qpos[:7] + 0.1 * act[i, :7]
        fresh.ctrl[7:] = opening
        for _ in range(SUBSTEPS):
            mujoco.mj_step(model, fresh)
        after = np.empty(grasping.arrays["physics"].shape[1])
        mujoco.mj_getState(model, fresh, after, FULL)
        env.advance(np.array([i]), act[i : i + 1])
        assert np.array_equal(env.snapshot(np.array([i])).arrays["physics"][0], after)


def test_results_do_not_depend_on_threads_or_batch():
    acts = actions(8, 10)
    big, small = PickCube().make(8, threads=2), PickCube().make(3)
    big.reset(seed=7)
    small.reset(seed=7)
    assert np.array_equal(played(big, acts)[0][:, :3], played(small, acts[:, :3])[0])


def test_time_limit_truncates_and_keeps_the_final_observation():
    env = PickCube().make(2)
    env.reset(seed=1)
    for a in np.zeros((49, 2, 8), dtype=np.float32):
        _, _, terminated, truncated, _ = env.step(a)
        assert not terminated.any()
        assert not truncated.any()
    obs, _, terminated, truncated, info = env.step(np.zeros((2, 8), dtype=np.float32))
    assert truncated.all()
    assert not terminated.any()
    assert not np.array_equal(obs, info["final_obs"])
    np.testing.assert_allclose(obs[:, :7], np.tile(task.REST, (2, 1)), atol=0.1)


def worlds(**changes: np.ndarray) -> task.Worlds:
    base = {
        "qpos": np.zeros((1, 9)),
        "qvel": np.zeros((1, 9)),
        "tcp": np.zeros((1, 3)),
        "tcp_quat": np.zeros((1, 4)),
        "grasped": np.array([False]),
        "cube": np.zeros((1, 3)),
        "cube_quat": np.zeros((1, 4)),
        "goal": np.zeros((1, 3)),
    }
    return task.Worlds(**{**base, **changes})


def test_success_needs_place_and_stillness_but_no_grasp():
    assert task.succeeded(worlds(goal=np.array([[0.0, 0.0, 0.0249]]))).all()
    assert not task.succeeded(worlds(goal=np.array([[0.0, 0.0, 0.0251]]))).any()
    fast, fingers = np.zeros((1, 9)), np.zeros((1, 9))
    fast[0, 3], fingers[0, 8] = 0.21, 5.0
    assert not task.succeeded(worlds(qvel=fast)).any()
    assert task.succeeded(worlds(qvel=fingers)).all()  # fingers may move


def test_dense_reward_golden():
    # Tool 0.1 m from the cube: reach 1 - tanh 0.5 = 0.53788. Cube 0.2 m from the goal, grasped: 1 + (1 - tanh 1) =
    # 1.23841. Not placed, so stillness does not count. Sum 1.77629, over 5.
    w = worlds(tcp=np.array([[0.1, 0, 0]]), goal=np.array([[0, 0.2, 0]]), grasped=np.array([True]))
    assert task.dense_reward(w, task.succeeded(w))[0] == pytest.approx(1.77629 / 5, abs=1e-5)
    done = worlds()
    assert task.dense_reward(done, task.succeeded(done))[0] == 1.0
    assert task.sparse_reward(done, task.succeeded(done))[0] == 1.0
    assert task.sparse_reward(w, task.succeeded(w))[0] == 0.0


def test_grasp_needs_both_pads_against_each_other():
    push, closing = np.array([[0.0, 1.0, 0.0]]), np.array([[0.0, 1.0, 0.0]])
    assert task.grasped(push, -push, closing).all()
    assert not task.grasped(push, push, closing).any()
    assert not task.grasped(0.4 * push, -push, closing).any()


def test_a_non_finite_action_or_broken_physics_fails_its_world_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("BELLMARK_FAILURES", str(tmp_path))
    env, twin = PickCube(reward="dense").make(4), PickCube(reward="dense").make(4)
    for each in (env, twin):
        each.reset(seed=0)
    simulation = env.simulation
    simulation._physics[2, QPOS.stop] = 1e20  # thrown at 1e20 rad/s
    before = task.observe(simulation._worlds(np.arange(4)))
    bad = np.zeros((4, 8))
    bad[1, 2] = np.nan
    transition, other = env.advance(np.arange(4), bad), twin.advance(np.arange(4), np.zeros((4, 8)))
    assert transition.terminated.tolist() == [False, True, True, False]
    assert transition.reward[[1, 2]].tolist() == [0, 0] and not transition.success.any()
    np.testing.assert_array_equal(transition.obs[[1, 2]], before[[1, 2]])
    for mine, theirs in zip(transition, other, strict=True):
        np.testing.assert_array_equal(mine[[0, 3]], theirs[[0, 3]])
    assert [(f.index, f.reason) for f in simulation.failures] == [
        (1, "non-finite action"),
        (2, "broken physics state"),
    ]
    assert [read(path)[1].reason for path in simulation.failures.files] == [f.reason for f in simulation.failures]
