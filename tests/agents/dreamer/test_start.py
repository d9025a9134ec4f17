"""Where a run begins: what is taken from a stored one, and that it is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bellmark.agents.dreamer.start import Bootstrap, Scratch, Stored


class Learner:
    def __init__(self) -> None:
        self.taken: list[tuple[Mapping[str, Any], bool]] = []

    def take(self, state: Mapping[str, Any], *, actor_critic: bool) -> None:
        self.taken.append((state, actor_critic))


def load(name: str, of_run: str) -> dict[str, Any]:
    return {"step": 5000, "learner": {"name": name, "of_run": of_run}}


def test_a_stored_world_model_is_frozen_and_the_actor_critic_new_unless_said_otherwise() -> None:
    learner, start = Learner(), Stored(checkpoint="runs/a")
    said = start.begin(learner, load)
    assert said == "start: world model of runs/a (step 5,000), frozen; actor and critic reset"
    assert learner.taken == [({"name": "runs/a", "of_run": "last"}, False)]
    assert (start.world_learns, start.actor_critic_learns, start.acts_randomly) == (False, True, False)


def test_both_can_go_on_learning() -> None:
    learner, start = Learner(), Stored(checkpoint="a", world="training", actor_critic="kept", of_run="best")
    assert start.begin(learner, load).endswith("training; actor and critic kept")
    assert learner.taken == [({"name": "a", "of_run": "best"}, True)]
    assert (start.world_learns, start.actor_critic_learns) == (True, True)


def test_a_bootstrap_learns_the_world_alone_from_random_actions() -> None:
    learner, start = Learner(), Bootstrap()
    assert "actor and critic do not learn" in start.begin(learner, load)
    assert (start.world_learns, start.actor_critic_learns, start.acts_randomly) == (True, False, True)


def test_from_scratch_nothing_is_taken() -> None:
    learner = Learner()
    assert Scratch().begin(learner, load) == "start: new parameters"
    assert learner.taken == []
