"""The online loop: what reaches replay, when updates are due, what a stop and a resume leave equal."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_learner import FakeConfig, FakeLearner

from bellmark.agents.api import Collect, Schedule, Window
from bellmark.cli.families import resolve
from bellmark.config import build
from bellmark.envs.cartpole import CartPole
from bellmark.errors import UserError
from bellmark.replay import Replay
from bellmark.train import checkpoint
from bellmark.train.online import Online
from bellmark.train.worlds import RandomPolicy, Worlds, as_obs, blank_row, command, spec_of


def online(folder: Path, config: FakeConfig | None = None, schedule: Schedule | None = None) -> Online:
    config = config or FakeConfig()
    env = config.task.make(config.collect.envs)
    learner = FakeLearner(spec_of(env))
    learner.schedule = schedule or learner.schedule
    return Online(config, learner, env, folder, "cpu")


def to_the_end(agent: Online) -> list[dict[str, float]]:
    rows = []
    while agent.step < agent.total or not rows or rows[-1]["steps/real"] < agent.total:
        if row := agent.iterate():
            rows.append({k: v for k, v in row.items() if not k.startswith(("time/", "throughput/"))})
    return rows


def test_an_episode_of_k_steps_is_k_plus_1_rows_aligned_as_the_protocol_says():
    # The time-limit probe: x stays, reward 1 at each of five steps, then the time limit, never a termination.
    env = FakeConfig().task.make(2)
    spec = spec_of(env)
    replay = Replay(100, 2, blank_row(spec, {"steps": torch.full((), -1.0)}))
    worlds = Worlds(env, 3, FakeLearner(spec), replay.append)
    for _ in range(11):
        worlds.step()
    columns = {k: v.view(2, 50, *v.shape[1:])[:, :13] for k, v in replay.columns.items()}
    assert replay.written.tolist() == [13, 13]  # 11 steps and two final observations
    first = [True, *[False] * 5] * 2 + [True]
    assert columns["first"].tolist() == [first] * 2
    assert columns["reward"].tolist() == [[0.0 if f else 1.0 for f in first]] * 2
    assert not columns["terminated"].any()
    assert columns["steps"].tolist() == [[0, 1, 2, 3, 4, -1] * 2 + [0]] * 2
    assert (columns["action"][:, [5, 11]] == 0).all()  # the final observation's action is blank
    assert (columns["action"][:, :5] != 0).all()
    assert worlds.news() == {"train/return": 5.0, "train/length": 5.0, "train/episodes": 4.0}
    assert worlds.news() == {}


def test_a_termination_is_told_from_a_time_limit_and_choices_are_one_hot():
    env = CartPole().make(4)
    spec = spec_of(env)
    assert spec.discrete
    replay = Replay(4000, 4, blank_row(spec, {}))
    worlds = Worlds(env, 0, RandomPolicy(spec), replay.append)
    for _ in range(100):
        worlds.step()
    rows = replay.read(torch.arange(4)[:, None] * replay.rows + torch.arange(50))
    assert rows["terminated"].any()
    last = rows["action"].sum(-1) == 0
    assert torch.equal(last, rows["terminated"])
    assert set(rows["action"][~last].sum(-1).tolist()) == {1.0}
    assert torch.equal(last[:, :-1], rows["first"][:, 1:])
    assert command(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), spec).tolist() == [1, 0]


def test_updates_are_paid_as_owed_with_pretraining_at_the_end_of_the_random_phase(tmp_path):
    # 2 worlds, 20 random steps, 3 updates of pretraining, then half an update per step to step 120: 3 + 50.
    agent = online(tmp_path)
    rows = to_the_end(agent)
    steps = [step for step, _ in agent.learner.seen]
    assert steps[:5] == [20, 20, 20, 22, 24]
    assert len(steps) == agent.updates == 53
    assert [row["steps/real"] for row in rows] == [20, 40, 60, 80, 100, 120]
    assert rows[-1]["replay/ratio"] == pytest.approx(53 * 6 * 3 / 120)
    assert rows[-1]["steps/updates"] == 53
    ages = agent.replay.columns["age"]
    held = torch.cat([ages[lane * agent.replay.rows :][: int(agent.replay.written[lane])] for lane in range(2)])
    assert held.sum() > 0.8 * 53 * 6  # write-back arrived: at least one count per slice, overlaps count once


@pytest.mark.parametrize("stops", [(1,), (3, 4, 5), (2, 30)])
def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(tmp_path, stops, monkeypatch):
    monkeypatch.setattr("bellmark.train.online.SLICE", 1e-9)  # one unit of work per call
    whole = online(tmp_path / "whole")
    expected = to_the_end(whole)
    rows: list[dict[str, float]] = []
    agent, count = online(tmp_path / "parts"), 0
    while not rows or rows[-1]["steps/real"] < agent.total:
        if row := agent.iterate():
            rows.append({k: v for k, v in row.items() if not k.startswith(("time/", "throughput/"))})
        count += 1
        if count in stops or count % 37 == 0:
            data = checkpoint.pack("fake", {}, agent.state_dict())
            agent = online(tmp_path / "parts")
            agent.load_state_dict(checkpoint.unpack(data, "memory")["state"])
    assert rows == expected
    assert agent.learner.seen == whole.learner.seen
    folder = tmp_path / "parts"
    pieces = sum(len(torch.load(p, weights_only=True)["row"]) for p in folder.glob("*.pt"))
    assert pieces < 10 * len(agent.replay)  # old pieces are folded in


def test_hot_slices_are_some_of_the_batch_and_of_the_newest_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(FakeLearner, "window", Window(batch=6, length=3, whole=True, hot=4, hot_rows=24))
    agent = online(tmp_path)
    while agent.step < agent.total:
        agent.iterate()
    rows = agent._draw().rows
    age = agent.replay.written[rows // agent.replay.rows] - rows % agent.replay.rows  # 1: the newest of its world
    assert rows.shape == (3, 6) and (age[:, 2:] <= 24 // 2).all()  # twelve rows of each of two worlds
    assert (torch.stack([agent._draw().rows for _ in range(50)])[..., :2] < 20).any()  # the others are of any age


@pytest.mark.parametrize(("every", "seen"), [(1, [1, 2, 3, 4]), (3, [0, 0, 3, 3]), (-1, [0, 0, 0, 0])])
def test_rows_can_be_learned_from_as_often_as_is_asked(tmp_path, every, seen):
    collect = Collect(envs=2, log_every=20, insert_every=every)
    agent = online(tmp_path, FakeConfig(collect=collect), Schedule(random_steps=100, pretrain=0, per_step=0.5))
    found = []
    for _ in seen:  # of an episode of five steps
        agent._step()
        found.append(int(agent.replay.visible[0]))
    assert found == seen


@pytest.mark.parametrize(("reward", "obs", "what"), [(math.nan, 0.0, "reward"), (0.0, math.inf, "observation")])
def test_what_is_no_number_never_reaches_replay(tmp_path, monkeypatch, reward, obs, what):
    agent = online(tmp_path)
    env = agent._worlds.env
    right = env.step

    def step(action):
        new, gain, *rest, info = right(action)
        gain[1] += reward
        info["final_obs"] = info["final_obs"] + np.array([[0.0], [obs]], dtype=np.float32)
        return (new, gain, *rest, info)

    monkeypatch.setattr(env, "step", step)
    with pytest.raises(UserError, match=f"the {what} of world 1 is not finite"):
        agent._step()


def test_policies_without_random_phase_begin_with_the_learner(tmp_path):
    agent = online(tmp_path, schedule=Schedule(random_steps=0, pretrain=0, per_step=0.5))
    to_the_end(agent)
    assert (agent.replay.columns["steps"][:6] >= 0).sum() == 5  # five decisions and the final row's blank


@pytest.mark.parametrize("recipe", ["tdmpc2", "dreamer_v3"])
def test_rows_and_evaluations_must_fall_together(recipe):
    rows = ["collect.envs=2", "collect.log_every=20"]
    resolve(recipe, [*rows, "evaluation.every=60"])
    with pytest.raises(UserError, match=r"evaluation\.every=50 must be a multiple of collect\.log_every=20"):
        resolve(recipe, [*rows, "evaluation.every=50"])
    with pytest.raises(UserError, match=r"collect\.log_every=20 must be a multiple of collect\.envs=3"):
        resolve(recipe, [*rows, "collect.envs=3", "evaluation.every=60"])


def test_observations_stay_pictures_or_become_float32():
    pixels = spec_of(CartPole(observation="pixels").make(1))
    state = spec_of(CartPole().make(1))
    assert pixels.pixels and as_obs(torch.zeros(2, 2, dtype=torch.uint8).numpy(), pixels).dtype == torch.uint8
    assert as_obs([[0.5]], state).dtype == torch.float32
    assert build(FakeConfig, {}).collect.capacity == 1_000_000
