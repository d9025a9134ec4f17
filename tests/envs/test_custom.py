"""Bring your own: names, spaces, limits, and copies that are tried before they are promised."""

from __future__ import annotations

import pickle
import random
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from bellmark.envs.api import Exactness
from bellmark.envs.custom import Custom
from bellmark.envs.foreign import OneByOne, why_not_copied
from bellmark.errors import UserError

HERE = __name__
SHARED: dict[str, float] = {"x": 0.0}


class Drift(gymnasium.Env[Any, Any]):
    """x grows by the action and by chance; ends above 2."""

    def __init__(self, low: float = -2.0, high: float = 4.0, cut: int = 0, dtype: Any = np.float32) -> None:
        self.observation_space: gymnasium.Space[Any] = Box(-np.inf, np.inf, (1,), np.float64)
        self.action_space: gymnasium.Space[Any] = Box(low, high, (1,), np.float32)
        self.cut, self.x, self.t, self.taken = cut, 0.0, 0, 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.x, self.t = self.np_random.normal(), 0
        return np.array([self.x]), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        self.taken = float(action[0])
        self.x += 0.1 * self.taken + 0.1 * self.draw()
        truncated = bool(self.cut) and self.t >= self.cut
        return np.array([self.x]), self.x, self.x > 2, truncated, {"success": self.x > 1}

    def draw(self) -> float:
        return self.np_random.normal()

    def render(self) -> Any:
        return np.zeros((4, 4, 3), dtype=np.uint8)


class Global(Drift):
    """Chance from the process's stream."""

    def draw(self) -> float:
        return random.random()


class Server(Drift):
    """State that lives elsewhere."""

    def draw(self) -> float:
        SHARED["x"] += 0.1
        return SHARED["x"]


class Uncopied(Drift):
    """An attribute that cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = (i for i in range(3))


class Mixed(Drift):
    """Observations of several parts, and an action space that nothing here can drive."""

    def __init__(self, undriven: bool = False) -> None:
        super().__init__()
        self.observation_space = Dict({"x": Box(-np.inf, np.inf, (2,), np.float64), "kind": Discrete(3)})
        if undriven:
            self.action_space = Box(-np.inf, np.inf, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return {"x": np.array([self.x, 1.0]), "kind": 2}, {}

    def step(self, action: Any) -> Any:
        _, *rest = super().step(action)
        return {"x": np.array([self.x, 1.0]), "kind": 2}, *rest


class Batch(VectorEnv[Any, Any, Any]):
    """Drift without chance, all at once, resets by mask."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012 - as Gymnasium declares it

    def __init__(self, num_envs: int, cut: int = 0) -> None:
        self.num_envs, self.cut, self.t = num_envs, cut, np.zeros(num_envs)
        self.single_observation_space = Box(-np.inf, np.inf, (1,), np.float64)
        self.single_action_space = Box(-2.0, 2.0, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.x = np.zeros((num_envs, 1))

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        for i in np.flatnonzero(options["reset_mask"]):
            self.x[i], self.t[i] = np.random.default_rng(seed[i]).random(), 0
        return self.x, {}

    def step(self, actions: Any) -> Any:
        self.x, self.t = self.x + actions, self.t + 1
        truncated = self.t >= self.cut if self.cut else np.zeros(self.num_envs, dtype=bool)
        return self.x, self.x[:, 0], self.x[:, 0] > 3, truncated, {"is_success": self.x[:, 0] > 2}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "own_worlds", sys.modules[HERE])


def own(name: str, horizon: int = 50, **arguments: Any) -> Custom:
    return Custom(env=f"own_worlds:{name}", arguments=arguments, horizon=horizon)


