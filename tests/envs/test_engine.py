"""The MuJoCo engine on small models of its own: order of steps, sums, exactness, threads and failures."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from bellmark.envs.api import BatchedEnv
from bellmark.envs.engine import Floats, MujocoSimulation, MujocoTask, World, once, refreshed, stepped
from bellmark.envs.engine.native import native
from bellmark.envs.engine.task import Order

# A box dropped onto a floor and pushed: contacts, so that the solver's warm start matters.
PUSHED_BOX = """
<mujoco>
  <option timestep="0.005" integrator="{integrator}"/>
  <worldbody>
    <geom type="plane" size="5 5 .1"/>
    <body name="box" pos="0 0 .3"><freejoint/><geom type="box" size=".1 .15 .1" mass="1"/><site name="s"/></body>
  </worldbody>
  <actuator><motor site="s" gear="1 0 0 0 .2 0" ctrlrange="-4 4"/><motor site="s" gear="0 1 0 .2 0 0"/></actuator>
  <sensor><accelerometer site="s"/><velocimeter site="s"/></sensor>
</mujoco>
"""


def task(
    order: Order = refreshed, integrator: str = "Euler", fall_below: float = -np.inf, **changes: object
) -> MujocoTask:
    """Reward is the x position; the episode ends when the box is lower than `fall_below`."""
    model = mujoco.MjModel.from_xml_string(PUSHED_BOX.format(integrator=integrator))

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        qpos, qvel, sensed = data.qpos, data.qvel, data.sensordata

        def begin(rng: np.random.Generator) -> None:
            qpos[:2] = rng.uniform(-0.5, 0.5, 2)
            memory[:] = rng.random()

        def observe(row: Floats) -> None:
            np.concatenate([qpos, qvel, sensed, memory], out=row)

        return World(begin, observe, lambda: qpos.item(0), lambda: qpos.item(2) < fall_below)

    given = {"observation_size": 20, "substeps": 3, "intervals": 100, "order": order, "memory": 1} | changes
    return MujocoTask(model, bind, **given)  # type: ignore[arg-type]


def rngs(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, k]) for k in range(count)]


def actions(steps: int, count: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, count, 2))


@pytest.mark.parametrize("integrator", ["Euler", "RK4", "implicitfast"])
def test_refreshed_takes_the_same_path_as_plain_steps_with_poses_up_to_date(integrator: str) -> None:
    plain, fresh = (MujocoSimulation(task(order, integrator), 1) for order in (stepped, refreshed))
    one = np.array([0])
    for simulation in (plain, fresh):
        simulation.begin(one, rngs(1))
    for action in actions(40, 1):
        a, b = plain.advance(one, action), fresh.advance(one, action)
        np.testing.assert_array_equal(a.obs[0, :13], b.obs[0, :13])  # positions and velocities
    np.testing.assert_array_equal(fresh.datas[0].body("box").xpos, fresh.datas[0].qpos[:3])
    assert not np.array_equal(plain.datas[0].body("box").xpos, plain.datas[0].qpos[:3])


@pytest.mark.parametrize("order", [stepped, refreshed])
def test_saved_worlds_continue_bit_for_bit(order: Order, loop: str) -> None:
    first = MujocoSimulation(task(order), 3, action_repeat=2)
    every = np.arange(3)
    first.begin(every, rngs(3))
    path = actions(60, 3)
    for action in path[:30]:  # on the floor by now
        first.advance(every, action)
    saved = pickle.loads(pickle.dumps(first.save(every)))
    straight = [first.advance(every, action) for action in path[30:]]

    turned = np.array([2, 0, 1])
    for other in (first, MujocoSimulation(task(order), 5, action_repeat=2, threads=1)):
        obs = other.load(turned, saved)
        np.testing.assert_array_equal(obs, saved["obs"])
        for action, expected in zip(path[30:], straight, strict=True):
            transition = other.advance(turned, action)
            np.testing.assert_array_equal(transition.obs, expected.obs)
            np.testing.assert_array_equal(transition.reward, expected.reward)


def test_saving_without_the_warm_start_would_not_be_exact() -> None:
    """Why `mjSTATE_INTEGRATION`: full physics state alone leaves the solver to start elsewhere."""
    simulation, one = MujocoSimulation(task(), 1), np.array([0])
    simulation.begin(one, rngs(1))
    path = actions(80, 1)
    for action in path[:60]:
        simulation.advance(one, action)
    model, data = simulation.model, simulation.datas[0]
    other = mujoco.MjData(model)
    state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS))
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    mujoco.mj_setState(model, other, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    mujoco.mj_forward(model, other)
    for d in (data, other):
        for action in path[60:]:
            d.ctrl[:] = action[0]
            once(refreshed(model, 3), model, d)()
    assert data.ncon
    assert not np.array_equal(data.qpos, other.qpos)
    np.testing.assert_allclose(data.qpos, other.qpos, atol=1e-4)


def test_rewards_are_summed_over_the_action_repeat() -> None:
    single, double = MujocoSimulation(task(), 2), MujocoSimulation(task(), 2, action_repeat=2)
    every, action = np.arange(2), np.full((2, 2), 0.5)
    for simulation in (single, double):
        simulation.begin(every, rngs(2))
    a, b = single.advance(every, action), single.advance(every, action)
    c = double.advance(every, action)
    np.testing.assert_array_equal(c.reward, a.reward + b.reward)
    np.testing.assert_array_equal(c.obs, b.obs)
    assert (single.horizon, double.horizon) == (100, 50)


def test_termination_cuts_the_action_repeat_short(loop: str) -> None:
    falling = MujocoSimulation(task(fall_below=0.299), 1, action_repeat=1000)  # 0.3 m at first: down in a few intervals
    falling.begin(np.array([0]), rngs(1))
    transition = falling.advance(np.array([0]), np.zeros((1, 2)))
    assert transition.terminated[0]
    assert 0.25 < transition.obs[0, 2] < 0.299
    assert not falling.failures


@pytest.fixture(params=["C", "Python"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to step: the compiled loop, and the one for machines without a compiler."""
    if request.param == "Python":
        monkeypatch.setattr("bellmark.envs.engine.stepper.native", lambda: None)
    elif native() is None:
        pytest.skip("no C compiler here")
    return str(request.param)


