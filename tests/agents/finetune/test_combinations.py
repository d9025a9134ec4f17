"""Every combination of schedule, critic, source and update is accepted, and then runs, or refused with its reason.

All of them are validated. A subset that shows every accepted pair of options together is trained for two iterations.
"""

from __future__ import annotations

import copy
import itertools
import math
import random
from functools import cache

import pytest
import torch
from finetune_small import QUICK, agent, choices, config

from bellmark.agents.finetune.config import Finetune
from bellmark.config import build
from bellmark.errors import UserError

SIMULATED = ("branch", "timestep_mean")
ON_ITS_OWN = ("td", "continued", "iql", "returns")  # critics that the policy's minibatches do not train
MAIN = ("data", "critic", "advantage", "update")
# What belongs to one choice of another option only, and the main options it hangs on.
BELONGS = {
    "critic.initial": {"critic": "joint"},
    "critic.data": {"critic": "iql"},
    "advantage.beyond": {"advantage": "branch"},
    "advantage.allocation": {"advantage": "branch"},
}
EITHER = ("advantage.continuation", "advantage.noise")  # of both sources that simulate
FREE = ("start", "control")


def test_every_option_is_in_the_matrix():
    assert set(choices()) == {"task", *MAIN, *BELONGS, *EITHER, *FREE}


def refusal(row: dict[str, str]) -> str:
    """What a combination is refused with, by rules written apart from the code's; empty where it makes sense."""
    data, critic, advantage, update = (row[name] for name in MAIN)
    beyond = row.get("advantage.beyond", "nothing")
    if critic == "none" and advantage in ("gae", "monte_carlo"):
        return "needs a value network"
    if advantage == "q_minus_v" and critic not in ("iql", "returns"):
        return "needs a critic with action values"
    if row.get("critic.initial") == "stored" and row.get("start") != "stored":
        return "needs start=stored"
    if critic == "none" and beyond != "nothing":
        return "needs values of the continuation"
    if critic == "continued" and advantage not in SIMULATED:
        return "starts from saved states"
    if critic in ON_ITS_OWN and advantage in SIMULATED and beyond == "nothing":
        return "trained for nothing"
    if row.get("critic.initial") == "targets" and advantage in SIMULATED:
        return "would re-roll every time"
    if data == "offline" and update in ("ppo", "pg"):
        return "is for data of the policy itself"
    if data in ("once", "replay") and update == "pg":
        return "keeps rows of earlier policies"
    if critic == "continued" and data in ("replay", "offline"):
        return "from the states of one rollout"
    if advantage == "timestep_mean" and data in ("replay", "offline"):
        return "at the same time of one rollout"
    if data == "replay" and advantage in SIMULATED:
        return "re-roll every kept rollout again"
    if critic == "continued" and row.get("advantage.continuation") == "current":
        return "learns a stored policy's values"
    return ""


def overrides(row: dict[str, str]) -> list[str]:
    """As they are written."""
    return [f"{name}={choice}" for name, choice in row.items()]


@pytest.mark.parametrize("advantage", choices()["advantage"])
@pytest.mark.parametrize("critic", choices()["critic"])
def test_every_combination_is_accepted_or_refused_with_the_reason(critic, advantage):
    beyond = choices()["advantage.beyond"] if advantage == "branch" else ["nothing"]
    for data, update, cut in itertools.product(choices()["data"], choices()["update"], beyond):
        row = {"data": data, "critic": critic, "advantage": advantage, "update": update}
        row |= {"advantage.beyond": cut} if advantage == "branch" else {}
        if reason := refusal(row):
            with pytest.raises(UserError, match=reason):
                build(Finetune, {}, [*QUICK, *overrides(row)])
        else:
            assert build(Finetune, {}, [*QUICK, *overrides(row)]).data.kind == data


def draw(rng: random.Random) -> dict[str, str]:
    """A row of the matrix: every option that applies, at random."""
    every = choices()
    row = {name: rng.choice(every[name]) for name in (*MAIN, *FREE)}
    for name, needs in BELONGS.items():
        row |= {name: rng.choice(every[name])} if needs.items() <= row.items() else {}
    if row["advantage"] in SIMULATED:
        row |= {name: rng.choice(every[name]) for name in EITHER}
    return row


def pairs(row: dict[str, str]) -> set[frozenset[tuple[str, str]]]:
    """What it shows together."""
    return {frozenset(two) for two in itertools.combinations(row.items(), 2)}


@cache
def covering() -> list[dict[str, str]]:
    """Sensible rows that show every pair that any of some 1,500 random ones shows; greedily few."""
    rng = random.Random(0)
    rows = [row for row in (draw(rng) for _ in range(8_000)) if not refusal(row)]
    shown = [pairs(row) for row in rows]
    left = set().union(*shown)
    chosen = []
    while left:
        best = max(range(len(rows)), key=lambda i: len(shown[i] & left))
        left -= shown[best]
        chosen.append(rows[best])
    return chosen


def test_the_trained_rows_show_every_pair_of_main_options_that_makes_sense():
    every, sensible = choices(), set()
    for main in itertools.product(*(every[name] for name in MAIN)):
        row = dict(zip(MAIN, main, strict=True))
        for cut in every["advantage.beyond"] if row["advantage"] == "branch" else ["nothing"]:
            sensible |= pairs(row) if not refusal({**row, "advantage.beyond": cut}) else set()
    assert sensible == {two for row in covering() for two in pairs({name: row[name] for name in MAIN})}


