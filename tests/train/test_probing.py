"""`bellmark probe`: healthy recipes pass, and a planted bug makes the ability fail that it breaks."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import pytest
import torch

from bellmark.agents.dreamer import agent as dreamer
from bellmark.agents.tdmpc import world as tdmpc
from bellmark.cli.families import resolve
from bellmark.envs.probe import PROBES, ProbeName
from bellmark.train.probing import probe

HEALTHY = ("gae_ppo_finetune", "tdmpc2", "bmpc", "dreamer_cartpole_state")


def passes(recipe: str, name: ProbeName, *overrides: str) -> bool | None:
    resolved = resolve(recipe, overrides)
    (answer,) = probe(resolved.family, resolved.tree, [name])
    return answer.passed


def test_ppo_passes() -> None:
    assert passes("gae_ppo_finetune", "policy") is True


@pytest.mark.parametrize(
    ("bootstrap", "broken", "whole"),
    [
        ("always", "terminal", "time-limit"),
        pytest.param("never", "time-limit", "terminal", marks=pytest.mark.slow),
    ],
)
def test_ends_taken_for_limits_and_limits_for_ends_are_told_apart(
    bootstrap: str, broken: ProbeName, whole: ProbeName
) -> None:
    planted = f"advantage.bootstrap={bootstrap}"
    assert passes("gae_ppo_finetune", broken, planted) is False
    assert passes("gae_ppo_finetune", whole, planted) is True


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("recipe", HEALTHY)
def test_a_healthy_recipe_passes(recipe: str, name: ProbeName) -> None:
    assert passes(recipe, name) is True


def endless(batch: Any, context: int, classes: int) -> Any:
    """Ends that are not learned."""
    lesson = RIGHT_LESSON(batch, context, classes)
    return lesson._replace(terminated_TB=torch.zeros_like(lesson.terminated_TB))


RIGHT_LESSON = dreamer.lesson_of
ENDLESS = {  # tdmpc2 learns values from replayed ends, bmpc from predicted ones
    "dreamer_cartpole_state": lambda: patch.object(dreamer, "lesson_of", endless),
    "bmpc": lambda: patch.object(tdmpc.Termination, "forward", lambda self, z: torch.ones_like(z[..., 0])),
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ENDLESS)
@pytest.mark.parametrize("sick", [False, True])
def test_ends_that_are_not_predicted_fail_the_probe_of_ends(recipe: str, sick: bool) -> None:
    with ENDLESS[recipe]() if sick else nullcontext():
        assert passes(recipe, "terminal") is not sick
