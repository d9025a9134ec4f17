"""Collectors in processes of their own: the same rows, weights that arrive, a replay ratio that holds, no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import portable_learner
import pytest
import torch
from fake_learner import FakeConfig, FakeLearner
from portable_learner import PortableLearner

from bellmark.agents.api import Collect, Evaluation, Metrics, Processes, Schedule
from bellmark.envs.probe import Probe
from bellmark.errors import UserError
from bellmark.replay import Replay
from bellmark.train.collectors import Build, Collectors, share
from bellmark.train.online import Online
from bellmark.train.worlds import RandomPolicy, blank_row, spec_of

STEP = Processes(count=1, swap="step", push_every=1, ahead=8)


@contextmanager
def playing(
    where: Processes, worlds: int, *, random: int = 0, build: Build = portable_learner.build
) -> Iterator[tuple[Collectors, PortableLearner, Replay]]:
    env = Probe(name="time-limit").make(worlds)
    spec = spec_of(env)
    learner = PortableLearner(spec)
    learner.schedule = Schedule(random, 0, 0.5)
    replay = Replay(2000, worlds, blank_row(spec, learner.blank))
    policy = RandomPolicy(spec) if random else learner
    collectors = Collectors(where, learner, build, env, 3, policy, replay.append)
    try:
        yield collectors, learner, replay
    finally:
        collectors.close()


def lanes(replay: Replay) -> dict[str, torch.Tensor]:
    return {k: v.view(replay.worlds, replay.rows, *v.shape[1:]) for k, v in replay.columns.items()}


def test_rows_are_those_of_worlds_in_this_process_and_a_full_ring_makes_its_process_wait() -> None:
    # As in test_online: 11 steps of episodes of five, reward 1 each, then the time limit.
    with playing(STEP, 2) as (collectors, _, replay):
        for _ in range(11):
            collectors.step()
        columns = {k: v[:, :13] for k, v in lanes(replay).items()}
        assert replay.written.tolist() == [13, 13]
        first = [True, *[False] * 5] * 2 + [True]
        assert columns["first"].tolist() == [first] * 2
        assert columns["reward"].tolist() == [[0.0 if f else 1.0 for f in first]] * 2
        assert not columns["terminated"].any()
        assert columns["steps"].tolist() == [[0, 1, 2, 3, 4, -1] * 2 + [0]] * 2
        news = collectors.news()
        assert {k: v for k, v in news.items() if k.startswith("train/")} == {
            "train/return": 5.0, "train/length": 5.0, "train/episodes": 4.0,
        }  # fmt: skip
        deadline = time.monotonic() + 20
        while (waiting := collectors.news()["replay/waiting"]) < 16 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        assert collectors.news()["replay/waiting"] == waiting == 2 * 8  # ahead=8 steps of two worlds: it waits


def test_weights_arrive_between_episodes_only() -> None:
    with playing(Processes(ahead=3, push_every=2), 2) as (collectors, learner, replay):
        for number in range(60):
            collectors.step()
            learner.weight = torch.tensor(float(number + 1))
            collectors.learned(number)
        columns = lanes(replay)
        for lane in range(2):
            written = int(replay.written[lane])
            first, action = columns["first"][lane, :written], columns["action"][lane, :written, 0]
            episode = first.long().cumsum(0)
            episodes = [action[episode == e][:5] for e in range(1, int(episode[-1]))]  # whole ones, without blank rows
            assert all((e == e[0]).all() for e in episodes)
            assert len({float(e[0]) for e in episodes}) > 3
            assert float(episodes[-1][0]) > 40


def test_weights_arrive_between_steps_where_asked() -> None:
    with playing(STEP, 1) as (collectors, learner, replay):
        for number in range(60):
            collectors.step()
            learner.weight = torch.tensor(float(number + 1))
            collectors.learned(number)
        columns = {k: v[0, : int(replay.written[0])] for k, v in lanes(replay).items()}
        episode, action = columns["first"].long().cumsum(0), columns["action"][:, 0]
        steps = [action[episode == e][:5] for e in range(1, int(episode[-1]))]  # whole ones, without blank rows
        assert any(len(weights.unique()) > 1 for weights in steps)  # how many depends on how processes take turns
        assert float(action.max()) >= 60 - 1 - 8 - 2  # at most a ring and a step old


def test_random_steps_come_first_and_the_policy_waits_for_the_learner() -> None:
    with playing(STEP, 2, random=12) as (collectors, learner, replay):
        for _ in range(6):
            collectors.step()
        time.sleep(0.5)
        assert collectors.news()["replay/waiting"] == 0  # nobody plays an untrained policy meanwhile
        learner.weight = torch.tensor(9.0)
        collectors.hand_over(learner)
        for _ in range(6):
            collectors.step()
        columns = lanes(replay)
        number = torch.arange(int(replay.written[0]))
        steps = columns["steps"][0, : len(number)]
        assert (steps[:7] == -1).all()  # six random steps and a final row: the blank value
        assert (columns["action"][0, 7:8] == 9).all()


def online(folder: Path, where: Processes, per_step: float) -> Online:
    collect = Collect(envs=2, log_every=200, where=where)
    config = FakeConfig(steps=1000, collect=collect, evaluation=Evaluation(every=1000, episodes=2))
    env, learner = portable_learner.build(2)
    learner.schedule = Schedule(0, 0, per_step)
    players = partial(Collectors, where, learner, portable_learner.build)
    return Online(config, learner, env, folder, "cpu", players)


def close(agent: Online) -> None:
    assert isinstance(agent._worlds, Collectors)
    agent._worlds.close()


@pytest.mark.parametrize("slow", ["learner", "collectors"])
def test_the_realised_replay_ratio_is_the_one_asked_for(tmp_path: Path, slow: str) -> None:
    # The earlier code collected 52 times too much: its collector was held back by a queue that was always empty.
    per_step = 0.5 if slow == "learner" else 0.02
    agent = online(tmp_path, STEP, per_step)
    rows: list[Metrics] = []
    while agent.step < 1000 or not rows:
        if row := agent.iterate():
            rows.append(row)
    close(agent)
    asked = per_step * 18  # 6 slices of 3 rows
    collected = 1000 + rows[-1]["replay/waiting"]
    assert rows[-1]["replay/ratio"] == pytest.approx(asked, rel=0.01)
    assert agent.updates * 18 / collected == pytest.approx(asked, rel=0.1)
    assert {"throughput/steps", "throughput/updates", "throughput/transitions"} <= rows[-1].keys()
    assert rows[-1]["throughput/transitions"] == pytest.approx(18 * rows[-1]["throughput/updates"])


def test_a_resumed_run_begins_new_episodes_and_counts_on(tmp_path: Path) -> None:
    agent = online(tmp_path, STEP, 0.5)
    while not agent.iterate():
        pass
    state = agent.state_dict()
    close(agent)
    again = online(tmp_path, STEP, 0.5)
    again.load_state_dict(state)
    before = again.replay.written.clone()
    while again.step < 1000:
        again.iterate()
    close(again)
    assert again.updates == 500
    new = lanes(again.replay)["first"][torch.arange(2), before]
    assert new.all()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (portable_learner.crash, RuntimeError, "on purpose"),
        (portable_learner.refuse, UserError, "^no such thing$"),
        (portable_learner.vanish, RuntimeError, "ended with exit code 7"),
    ],
)
def test_what_happens_to_a_collector_is_told(build: Build, error: type[Exception], message: str) -> None:
    with playing(STEP, 1, build=build) as (collectors, _, _), pytest.raises(error, match=message):
        collectors.step()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            Processes(count=3, swap="step"),
            "count=3 processes cannot share collect.envs=4 evenly; choose one of 1, 2, 4",
        ),
        (Processes(count=2), "swap=episode needs a process per world: set collect.where.count=4"),
    ],
)
def test_worlds_that_cannot_be_shared_are_refused(where: Processes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        share(4, where)
    assert share(4, Processes()) == [1, 1, 1, 1]
    assert share(4, STEP) == [4]


def test_a_learner_that_cannot_be_copied_is_refused() -> None:
    env = Probe(name="time-limit").make(1)
    learner = FakeLearner(spec_of(env))
    with pytest.raises(UserError, match="cannot play in other processes"):
        Collectors(STEP, learner, portable_learner.build, env, 3, learner, lambda *a: None)


SCRIPT = """
import signal, sys, time
from functools import partial
import portable_learner
from bellmark.agents.api import Processes
from bellmark.envs.probe import Probe
from bellmark.train.collectors import Collectors
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    env, learner = portable_learner.build(2)
    c = Collectors(Processes(count=1, swap="step"), learner, portable_learner.build, env, 3, learner, lambda *a: None)
    c.step()
    try:
        print(*[p.pid for p in c._processes], flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        c.step()  # collectors still play: they leave when they are told
        print("played", flush=True)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_the_learner(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(Path(portable_learner.__file__).parent), os.environ.get("PYTHONPATH", "")])
    learner = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    assert learner.stdout is not None
    collectors = [int(pid) for pid in learner.stdout.readline().split()]
    assert len(collectors) == 1 and all(map(alive, collectors))
    if number is signal.SIGKILL:
        learner.kill()
    else:
        os.killpg(learner.pid, number)  # as Ctrl-C does: everybody hears it
    output, _ = learner.communicate(timeout=240)
    assert (output == "played\n") == (number is signal.SIGINT)
    deadline = time.monotonic() + 20
    while any(map(alive, collectors)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, collectors))