def test_threads_change_nothing_and_work_is_shared(loop: str) -> None:
    one, many = (MujocoSimulation(task(), 7, threads=threads) for threads in (1, 3))
    every = np.arange(7)
    for simulation in (one, many):
        simulation.begin(every, rngs(7))
    for action in actions(50, 7):
        np.testing.assert_array_equal(one.advance(every, action).obs, many.advance(every, action).obs)


@pytest.mark.parametrize("order", [stepped, refreshed])
@pytest.mark.parametrize("integrator", ["Euler", "RK4"])
def test_the_loop_in_c_and_the_one_in_python_agree_bit_for_bit(
    order: Order, integrator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if native() is None:
        pytest.skip("no C compiler here")
    compiled = MujocoSimulation(task(order, integrator, fall_below=0.28), 5, action_repeat=2)
    monkeypatch.setattr("bellmark.envs.engine.stepper.native", lambda: None)
    interpreted = MujocoSimulation(task(order, integrator, fall_below=0.28), 5, action_repeat=2)
    every = np.array([3, 0, 4, 1])  # not all, not in order
    for simulation in (compiled, interpreted):
        simulation.begin(np.arange(5), rngs(5))
    for action in actions(60, 4):
        first, second = compiled.advance(every, action), interpreted.advance(every, action)
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
    for mine, theirs in zip(compiled.save(np.arange(5)).values(), interpreted.save(np.arange(5)).values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_without_a_compiler_worlds_are_stepped_from_python(tmp_path: Path) -> None:
    program = (
        "from bellmark.envs.engine.native import native; from bellmark.envs.dmc import make_dmc; import numpy as np;"
        "env = make_dmc('pendulum-swingup', 2); env.reset(seed=0); print(native(), env.step(np.ones((2, 1)))[0].sum())"
    )
    answers = []
    for given in ({"CC": "no-such-compiler"}, {"BELLMARK_NATIVE": "0"}, {}):
        env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), **given}
        done = subprocess.run([sys.executable, "-c", program], env=env, check=True, capture_output=True, text=True)
        answers.append(done.stdout.split())
    assert answers[0][0] == answers[1][0] == "None"
    assert answers[0][-1] == answers[1][-1] == answers[2][-1]
    if shutil.which("cc"):
        assert answers[2][0] != "None"
        assert list((tmp_path / "bellmark" / "native").iterdir())