def test_a_registered_environment_gives_gymnasiums_numbers_under_its_own_limit() -> None:
    env = Custom(env="Pendulum-v1").make(3)
    assert env.horizon == 200 and env.exactness is Exactness.BITWISE
    obs, _ = env.reset(seed=4)
    references = [gymnasium.make("Pendulum-v1").unwrapped for _ in range(3)]
    for i, reference in enumerate(references):
        seed = int(np.random.default_rng([4, i, 0]).integers(2**31))
        np.testing.assert_array_equal(reference.reset(seed=seed)[0], obs[i])
    rng = np.random.default_rng(0)
    for _ in range(200):
        a = rng.uniform(-1, 1, (3, 1))
        _, reward, terminated, truncated, info = env.step(a)
        for i, reference in enumerate(references):
            want, want_reward, *_ = reference.step((2 * a[i]).astype(np.float32))  # torque in [-2, 2]
            np.testing.assert_array_equal(info["final_obs"][i], want)
            assert reward[i] == want_reward
    assert truncated.all() and not terminated.any()


def test_actions_are_mapped_onto_the_environments_bounds() -> None:
    env = own("Drift").make(3)
    env.reset(seed=0)
    env.step(np.array([[-1.0], [0.0], [5.0]]))
    assert [w.taken for w in env.simulation.worlds] == [-2.0, 1.0, 4.0]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="non-finite"):
        env.step(np.full((3, 1), np.nan))


def test_choices_stay_choices_and_success_is_passed_on() -> None:
    env = Custom(env="CartPole-v1").make(2)
    assert env.single_action_space == Discrete(2) and env.horizon == 500
    env.reset(seed=0)
    assert not env.step(np.array([0, 1]))[-1]["success"].any()
    env = own("Drift").make(4)
    env.reset(seed=0)
    *_, info = env.step(np.ones((4, 1)))
    np.testing.assert_array_equal(info["success"], info["final_obs"][:, 0] > 1)


def test_observations_of_several_parts_become_one_vector() -> None:
    obs, _ = own("Mixed").make(2).reset(seed=0)
    assert obs.shape == (2, 5) and obs[0, :3].tolist() == [0, 0, 1]  # parts by name: kind (one of three), x


def test_a_restored_world_continues_bit_for_bit_elsewhere() -> None:
    env, other = own("Drift").make(3), own("Drift").make(3)
    env.reset(seed=1)
    other.reset(seed=2)
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 3, 1))
    for a in actions[:10]:
        env.step(a)
    snapshot = env.snapshot()
    order = np.array([2, 2, 0])
    other.restore(pickle.loads(pickle.dumps(snapshot)).take(order))
    env.restore(snapshot.take(order), np.arange(3))
    for a in actions[10:]:
        rows = zip(env.step(a)[:4], other.step(a)[:4], strict=True)
        assert all(np.array_equal(mine, theirs) for mine, theirs in rows)


@pytest.mark.parametrize(
    ("name", "reason"), [("Global", "another way"), ("Server", "another way"), ("Uncopied", "cannot be copied")]
)
def test_worlds_whose_copies_would_lie_run_but_are_not_saved(name: str, reason: str) -> None:
    env = own(name).make(2)
    assert env.exactness is Exactness.NONE
    env.reset(seed=0)
    env.step(np.zeros((2, 1)))
    with pytest.raises(UserError, match=reason):
        env.snapshot()


def test_a_copy_is_trusted_where_it_may_be() -> None:
    assert why_not_copied(Drift()) == ""


def test_a_time_limit_of_its_own_must_be_the_horizon() -> None:
    env = own("Drift", horizon=6, low=-1.0, high=0.0, cut=6).make(2)
    env.reset(seed=0)
    for _ in range(6):
        *_, truncated, _ = env.step(-np.ones((2, 1)))
    assert truncated.all()
    env = own("Drift", horizon=20, low=-1.0, high=0.0, cut=6).make(2)
    env.reset(seed=0)
    for _ in range(5):
        env.step(-np.ones((2, 1)))
    with pytest.raises(UserError, match=r"set task\.horizon=6"):
        env.step(-np.ones((2, 1)))


