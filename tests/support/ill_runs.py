"""A healthy run's curves, and per rule what makes them ill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bellmark.health import RULES, Case
from bellmark.records import Curve

N = 40
STEP = np.arange(100) * 1000
RISE = np.linspace(20.0, 480.0, N)  # a run that learns
NOISE = np.random.default_rng(0).normal(size=N)
BASE: dict[str, Any] = {
    "eval/return": RISE,
    "eval/return_std": np.full(N, 30.0),
    "eval/episodes": np.full(N, 20.0),
    "train/return": RISE - 5,
    "baseline/random_return": [22.0],
    "baseline/random_std": [10.0],
    "baseline/random_episodes": [20.0],
    "baseline/constant_0": [9.3],
    "value/start": RISE / 2,
    "eval/discounted": RISE / 2 + 3,
    "eval/discounted_std": np.full(N, 10.0),
    "value/mean": RISE / 2,
    "value/target": RISE / 2,
    "value/std_heads": np.full(N, 2.0),
    "value/explained_variance": np.full(N, 0.6),
    "policy/entropy": np.linspace(0.69, 0.3, N),
    "loss/policy": 0.01 + 0.001 * NOISE,
    "loss/value": 1.0 + 0.1 * NOISE,
    "loss/dyn": 1.1 + 0.02 * NOISE,
    "model/kl_dyn": np.full(N, 1.1),
    "model/action_gap": np.full(N, 0.3),
    "model/kl_held_out": np.full(N, 1.4),
    "model/kl_mismatch": np.full(N, 1e-7),
    "model/open_loop_ends": np.full(N, 0.95),
    "value/target_error": np.full(N, 1e-7),
    "value/target_gradient": np.zeros(N),
    "model/memory_gradient": np.full(N, 0.5),
    "model/open_loop_error": np.full(N, 0.3),
    "model/explained_least": np.full(N, 0.5),
    "model/explained_least_index": np.zeros(N),
    "replay/ends": np.full(N, 0.01),
    "train/length": np.full(N, 100.0),
    "throughput/updates": 20 + NOISE,
    "eval/success": np.full(N, 0.5),
    "eval/success_sampled": np.full(N, 0.45),
    "grad/policy": np.full(N, 0.1),
    "policy/churn": np.full(N, 0.5),
    "policy/churn_choices": np.full(N, 0.05),
    "clip_share/model": np.full(N, 0.4),
    "update_ratio/policy": np.full(N, 2e-3),
    "param_norm/policy": np.full(N, 14.0),
    "steps/updates": np.linspace(10_000, 200_000, N),
    "replay/ratio": np.full(N, 32.0),
    "gate/learns": np.full(N, 1.0),
    "surprise/total_log_ratio": -0.1 + 0.05 * NOISE,
    "surprise/max_component_log_ratio": 0.2 + 0.05 * NOISE,
    "time/collect": np.full(N, 2.0),
    "time/update": np.full(N, 18.0),
    "replay/waiting": np.full(N, 32.0),
    "advantage/positive": np.full(N, 0.5),
    "advantage/mean": np.full(N, 0.01),
    "advantage/std": np.full(N, 0.2),
    "critic/return_correlation": np.full(N, 0.7),
    "update/gradient_steps": np.full(N, 128.0),
}
CONFIG: dict[str, Any] = {
    "steps": 39_000,
    "train_ratio": 32.0,
    "update": "ppo",
    "update.epochs": 4,
    "update.minibatches": 32,
    "update.target_kl": 0.1,
    "evaluation.episodes": 20,
}


def case(curves: Mapping[str, Any] = {}, config: Mapping[str, Any] = {}, family: str = "dreamer") -> Case:
    """A healthy run with some curves replaced."""
    every = {name: np.asarray(value, dtype=float) for name, value in {**BASE, **curves}.items()}
    return Case(family, {**CONFIG, **config}, {k: Curve(STEP[: len(v)], v) for k, v in every.items()})


def after(at: int, value: Any, name: str) -> np.ndarray:
    """The healthy curve with another value from row `at` on."""
    curve = np.asarray(BASE[name], dtype=float).copy()
    curve[at:] = value
    return curve


HARD = {"learning.divergence.free": "hard", "learning.divergence.free.nats": 1.0}
FALLEN = np.concatenate([np.linspace(20, 480, 25), np.linspace(480, 80, 15)])
ILL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "not_finite": ({"loss/value": after(30, np.nan, "loss/value")}, {}),
    "worse_than_random": (
        {"eval/return": after(10, 9.3, "eval/return"), "eval/return_std": after(10, 0.7, "eval/return_std")},
        {},
    ),
    "peak_then_collapse": ({"eval/return": FALLEN}, {}),
    "nothing_learned": ({"eval/return": 22 + NOISE}, {}),
    "train_eval_gap": ({"train/return": RISE + 0.4 * (RISE - 20)}, {}),
    "value_bias": ({"value/start": after(20, 600.0, "value/start")}, {}),
    "saturated_support": ({"value/target": after(20, 140.0, "value/target")}, {"model.bin_limit": 5.0}),
    "value_against_return": ({"eval/return": FALLEN, "value/mean": np.linspace(1, 300, N)}, {}),
    "unexplained_returns": ({"value/explained_variance": np.full(N, -0.3)}, {}),
    "unstable_targets": ({"value/std_heads": np.linspace(20, 900, N)}, {}),
    "collapsed_heads": ({"value/std_heads": np.full(N, 1e-5)}, {}),
    "kl_collapse": ({"model/kl_dyn": after(15, 1e-3, "model/kl_dyn")}, {}),
    "action_blind_model": ({"model/action_gap": np.full(N, 1e-5)}, {}),
    "model_lag": ({"loss/consistency": np.full(N, 0.1), "model/consistency_held_out": np.full(N, 0.3)}, {}),
    "loss_spike": ({"loss/dyn": np.where(np.isin(np.arange(N), [25, 30, 35]), 6.0, BASE["loss/dyn"])}, {}),
    "surprise_spike": (
        {
            "surprise/max_component_log_ratio": np.where(
                np.isin(np.arange(N), [30, 34, 39]), 1.1, BASE["surprise/max_component_log_ratio"]
            )
        },
        {},
    ),
    "learner_waits": ({"time/collect": after(20, 12.0, "time/collect"), "replay/waiting": np.zeros(N)}, {}),
    "replay_turnover": ({"steps/updates": np.linspace(0, 1250, N)}, {"collect.capacity": 10_000}),
    "starved_actor": ({"gate/learns": after(10, 0.1, "gate/learns")}, {}),
    "silent_losses": ({"loss/policy": after(20, 0.0, "loss/policy")}, {}),
    "no_gradient": ({"grad/policy": after(15, 0.0, "grad/policy")}, {}),
    "policy_churn": ({"policy/churn": np.full(N, 5.0)}, {}),
    "clipped_gradients": (
        {"clip_share/model": after(15, 1.0, "clip_share/model")},
        {"optimizer.clipping": "agc", "optimizer.clipping.clip": 0.01},
    ),
    "update_size": ({"update_ratio/policy": after(15, 0.03, "update_ratio/policy")}, {}),
    "replay_pacing": ({"replay/ratio": np.full(N, 0.31)}, {}),
    "entropy_collapse": (
        {"policy/entropy": after(5, 0.01, "policy/entropy"), "eval/return": np.full(N, 25)},
        {},
    ),
    "log_std_oscillation": ({"policy/log_std": -1 + 0.6 * (-1.0) ** np.arange(80)}, {}),
    "actor_loss_rise": ({"loss/policy": np.concatenate([0.01 + 0.001 * np.sin(np.arange(68)), np.full(12, 0.1)])}, {}),
    "one_sided_advantages": (
        {
            "advantage/positive": np.full(N, 0.226),
            "advantage/mean": np.full(N, -0.08),
            "advantage/std": np.full(N, 0.1),
        },
        {},
    ),
    "weak_advantages": ({"advantage/std": np.full(N, 0.017), "critic/return_correlation": np.full(N, 0.05)}, {}),
    "update_cut_short": ({"update/gradient_steps": np.full(N, 9.0)}, {}),
    "narrow_support": ({}, {"task": "cartpole", "model.bin_limit": 5.0, "learning.discount.horizon": 333.0}),
    "tight_kl": ({}, {"update.epochs": 20}),
    "no_entropy": ({}, {"learning.entropy.coef": 0.0}),
    "fast_actor": ({}, {"optimizer.lr": 4e-5, "optimizer.actor_lr": 4e-4}),
    "prior_sees_answer": ({"model/kl_mismatch": np.full(N, 0.4)}, {}),
    "wrong_targets": ({"value/target_error": np.full(N, 1e-4)}, {}),
    "attached_targets": ({"value/target_gradient": np.ones(N)}, {}),
    "dead_free_bits": (
        {"loss/dyn": np.full(N, 1.0), "model/kl_dyn": np.full(N, 0.03)},
        {**HARD, "learning.divergence.over_latents": "mean"},
    ),
    "no_memory_gradient": ({"model/memory_gradient": np.zeros(N)}, {}),
    "false_ends": ({"replay/ends": np.full(N, 0.04)}, {}),
    "open_loop_drift": ({"model/open_loop_error": after(20, 2.4, "model/open_loop_error")}, {}),
    "unseen_observation": ({"model/explained_least": np.full(N, -1.2)}, {"loss.rec": 1.0}),
    "slowed_down": ({"throughput/updates": after(20, 2.0, "throughput/updates")}, {}),
    "counters_restart": ({"steps/updates": np.concatenate([np.arange(20.0), np.arange(20.0)]) * 5_000}, {}),
    "noisy_start": ({"eval/success_sampled": np.full(N, 0.14)}, {"start": "stored"}),
    "strong_posterior_pull": ({}, {"loss.rep": 0.99, "loss.dyn": 1.0}),
    "no_unimix": ({}, {"model.unimix": 0.0}),
    "foreign_critic": (
        {},
        {"critic.initial": "pretrained", "critic.initial.expert": "best", "start.checkpoint": "weak"},
    ),
    "bootstrap_past_ends": ({}, {"task": "cartpole", "advantage.bootstrap": "always"}),
    "shared_bootstrap": ({}, {"planner.optimism_train": 0.3, "target.heads.values": "mean"}),
    "optimistic_evaluation": ({}, {"planner.optimism_eval": 1.0}),
    "long_sequences": ({}, {"task": "cartpole", "length": 600}),
    "unmet_ratio": (
        {},
        {"task": "cartpole", "collect.insert_every": -1, "collect.random_steps": 100, "collect.envs": 1},
    ),
    "never_learns": (
        {},
        {"gating.warmup": 5000, "batch": 16, "length": 64, "train_ratio": 32.0, "collect.random_steps": 0},
    ),
    "idle_knob": ({}, {"learning.critic.slow_weight": 0, "learning.critic.target": "online"}),
    "short_evaluation": ({}, {"evaluation.episodes": 5}),
}


def ill(rule: str) -> Case:
    return case(*ILL[rule], family="tdmpc" if RULES[rule].families == ("tdmpc",) else "dreamer")
