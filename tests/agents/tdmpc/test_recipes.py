"""Recipes against what was published, and against the user's own baselines."""

from __future__ import annotations

from typing import Any

import pytest

from bellmark.agents.tdmpc.model import SIZES
from bellmark.cli.families import resolve
from bellmark.config import flatten

TDMPC2 = {  # Hansen et al. 2024, table 8, and the official config.yaml
    "planner.horizon": 3, "planner.iterations": 6, "planner.samples": 512, "planner.policy_plans": 24,
    "planner.elites": 64, "planner.min_std": 0.05, "planner.max_std": 2, "planner.temperature": 0.5,
    "planner.extra_iterations": 2, "planner.extra_from": 20, "planner.discount": "gamma",
    "planner.ends": "certain", "planner.choose_eval": "draw",
    "planner.policy_plans_are": "within", "planner.members": 2, "slices.size": 256, "slices.horizon": 3,
    "loss.consistency": 20, "loss.reward": 0.1, "loss.value": 0.1, "loss.termination": 1, "loss.rho": 0.5,
    "loss.over_time": "mean", "optimizer.lr": 3e-4, "optimizer.encoder": 0.3, "optimizer.clip": 20,
    "optimizer.policy_eps": 1e-5, "target": "replayed", "target.values": "min", "target.members": 2,
    "target.slow_rate": 0.01, "discount.low": 0.95, "discount.high": 0.995, "collect.capacity": 1_000_000,
    "model.size": 5, "model.group": 8, "model.bins": 101, "model.bin_limit": 10, "model.critic": "action",
    "model.critic.dropout": 0.01, "model.policy": "tanh", "model.policy.log_std_min": -10,
    "model.policy.log_std_max": 2, "model.dynamics.norm": True, "policy.entropy.coef": 1e-4, "policy.jacobian": 0,
    "policy.entropy_power": 1, "policy.scale_rate": 0.01, "policy.improvement": "gradient",
    "policy.improvement.heads.members": 2, "policy.improvement.positions": "all", "cadence.world": 1,
    "evaluation.every": 50_000, "evaluation.episodes": 10, "evaluation.sampled": False,
}  # fmt: skip
BMPC = {  # Wang et al. 2025 and its official config.yaml: what differs
    **TDMPC2, "model.critic": "state", "model.critic.heads": 2, "model.policy": "clipped",
    "model.policy.log_std_min": -3, "model.policy.log_std_max": 1, "model.policy.reanalysis_log_std_min": -2,
    "target": "imagined", "target.horizon": 1, "target.predict_at": "rollout", "target.start_at": "encoded",
    "target.positions": "steps", "policy.improvement": "distillation", "policy.improvement.expert": "drawn",
    "policy.improvement.order": "policy_expert", "policy.improvement.std_scale": 1, "policy.kl_scale_min": 1,
    "policy.pretrained": False, "reanalysis": "lazy", "reanalysis.interval": 10, "reanalysis.states": 60,
    "reanalysis.slices": True, "reanalysis.horizon": 3,
}  # fmt: skip
for gone in ("target.values", "target.members", "policy.improvement.heads.members", "policy.improvement.positions"):
    del BMPC[gone]
EQUIVALENCE = {  # spec of the user's baseline 1_test
    "policy.improvement": "distillation", "model.policy": "clipped", "model.dynamics.heads": 1, "model.critic.heads": 5,
    "model.reward.heads": 1, "cadence.world": 1, "target.rollouts": 1, "target.slow_rate": 0.01, "optimizer.encoder": 1,
    "loss.consistency": 10, "target.predict_at": "rollout", "target.start_at": "encoded", "target.heads.values": "mean",
    "planner.optimism_train": 0, "planner.optimism_eval": 0, "target.heads.coef": 0, "model.dynamics.prior_scale": 0,
    "planner.noise": 1, "planner.policy_noise": 0, "planner.min_std": 0, "planner.max_std": 2,
    "model.policy.log_std_min": -5, "model.policy.log_std_max": 1, "policy.entropy.start": 0,
    "loss.over_time": "unit_mean", "policy.improvement.std_scale": 1.5, "policy.improvement.min_std": 0.1,
    "policy.kl_scale_min": 0.1, "policy.improvement.order": "policy_expert", "reanalysis.interval": 10,
    "reanalysis.states": 60, "reanalysis.slices": True, "policy.improvement.initial": "behaviour",
    "policy.improvement.expert": "mean", "optimizer.weight_decay": 0, "planner.temperature": 0.5,
    "planner.extra_from": 15,
    "planner.ends": "probable", "evaluation.episodes": 5, "evaluation.every": 10_000, "collect.insert_every": 1,
    "planner.policy_plans_are": "beside", "planner.discount": "none", "model.dynamics.norm": False,
}  # fmt: skip
ENSEMBLE = {  # spec of the user's baseline 4a
    "policy.improvement": "gradient", "model.policy": "tanh", "model.dynamics.heads": 4, "model.critic.heads": 8,
    "model.reward.heads": 1, "optimizer.by_heads": True, "cadence.world": 4, "cadence.value": 2, "cadence.policy": 1,
    "target.rollouts": 4, "planner.noise": 0, "model.dynamics.prior_scale": 0.1, "model.reward.prior_scale": 0.1,
    "model.critic.prior_scale": 0.1, "planner.policy_noise": 0.05, "planner.optimism_train": 0.3,
    "planner.optimism_eval": -1, "target.heads.values": "local", "target.slow_rate": 0.003, "policy.scale_rate": 0.003,
    "optimizer.encoder": 0.3, "planner.temperature": 0.5, "policy.entropy.start": 3e-5,
    "policy.entropy.begins": 1, "policy.jacobian": 1,
    "policy.improvement.heads.coef": 0, "target.heads.coef": 0, "loss.consistency": 10, "loss.encoder": 0,
    "planner.min_std": 0, "model.policy.log_std_min": -5, "model.policy.log_std_max": 1, "collect.insert_every": 1,
    "target.predict_at": "rollout", "target.start_at": "rollout", "target.positions": "all",
}  # fmt: skip
STABILITY = {  # value_stability_plan, base configuration
    "optimizer.policy": 0.3, "auxiliary.weight": 0.01, "auxiliary.learn_from": "imagined", "auxiliary": "joint",
    "auxiliary.gammas": [0.9, 0.95], "model.dynamics.heads": 4, "target.heads.dynamics_members": 2, "cadence.world": 4,
    "task.task": "quadruped-walk", "policy.entropy": "linear", "policy.entropy.start": 1e-4,
    "policy.entropy.end": 1e-6, "model.critic.heads": 2, "loss.encoder": 1, "optimizer.encoder_frozen_at": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "table"),
    [
        ("tdmpc2", TDMPC2),
        ("bmpc", BMPC),
        ("bmpc_equivalence", EQUIVALENCE),
        ("svg_ensemble", ENSEMBLE),
        ("value_stability", STABILITY),
    ],
)
def test_recipes_are_what_was_published(recipe: str, table: dict[str, Any]) -> None:
    flat = flatten(resolve(recipe).tree)
    assert {key: flat.get(key) for key in table} == table


def test_sizes_are_the_published_table():
    rows = {size: (s.encoder_width, s.width, s.latent, s.encoder_layers, s.values) for size, s in SIZES.items()}
    assert rows == {
        1: (256, 384, 128, 2, 2),
        5: (256, 512, 512, 2, 5),
        19: (1024, 1024, 768, 3, 5),
        48: (1792, 1792, 768, 4, 5),
        317: (4096, 4096, 1376, 5, 8),
    }