def test_a_batch_with_resets_by_mask_is_taken_whole() -> None:
    env = own("Batch", horizon=4).make(3)
    obs, _ = env.reset(seed=0)
    assert len(np.unique(obs)) == 3
    for _ in range(4):
        obs, _, terminated, truncated, info = env.step(np.array([[1.0], [0.0], [0.1]]))
    assert truncated.tolist() == [False, True, True] and terminated.tolist() == [True, False, False]
    assert 0 <= obs[1, 0] < 1 and info["final_obs"].shape == (3, 1)
    with pytest.raises(UserError, match="all its worlds at once"):
        env.advance(np.array([0]), np.zeros((1, 1)))
    with pytest.raises(UserError, match=r"gymnasium\.Env class"):
        env.snapshot()


def test_a_batch_that_cuts_itself_off_is_told_the_number_to_set() -> None:
    env = own("Batch", horizon=20, cut=3).make(2)
    env.reset(seed=0)
    for _ in range(2):
        env.step(np.zeros((2, 1)))
    with pytest.raises(UserError, match=r"cut off after 3 steps of 20: set task\.horizon=3"):
        env.step(np.zeros((2, 1)))
    env = own("Batch", horizon=3, cut=3).make(2)
    env.reset(seed=0)
    ends = [env.step(np.zeros((2, 1)))[3].all() for _ in range(6)]
    assert ends == [False, False, True] * 2


def test_a_batch_may_say_is_success() -> None:
    env = own("Batch").make(2)
    env.reset(seed=0)
    assert env.step(np.full((2, 1), 1.0))[4]["success"].all()


def test_a_batch_that_resets_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[HERE], "Theirs", CartPoleVectorEnv, raising=False)
    with pytest.raises(UserError, match=r"AutoresetMode\.DISABLED"):
        own("Theirs").make(2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Custom(env="Pendulum-v9"), "did you mean Pendulum-v1"),
        (Custom(env="no_such_module:Env"), "no module 'no_such_module'"),
        (Custom(env="own_worlds:Drif", horizon=5), "did you mean Drift"),
        (Custom(env="own_worlds:Drift"), "horizon=1000, or as a class attribute"),
        (Custom(env="own_worlds:Drift", horizon=5, arguments={"wind": 1}), "wind"),
        (Custom(env="own_worlds:Mixed", horizon=5, arguments={"undriven": True}), "bounded vector"),
    ],
)
def test_what_does_not_fit_is_said(config: Custom, message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.make(1)


def test_a_class_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["from gymnasium.envs.classic_control import PendulumEnv", "class Mine(PendulumEnv): horizon = 40"]
    (tmp_path / "beside_me.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert Custom(env="beside_me:Mine").make(1).horizon == 40
    assert Custom(env="beside_me:Mine", horizon=30).make(1).horizon == 30


def test_frames_are_the_environments_own_and_registered_ones_are_made_to_draw() -> None:
    assert own("Drift").make(1).frame().shape == (4, 4, 3)
    env = Custom(env="Pendulum-v1").make(1)
    env.reset(seed=0)
    pytest.importorskip("pygame")
    assert env.frame().shape == (500, 500, 3)


def test_an_environment_that_cannot_draw_says_how_it_could(monkeypatch: pytest.MonkeyPatch) -> None:
    env = own("Drift").make(1)
    simulation = env.simulation
    assert isinstance(simulation, OneByOne)

    def missing() -> None:
        raise gymnasium.error.DependencyNotInstalled("run `pip install gymnasium[classic-control]`")

    monkeypatch.setattr(simulation.worlds[0], "render", missing)
    with pytest.raises(UserError, match="pip install"):
        env.frame()
    monkeypatch.setattr(simulation.worlds[0], "render", lambda: None)
    with pytest.raises(UserError, match="rgb_array"):
        env.frame()