def test_an_error_in_a_thread_reaches_the_caller(loop: str) -> None:
    simulation = MujocoSimulation(task(), 4, threads=3)
    simulation.begin(np.arange(4), rngs(4))

    def wrong() -> float:
        raise ZeroDivisionError("the task's own mistake")

    simulation.worlds[3] = replace(simulation.worlds[3], reward=wrong)
    with pytest.raises(ZeroDivisionError, match="own mistake"):
        simulation.advance(np.arange(4), np.zeros((4, 2)))


def test_controls_of_the_wrong_size_are_refused_before_they_reach_c() -> None:
    simulation = MujocoSimulation(task(control=lambda actions: actions[:, :1].repeat(5, axis=1)), 4)
    simulation.begin(np.arange(4), rngs(4))
    with pytest.raises(ValueError, match="broadcast"):
        simulation.advance(np.arange(4), np.zeros((4, 2)))


def test_start_states_are_forwarded_with_actuators_off_if_asked() -> None:
    """A servo at rest at 0 pulls a mass of 1 kg that begins at 1 m with 5 N/m, unless it is off during the reset."""
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><joint name='x' type='slide' axis='1 0 0'/><geom size='.1' mass='1'/></body>"
        "</worldbody><actuator><position joint='x' kp='5'/></actuator></mujoco>"
    )

    def bind(model: mujoco.MjModel, data: mujoco.MjData, memory: Floats) -> World:
        def begin(rng: np.random.Generator) -> None:
            data.qpos[:] = 1

        def observe(row: Floats) -> None:
            row[:] = data.qacc

        return World(begin, observe, lambda: 0.0)

    for passive, acceleration in ((True, 0.0), (False, -5.0)):
        simulation = MujocoSimulation(MujocoTask(model, bind, 1, 1, 10, reset_passive=passive), 1)
        start = simulation.begin(np.array([0]), rngs(1))
        np.testing.assert_allclose(start, acceleration, atol=1e-12)
        assert not simulation.model.opt.disableflags


def test_a_non_finite_action_fails_its_world_alone(loop: str) -> None:
    simulation, every = MujocoSimulation(task(), 3), np.arange(3)
    before = simulation.begin(every, rngs(3))
    action = np.zeros((3, 2))
    action[1, 0] = np.nan
    transition = simulation.advance(every, action)
    assert transition.terminated.tolist() == [False, True, False]
    assert transition.reward[1] == 0
    np.testing.assert_array_equal(transition.obs[1], before[1])
    (failure,) = simulation.failures
    assert (failure.index, failure.reason) == (1, "non-finite action")


def test_broken_physics_fails_the_episode_and_can_be_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    """A world thrown at 1e20 m/s breaks; the batch goes on, the world begins anew, and the kept state breaks again."""
    monkeypatch.chdir(tmp_path)
    env = BatchedEnv(MujocoSimulation(task(), 2))
    env.reset(seed=0)
    simulation = env.simulation
    assert isinstance(simulation, MujocoSimulation)
    simulation.datas[1].qvel[2] = 1e20
    _, reward, terminated, truncated, info = env.step(np.full((2, 2), 0.5))
    assert terminated.tolist() == [False, True]
    assert not truncated.any()
    assert np.isfinite(info["final_obs"]).all()
    assert reward[1] == 0
    assert env.elapsed.tolist() == [1, 0]
    (failure,) = simulation.failures
    assert failure.index == 1
    assert failure.reason.startswith("BAD")
    assert np.isfinite(env.step(np.zeros((2, 2)))[0]).all()

    failure = pickle.loads(pickle.dumps(failure))
    other = MujocoSimulation(task(), 1)
    other.load(np.array([0]), failure.saved)
    assert other.advance(np.array([0]), failure.action[None]).terminated[0]
    assert other.failures[0].reason == failure.reason
    assert not list(tmp_path.iterdir()), "MuJoCo's log file must not appear"
