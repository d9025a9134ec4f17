"""Every option runs and learns; every knob makes a difference; what follows the length of a run says so."""

from __future__ import annotations

import pytest
from dreamer_small import BASES, agent, config, trace
from every_option import Matrix

from bellmark.agents.dreamer.config import Dreamer

# Read by the loop that runs a learner (tested in tests/train), or saying what the task is or where a run begins.
ELSEWHERE = ("task", "evaluation.e", "evaluation.s", "checkpoints", "doctor", "start", "collect.envs",
             "collect.capacity", "collect.insert_every", "collect.log_every", "collect.where", "stop",
             "model.size")  # fmt: skip  # the small agent sets every width; tests of recipes count parameters
# Knobs whose effect needs something else to be set; the reason is what they do.
COMPANIONS: dict[str, tuple[str, ...]] = {
    "gating.focus.cooldown": (
        "gating.ratio=constant",
        "gating.focus.threshold=0",
        "gating.focus.duration=1",
        "gating.focus.ratio=3",
    ),
    "gating.focus.duration": (
        "gating.ratio=constant",
        "gating.focus.threshold=0",
        "gating.focus.ratio=3",
        "gating.focus.rearm=false",
    ),
    "gating.focus.ratio": ("gating.ratio=constant", "gating.focus.threshold=0", "gating.focus.rearm=false"),
    "gating.focus.rearm": ("gating.ratio=constant", "gating.focus.threshold=0", "gating.focus.ratio=2"),
    "gating.focus.threshold": ("gating.focus.ratio=3", "gating.ratio=constant"),
    "gating.ratio.least": ("gating.ratio.invert=true",),
    "gating.ratio.invert": ("gating.ratio.most=4",),
}
OTHER: dict[str, str] = {  # where `Matrix` finds no value that makes a difference
    "model.deter": "24",
    "model.depth": "4",
    "learning.imagination.last": "2",
    "gating.ratio.least": "8",
    "model.bins": "41",
    "context": "0",
    "optimizer.eps": "0.1",
    "optimizer.clipping.clip": "0.0001",
    "optimizer.clipping.least": "10",
    "learning.scales.returns_least": "1e-6",
    "learning.scales.advantages_least": "10",
    "learning.divergence.free.nats": "3",
    "learning.entropy.until": "0.5",
    "model.cell.blocks": "4",
    "model.cell.cells": "2",
    "gating.focus.threshold": "0",
    "gating.focus.cooldown": "0",
    "gating.warmup": "2",
}
MATRIX = Matrix(Dreamer, BASES, config, agent, trace, 5, ELSEWHERE, COMPANIONS, OTHER)


@pytest.mark.parametrize(("path", "name"), MATRIX.options)
def test_every_option_learns(path: str, name: str) -> None:
    MATRIX.check_option(path, name)


@pytest.mark.parametrize("where", MATRIX.numbers)
def test_no_knob_is_dead(where: str) -> None:
    MATRIX.check_effect(where)


@pytest.mark.parametrize(("path", "name"), MATRIX.options)
def test_an_option_that_makes_a_longer_run_another_one_says_so(path: str, name: str) -> None:
    MATRIX.check_length_of_option(path, name)


@pytest.mark.parametrize("where", MATRIX.shares_of_the_run)
def test_a_share_of_the_run_that_makes_a_longer_run_another_one_says_so(where: str) -> None:
    MATRIX.check_length_of_knob(where)
