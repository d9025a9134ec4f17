"""Every option runs and learns; every knob makes a difference."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
from tdmpc_small import BASES, agent, config, trace

from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.config import Knob, flatten, knobs
from bellmark.errors import UserError
from bellmark.ops.products import INSTRUCTIONS, available

pytestmark = pytest.mark.usefixtures("tiny")

# Read by the loop that runs a learner (tested in tests/train), or saying what the task is.
ELSEWHERE = ("task", "evaluation", "checkpoints", "doctor", "collect.envs", "collect.capacity", "collect.insert_every",
             "collect.log_every", "collect.where")  # fmt: skip
KNOBS = {k.path + "@" + k.choice: k for k in knobs(Tdmpc) if not k.path.startswith(ELSEWHERE)}
OPTIONS = sorted({(k.path, name) for k in KNOBS.values() for name in k.options})
# Knobs whose effect needs something else to be set; the reason is what they do.
COMPANIONS: dict[str, tuple[str, ...]] = {
    "steps": ("policy.entropy=linear",),
    "model.reward.prior_logit": ("model.reward.prior_scale=1",),
    "model.critic.prior_logit": ("model.critic.prior_scale=1",),
    "planner.extra_iterations": ("planner.extra_from=1",),
    "planner.extra_from": ("planner.extra_from=2",),  # the actions of the small task
    "slices.hot_rows": ("slices.hot=2",),
    "loss.encoder_from": ("loss.encoder=1",),
    "optimizer.encoder_step": ("optimizer.encoder_step_at=0.1",),
    "optimizer.encoder_step_at": ("optimizer.encoder_step=0.1",),
    "policy.improvement.heads.rewards": ("model.dynamics.heads=2", "model.reward.heads=2"),
    "policy.improvement.heads.dynamics": ("model.dynamics.heads=2", "policy.improvement.heads.coef=0.5"),
    "policy.improvement.heads.dynamics_members": ("model.dynamics.heads=2",),
    "policy.explorer.heads.dynamics": ("model.dynamics.heads=2",),
    "policy.kl_scale_min": ("policy.trust=1", "policy.scale_rate=0.5"),
    "policy.value_scale_min": ("policy.scale_rate=0.5",),
}
OTHER: dict[str, str] = {  # where the rule below finds no value that makes a difference
    "precision": next(filter(available, INSTRUCTIONS), "single"),
    "policy.kl_scale_min": "100",
    "policy.value_scale_min": "100",
    "model.group": "4",
    "model.bin_limit": "5",
    "discount.low": "0.5",
    "discount.high": "0.6",
    "discount.gamma": "0.5",
    "planner.samples": "20",
    "planner.elites": "3",
    "planner.min_std": "0.7",
    "planner.extra_from": "3",
    "reanalysis.optimism": "50",
    "policy.improvement.min_std": "0.9",
    "auxiliary.gammas": "[0.5, 0.6]",
    "collect.random_steps": "20",
    "collect.pretrain": "3",
    "policy.pretrained": "false",
    "optimizer.clip": "0.001",
    "optimizer.eps": "0.1",
    "optimizer.policy_eps": "0.1",
    "optimizer.weight_decay": "10",
    "optimizer.encoder_step_at": "0.2",
    "optimizer.encoder_frozen_at": "0.2",
    "optimizer.encoder_step": "0.1",
    "loss.encoder_from": "0.9",
    "policy.entropy.begins": "0.9",
    "policy.entropy.ends": "0.2",
    "reanalysis.states": "24",
    "reanalysis.samples": "12",
    "reanalysis.temperature": "2",
    "policy.improvement.heads.dynamics": "min",
    "policy.explorer.heads.dynamics": "min",
    "reanalysis.policy_plans": "2",
    "model.size": "5",
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
def built(base: str, *overrides: str) -> Tdmpc | None:
    try:
        return config(*overrides, base=base)
    except UserError:
        return None


@cache
def before(base: str, *overrides: str) -> dict[str, list[float]]:
    return trace(agent(*overrides, base=base))


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
    if knob.path == "precision" and not any(map(available, INSTRUCTIONS)):
        pytest.skip("this processor multiplies single precision only")
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
        if before(base, *fixed) != trace(agent(*fixed, change, base=base)):
            return
    pytest.fail(f"{knob.path} changes nothing: {tried}")
