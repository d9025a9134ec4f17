"""Every option runs and learns; every knob makes a difference; what follows the length of a run says so."""

from __future__ import annotations

import pytest
from every_option import Matrix
from tdmpc_small import BASES, agent, config, trace

from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.ops.products import INSTRUCTIONS, available

pytestmark = pytest.mark.usefixtures("tiny")

# Read by the loop that runs a learner (tested in tests/train), or saying what the task is.
ELSEWHERE = ("task", "evaluation", "checkpoints", "doctor", "collect.envs", "collect.capacity", "collect.insert_every",
             "collect.log_every", "collect.where")  # fmt: skip
# Knobs whose effect needs something else to be set; the reason is what they do.
COMPANIONS: dict[str, tuple[str, ...]] = {
    "steps": ("policy.entropy=linear",),
    "model.reward.prior_logit": ("model.reward.prior_scale=1",),
    "model.critic.prior_logit": ("model.critic.prior_scale=1",),
    "planner.extra_iterations": ("planner.extra_from=1",),
    "planner.extra_from": ("planner.extra_from=2",),  # the actions of the small task
    "slices.hot_rows": ("slices.hot=2",),
    "discount.high": ("discount.low=0.5",),
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
OTHER: dict[str, str] = {  # where `Matrix` finds no value that makes a difference
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
    "model.policy.reanalysis_log_std_min": "null",
}
MATRIX = Matrix(Tdmpc, BASES, config, agent, trace, 4, ELSEWHERE, COMPANIONS, OTHER)


@pytest.mark.parametrize(("path", "name"), MATRIX.options)
def test_every_option_learns(path: str, name: str) -> None:
    MATRIX.check_option(path, name)


@pytest.mark.parametrize("where", MATRIX.numbers)
def test_no_knob_is_dead(where: str) -> None:
    if where.startswith("precision@") and not any(map(available, INSTRUCTIONS)):
        pytest.skip("this processor multiplies single precision only")
    MATRIX.check_effect(where)


@pytest.mark.parametrize(("path", "name"), MATRIX.options)
def test_an_option_that_makes_a_longer_run_another_one_says_so(path: str, name: str) -> None:
    MATRIX.check_length_of_option(path, name)


@pytest.mark.parametrize("where", MATRIX.shares_of_the_run)
def test_a_share_of_the_run_that_makes_a_longer_run_another_one_says_so(where: str) -> None:
    MATRIX.check_length_of_knob(where)
