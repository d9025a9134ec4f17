"""Tasks by name, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from bellmark.config import Choice
from bellmark.envs.cartpole import CartPole
from bellmark.envs.custom import Custom
from bellmark.envs.dmc import Dmc
from bellmark.envs.facts import describe, measure
from bellmark.envs.humanoid import H1
from bellmark.envs.pick_cube import PickCube
from bellmark.envs.probe import Probe
from bellmark.envs.suite import SUITES, TASKS, make_env, parse_task
from bellmark.errors import UserError


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("pick_cube", PickCube()),
        ("dmc/dog-run", Dmc(task="dog-run")),
        ("dog-run", Dmc(task="dog-run")),
        ("dmc/dog_run", Dmc(task="dog-run")),
        ("ball_in_cup-catch", Dmc(task="cup-catch")),
        ("cartpole-swingup_sparse", Dmc(task="cartpole-swingup-sparse")),
        ("h1-walk", H1(task="walk")),
        ("h1-walk-v0", H1(task="walk")),
        ("humanoid_h1-slide-v0", H1(task="slide")),
        ("humanoid-walk", Dmc(task="humanoid-walk")),
        (" CartPole ", CartPole()),
        ("cartpole/pixels", CartPole(observation="pixels")),
        ("probe/policy", Probe(name="policy")),
        ("time-limit", Probe(name="time-limit")),
        ("gym/Pendulum-v1", Custom(env="Pendulum-v1")),
        ("some.module:Class", Custom(env="some.module:Class")),
    ],
)
def test_a_name_stands_for_a_configuration(text: str, config: Choice) -> None:
    assert parse_task(text) == config


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("dmc/dog-rum", "dog-run"),
        ("h1-wlak", "h1-walk"),
        ("humanoid_h1-crawl-v0", "h1-walk"),
        ("pickcube", "pick_cube"),
        ("probe/polcy", "probe/policy"),
        ("hoper-hop", "hopper-hop"),
    ],
)
def test_a_name_that_stands_for_nothing_gets_the_nearest_ones(text: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"unknown task .*{near}"):
        parse_task(text)


def test_every_task_parses_to_what_its_suite_makes() -> None:
    assert len(TASKS) == sum(len(tasks) for _, tasks in SUITES.values())
    for name, build in TASKS.items():
        assert parse_task(name) == build()


def test_worlds_and_threads_are_counted_from_one() -> None:
    with pytest.raises(UserError, match="num_envs=0"):
        make_env(CartPole(), 0)
    assert make_env(CartPole(), 3, threads=2).num_envs == 3


def test_facts_are_those_of_the_worlds() -> None:
    facts = describe("cartpole/pixels")
    assert (facts.observation, facts.action, facts.horizon) == ("64x64x3 uint8", "2 choices", 500)
    assert (facts.repeat, facts.exactness, facts.missing) == (1, "bitwise", "")


def test_what_a_task_lacks_is_part_of_its_facts(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from bellmark.envs.humanoid.model import load_model

    load_model.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "bellmark assets humanoid" in describe("h1-walk").missing


@pytest.mark.parametrize("name", ["cartpole", "cartpole/continuous", "probe/policy", "pick_cube"])
def test_speed_is_measured_over_whole_batches(name: str) -> None:
    speed = measure(name, num_envs=4, threads=1, seconds=0.05)
    assert speed.steps_per_second > 0 and np.isfinite(speed.steps_per_second)
