"""Evaluation: whole first episodes from fixed, paired start states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bellmark.agents.api import Decision, State
from bellmark.envs.cartpole import CartPole
from bellmark.envs.pick_cube import PickCube
from bellmark.envs.probe import Probe
from bellmark.train.evaluate import evaluate, play
from bellmark.train.worlds import summary


class Constant:
    """A policy of one action, with noise when sampled; remembers the batch sizes it was asked for."""

    def __init__(self, action: list[float], spread: float = 0.0) -> None:
        self.action = torch.tensor(action)
        self.spread = spread
        self.sizes: list[int] = []

    def initial(self, worlds: int) -> State:
        return {"steps": torch.zeros(worlds)}

    def act(
        self,
        obs: torch.Tensor,
        first: torch.Tensor,
        state: State,
        *,
        deterministic: bool,
        generator: torch.Generator,
    ) -> Decision:
        assert len(first) == len(state["steps"]) == len(obs)
        assert (first == (state["steps"] == 0)).all()
        self.sizes.append(len(obs))
        action = self.action.expand(len(obs), -1)
        noise = 0.0 if deterministic else self.spread * torch.randn(action.shape, generator=generator)
        return Decision(action + noise, {"steps": state["steps"] + 1})


def test_each_world_plays_one_episode_and_leaves():
    # x = k/4 ends after k steps with reward 1 each: returns and lengths are 4 x of the start state.
    env = Probe(name="terminal").make(32)
    starts = 4 * env.reset(seed=5)[0][:, 0]
    policy = Constant([0.0])
    episodes = play(policy, env, 5, deterministic=True)
    assert np.array_equal(episodes.returns, starts)
    assert np.array_equal(episodes.length, starts)
    assert policy.sizes == [int((starts > k).sum()) for k in range(4)]


def test_time_limits_end_an_episode():
    episodes = play(Constant([0.0]), Probe(name="time-limit").make(3), 0, deterministic=True)
    assert episodes.length.tolist() == [5, 5, 5]


def test_start_states_are_shared_and_do_not_depend_on_the_number_of_episodes():
    few, many = (play(Constant([0.0] * 8), PickCube(reward="dense").make(n), 7, deterministic=True) for n in (3, 6))
    assert np.array_equal(few.returns, many.returns[:3])


def test_both_modes_are_repeatable_and_named():
    policy = Constant([0.0], spread=0.5)
    env = Probe(name="policy").make(64)
    first, again = evaluate(policy, env, 3), evaluate(policy, env, 3)
    assert first == again
    # Deterministic: 1 - (0 - 1/2)^2 in every episode, and no action within 0.1 of the best one.
    assert first["eval/return"] == pytest.approx(0.75)
    assert first["eval/success"] == 0.0
    assert 0 < first["eval/success_sampled"] < 1
    assert first["eval/episodes"] == 64


def test_a_task_that_knows_no_success_has_none_recorded():
    assert not [name for name in evaluate(Constant([0.0, 1.0]), CartPole().make(2), 3) if "success" in name]
    assert "train/success" not in summary([(9.0, 9.0, 0.0)], succeeds=False)
    assert summary([(9.0, 9.0, 0.0), (1.0, 2.0, 1.0)], succeeds=True)["train/success"] == 0.5


def test_success_at_any_step_counts():
    episodes = play(Constant([0.5]), Probe(name="policy").make(4), 0, deterministic=True)
    assert episodes.success.all()