def two_iterations(*said: str) -> list[dict[str, float]]:
    """Run twice; everything is a number, and the policy has moved."""
    learner = agent(*QUICK, *said)
    before = copy.deepcopy(learner.policy.state_dict())
    learner.prepare()
    metrics = [learner.iterate(), learner.iterate()]
    assert all(isinstance(v, float) and math.isfinite(v) for row in metrics for v in row.values())
    assert any(not torch.equal(before[k], v) for k, v in learner.policy.state_dict().items())
    return metrics


@pytest.mark.parametrize("row", covering(), ids=lambda row: "-".join(row.values()))
def test_every_pair_of_options_runs(row):
    first, second = two_iterations(*overrides(row))
    data = row["data"]
    assert second["steps/real"] == {"iterate": 48, "once": 24, "replay": 48, "offline": 0}[data]
    # Offline: two checkpoints, 4 worlds, 6 steps. Continued: 24 starts, 25 steps, at every new data. Collected: three
    # checkpoints, 3 worlds, one step, once. A pretrained critic: 3 worlds, 50 steps, once.
    gathered = 48 * (data == "offline")
    gathered += 600 * (row["critic"] == "continued") * (2 if data == "iterate" else 1)
    gathered += 9 * (row.get("critic.data") == "collected") + 150 * (row.get("critic.initial") == "pretrained")
    assert second["steps/gathered"] == gathered
    assert (first["steps/branch"] > 0) == (row["advantage"] in SIMULATED)
    if data in ("once", "offline"):
        assert second["steps/branch"] == first["steps/branch"]  # the estimate is kept with its data


@pytest.mark.parametrize("advantage", SIMULATED)
def test_more_worlds_than_maniskill_can_hold_are_refused_before_anything_runs(advantage):
    branching = ["task=maniskill", f"advantage={advantage}", "critic=none"]
    with pytest.raises(UserError, match=r"advantage\.worlds=16384 is too many .* set advantage\.worlds=512"):
        build(Finetune, {}, branching)
    assert build(Finetune, {}, [*branching, "advantage.worlds=512"]).task.kind == "maniskill"


def test_values_that_would_be_re_rolled_or_are_of_another_policy_are_refused():
    with pytest.raises(UserError, match=r"critic\.extra_epochs regress values to targets that advantage=branch"):
        config("advantage=branch", "critic.extra_epochs=1")
    cut = ["advantage=branch", "advantage.beyond=bootstrap", "critic=continued"]
    with pytest.raises(UserError, match=r"pickcube_weak is not the policy that replicas follow .*pickcube_optimal"):
        config(*cut, "critic.checkpoint=pickcube_weak")
    with pytest.raises(UserError, match=r"reward_scale=2\.0 is for learned values"):
        config("advantage=branch", "reward_scale=2")


def test_collected_data_is_learned_from_once_before_the_first_step():
    learner = agent(*QUICK, "critic=iql", "critic.data=collected", "advantage=q_minus_v")
    new = [p.clone() for p in learner.critic.parameters()]
    assert learner.prepare().keys() >= {"critic/td_loss", "critic/return_correlation", "time/critic"}
    before, gathered = [p.clone() for p in learner.critic.parameters()], learner.gathered_steps
    assert learner.step == 0 and gathered > 0
    assert not all(torch.equal(a, b) for a, b in zip(new, before, strict=True))
    learner.iterate()
    assert all(torch.equal(a, b) for a, b in zip(before, learner.critic.parameters(), strict=True))
    assert learner.gathered_steps == gathered


def test_a_critic_is_pretrained_once_and_keeps_what_it_learns_since():
    # Regressing it on the other policy's returns at every new data would undo the minibatches' learning.
    learner = agent(*QUICK, "critic.initial=pretrained", "critic.initial.worlds=3", "critic.initial.rollouts=1")
    assert learner.prepare().keys() == {"loss/value", "time/critic"}
    gathered = learner.gathered_steps
    learner.iterate()
    learned = [p.clone() for p in learner.critic.parameters()]
    learner.update = lambda rollout, estimate: {}  # type: ignore[method-assign]  # new data, no minibatches
    learner.iterate()
    assert all(torch.equal(a, b) for a, b in zip(learned, learner.critic.parameters(), strict=True))
    assert learner.gathered_steps == gathered == 150


def test_warming_up_lasts_as_many_iterations_however_many_rows_are_learned_from():
    learner = agent(*QUICK, "data=replay", "critic.warmup_iterations=2", "steps=96")
    start = copy.deepcopy(learner.policy.state_dict())
    moved = []
    for _ in range(4):
        learner.iterate()
        moved.append(any(not torch.equal(start[k], v) for k, v in learner.policy.state_dict().items()))
    assert moved == [False, False, True, True]


@pytest.mark.parametrize(
    "critic",
    [
        (
            "critic.initial=pretrained",
            "critic.initial.worlds=3",
            "critic.initial.rollouts=1",
            "critic.initial.epochs=4",
        ),
        ("critic=iql", "critic.data=collected", "critic.epochs=4", "advantage=q_minus_v"),
    ],
)
def test_learning_before_the_first_step_says_how_far_it_is_and_can_be_stopped(critic):
    shares: list[float] = []
    agent(*QUICK, *critic).prepare(shares.append)
    assert shares == sorted(shares) and len(shares) == 4 and 0 <= shares[0] < shares[-1] <= 1

    def stop(share: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        agent(*QUICK, *critic).prepare(stop)
