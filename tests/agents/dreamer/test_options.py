"""Every option runs and learns; every knob makes a difference."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
from dreamer_small import BASES, agent, config, trace

from bellmark.agents.dreamer.config import Dreamer
from bellmark.config import Knob, flatten, knobs
from bellmark.errors import UserError

# Read by the loop that runs a learner (tested in tests/train), or saying what the task is or where a run begins.
ELSEWHERE = ("task", "evaluation.e", "evaluation.s", "checkpoints", "doctor", "start", "collect.envs",
             "collect.capacity", "collect.insert_every", "collect.log_every", "collect.where", "stop",
             "model.size")  # fmt: skip  # the small agent sets every width; tests of recipes count parameters
KNOBS = {k.path + "@" + k.choice: k for k in knobs(Dreamer) if not k.path.startswith(ELSEWHERE)}
OPTIONS = sorted({(k.path, name) for k in KNOBS.values() for name in k.options})
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
UPDATES = 5
OTHER: dict[str, str] = {  # where the rule below finds no value that makes a difference
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


def choosing(knob: Knob) -> tuple[str, ...]:
    return (knob.choice,) if knob.choice else ()


def other(knob: Knob, now: Any) -> str:
    """Another value of a knob, as an override's text."""
    if knob.path in OTHER:
        return OTHER[knob.path]
    if " | " in knob.type:
        return next(name for name in knob.type.split(" | ") if name != now)
    if knob.type == "bool":
        return "false" if now else "true"
    return str(now + 1) if knob.type == "int" else str(now / 2 if now else 0.5)


@cache
def built(base: str, *overrides: str) -> Dreamer | None:
    try:
        return config(*overrides, base=base)
    except UserError:
        return None


@cache
def before(base: str, *overrides: str) -> dict[str, list[float]]:
    return trace(agent(*overrides, base=base), updates=UPDATES)


@pytest.mark.parametrize(("path", "name"), OPTIONS)
def test_every_option_learns(path: str, name: str) -> None:
    knob = next(k for k in KNOBS.values() if k.path == path)
    bases = [base for base in BASES if built(base, *choosing(knob), f"{path}={name}")]
    assert bases, f"no base takes {path}={name}"
    for base in bases:
        seen = trace(agent(*choosing(knob), f"{path}={name}", base=base), updates=2)
        assert all(math.isfinite(x) for values in seen.values() for x in values), (path, name, base)


@pytest.mark.parametrize("where", [w for w, k in KNOBS.items() if not k.options])
def test_no_knob_is_dead(where: str) -> None:
    knob = KNOBS[where]
    tried = []
    for base in BASES:
        fixed = (*choosing(knob), *COMPANIONS.get(knob.path, ()))
        former = built(base, *fixed)
        if former is None:
            continue
        change = f"{knob.path}={other(knob, flatten(former.tree())[knob.path])}"
        if built(base, *fixed, change) is None:
            continue
        tried.append((base, change))
        if before(base, *fixed) != trace(agent(*fixed, change, base=base), updates=UPDATES):
            return
    pytest.fail(f"{knob.path} changes nothing: {tried}")
