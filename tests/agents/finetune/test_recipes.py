"""Recipes against the tables they cite."""

from __future__ import annotations

import pytest

from bellmark.cli.families import resolve
from bellmark.config import flatten

# ManiSkill ppo.py with the settings of its PickCube baseline, in our names; 512 x 50 as in the users' log.
MANISKILL_PPO = {
    "collect.envs": 512, "collect.steps": 50, "gamma": 0.8, "advantage.lambda_": 0.9, "update.minibatches": 32,
    "update.epochs": 4, "update.clip": 0.2, "update.value_coef": 0.5, "update.entropy_coef": 0.0,
    "update.target_kl": 0.1, "update.normalise": "minibatch", "optimizer.lr": 3e-4, "optimizer.eps": 1e-5,
    "optimizer.max_grad_norm": 0.5, "policy.hidden": 256, "policy.layers": 3, "critic.hidden": 256,
    "critic.layers": 3, "start.log_std": -0.5, "advantage.bootstrap": "always", "task.reward": "dense",
}  # fmt: skip
# The users' log, "GAE Baseline for MC5 Q-V Comparison".
LOG_GAE = {
    "collect.envs": 100, "collect.steps": 50, "steps": 50_000, "update.epochs": 100, "update.minibatches": 5,
    "update.target_kl": 100.0, "gamma": 0.8, "advantage.lambda_": 0.9, "critic.initial": "fresh",
    "task.reward": "sparse",
}  # fmt: skip
# The users' log, "MC16 AWR Q-V Parallel Re-rollout".
LOG_AWR = {
    "collect.envs": 100, "collect.steps": 50, "steps": 50_000, "update.epochs": 200, "update.minibatches": 5,
    "update.beta": 1.0, "update.max_weight": 20.0, "advantage.n_q": 16, "advantage.n_v": 16, "gamma": 0.8,
    "critic": "none", "advantage.continuation": "frozen", "task.reward": "sparse",
}  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "table"), [("ppo", MANISKILL_PPO), ("gae_ppo_finetune", LOG_GAE), ("awr_rerollout", LOG_AWR)]
)
def test_recipe_equals_its_table(recipe, table):
    found = flatten(resolve(recipe).tree)
    assert {k: found[k] for k in table} == table


def test_parameter_counts():
    # 3 x 256 tanh on 42 inputs: (42+1)*256 + 2*(256+1)*256 = 142,592; heads 257*8 + 8 spreads = 2,064 and 257.
    from bellmark.agents.finetune.agent import FinetuneAgent
    from bellmark.agents.finetune.config import Finetune

    config = resolve("ppo", ["collect.envs=2", "collect.steps=5", "steps=10"]).config
    assert isinstance(config, Finetune)
    agent = FinetuneAgent(config, lambda name: {})
    assert sum(p.numel() for p in agent.policy.parameters()) == 144_656
    assert sum(p.numel() for p in agent.critic.parameters()) == 142_849
