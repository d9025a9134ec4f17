"""The users' own names of our settings, so that their sweep files and habits keep working.

Eras of the users' code: A (value_stability_plan), B (sweep_results and bmpc_ablation_plan), C (a month later); "all"
where TD-MPC2's official config has the key too. `docs/tdmpc.md` shows this table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from bellmark.errors import UserError


class Name(NamedTuple):
    """What a user's key stands for."""

    era: str
    ours: tuple[str, ...]  # the paths it sets, all to the same value unless `values` says otherwise
    values: Mapping[Any, Any] | Callable[[Any], Any] = MappingProxyType({})  # theirs -> ours, or what each path gets
    note: str = ""


def _after(ratio: Any) -> Any:
    """A share counted from the run's end, counted from its beginning; validation says what is wrong with all else."""
    return 1 - ratio if isinstance(ratio, int | float) else ratio


def _inherit(least: int) -> dict[Any, Any]:
    return {None: least}


NAMES: Mapping[str, Name] = {
    # sizes and data
    "model_size": Name("all", ("model.size",)),
    "batch_size": Name("all", ("slices.size",)),
    "horizon": Name("all", ("planner.horizon", "slices.horizon")),
    "buffer_size": Name("all", ("collect.capacity",)),
    "seed_steps": Name("all", ("collect.random_steps",)),
    "eval_freq": Name("all", ("evaluation.every",)),
    "eval_episodes": Name("all", ("evaluation.episodes",)),
    "episodic": Name("all", ("model.episodic",)),
    "simnorm_dim": Name("all", ("model.group",)),
    "num_bins": Name("all", ("model.bins",)),
    "buffer_update_interval": Name("B", ("collect.insert_every",)),
    "rollout_head_strategy": Name("C", ("slices.rollout_heads",)),
    # heads
    "planner_num_dynamics_heads": Name("A B C", ("model.dynamics.heads",)),
    "num_reward_heads": Name("A B C", ("model.reward.heads",)),
    "num_q": Name("all", ("model.critic.heads",), {}, "members of the value ensemble, also where they are V"),
    "td_num_dynamics_heads": Name("A", ("target.heads.dynamics_members",)),
    "red_q_style_value": Name("C", ("target.heads.members",), {True: 2, False: 0}),
    "prior_scale": Name("B", ("model.dynamics.prior_scale", "model.reward.prior_scale", "model.critic.prior_scale")),
    "dynamics_prior_scale": Name("C", ("model.dynamics.prior_scale",)),
    "value_prior_scale": Name(
        "C", ("model.reward.prior_scale", "model.critic.prior_scale"), {}, "as an addition to the logits, not a shift"
    ),
    "prior_logit_scale": Name("B C", ("model.reward.prior_logit", "model.critic.prior_logit")),
    # cadence and rates
    "utd_ratio": Name("A B C", ("cadence.world",)),
    "value_update_freq": Name("B C", ("cadence.value",), {-1: 0}),
    "pi_update_freq": Name("B C", ("cadence.policy",), {-1: 0}, "per agent step; plan A means one per N value updates"),
    "tau": Name("all", ("target.slow_rate", "policy.scale_rate"), {}, "their key moves both, which confounds"),
    "aux_value_tau": Name("A", ("auxiliary.slow_rate",)),
    "policy_ema_tau": Name("A B C", ("policy.slow_rate",), {None: 0}),
    "lr": Name("all", ("optimizer.lr",)),
    "enc_lr_scale": Name("all", ("optimizer.encoder",)),
    "enc_lr_step_scale": Name("B C", ("optimizer.encoder_step",)),
    "enc_lr_step_ratio": Name("B C", ("optimizer.encoder_step_at",), _after),
    "detach_encoder_ratio": Name("A", ("optimizer.encoder_frozen_at",), _after),
    "pi_lr_scale": Name("A B C", ("optimizer.policy",)),
    "ensemble_lr_scaling": Name("B C", ("optimizer.by_heads",)),
    "weight_decay": Name("B C", ("optimizer.weight_decay",)),
    "grad_clip_norm": Name("all", ("optimizer.clip",)),
    # loss weights
    "consistency_coef": Name("all", ("loss.consistency",)),
    "reward_coef": Name("all", ("loss.reward",)),
    "value_coef": Name("all", ("loss.value",)),
    "termination_coef": Name("all", ("loss.termination",)),
    "rho": Name("all", ("loss.rho",)),
    "normalize_rho_weights": Name("B C", ("loss.over_time",), {True: "unit_mean", False: "mean"}),
    "encoder_consistency_coef": Name("A B C", ("loss.encoder",)),
    "encoder_consistency_warmup_ratio": Name("A B C", ("loss.encoder_from",)),
    # targets
    "local_td_bootstrap": Name("B C", ("target.heads.values",), {True: "local", False: "mean"}),
    "td_target_std_coef": Name("B C", ("target.heads.coef",)),
    "td_target_dynamics_reduction": Name("B C", ("target.heads.dynamics",), {"from_std_coef": "by_sign"}),
    "td_target_use_ema_policy": Name("B C", ("target.policy",), {True: "slow", False: "online"}),
    "policy_ema_enabled": Name("A", ("target.policy",), {True: "slow", False: "online"}),
    "num_rollouts": Name("B C", ("target.rollouts",)),
    "imagination_horizon": Name("B C", ("target.horizon",)),
    "imagine_initial_source": Name(
        "A B", ("target.predict_at", "target.start_at"), {"replay_true": "encoded", "replay_rollout": "rollout"}
    ),
    "critic_source": Name("B C", ("target.predict_at",), {"replay_true": "encoded", "replay_rollout": "rollout"}),
    "critic_target_source": Name("B C", ("target.start_at",), {"replay_true": "encoded", "replay_rollout": "rollout"}),
    "multi_gamma_gammas": Name("A B", ("auxiliary.gammas",)),
    "multi_gamma_head": Name("A B", ("auxiliary",)),
    "multi_gamma_loss_weight": Name("A B", ("auxiliary.weight",)),
    "aux_value_source": Name(
        "A", ("auxiliary.learn_from",), {"replay_true": "replay", "replay_rollout": "rollout", "imagine": "imagined"}
    ),
    # planner
    "num_samples": Name("all", ("planner.samples",)),
    "num_elites": Name("all", ("planner.elites",)),
    "num_pi_trajs": Name("all", ("planner.policy_plans",)),
    "iterations": Name("all", ("planner.iterations",)),
    "min_std": Name("all", ("planner.min_std",)),
    "max_std": Name("all", ("planner.max_std",)),
    "temperature": Name("all", ("planner.temperature",), {}, "with `multiply`, higher is greedier"),
    "mult_by_temp": Name("B C", ("planner.weighting",), {True: "multiply", False: "divide"}),
    "extra_iter_action_dim_threshold": Name("B C", ("planner.extra_from",)),
    "policy_seed_noise_std": Name("B C", ("planner.policy_noise",)),
    "train_act_std_coeff": Name("B C", ("planner.noise",)),
    "planner_action_noise_std": Name("B C", ("planner.fixed_noise",)),
    "planner_value_std_coef_train": Name("B C", ("planner.optimism_train",)),
    "planner_value_std_coef_eval": Name("B C", ("planner.optimism_eval",)),
    "planner_use_all_heads_eval": Name("B C", ("planner.eval_heads",), {True: "all", False: "first"}),
    "planner_head_reduce": Name("A", ("planner.rewards", "planner.values", "planner.dynamics")),
    "planner_aggregate_value": Name("B C", ("planner.depths",), {True: "all", False: "last"}),
    "planner_lambda_disagreement": Name("B C", ("planner.disagreement",)),
    "greedy_train_action_selection": Name("B C", ("planner.choose_train",), {True: "best", False: "draw"}),
    "ema_value_planning": Name("B C", ("planner.value_net",), {True: "slow", False: "online"}),
    # policy
    "policy_optimization_method": Name(
        "B C",
        ("policy.improvement", "reanalysis"),
        {
            "svg": {"policy.improvement": "gradient", "reanalysis": "never"},
            "distillation": {"policy.improvement": "distillation", "reanalysis": "lazy"},
            "both": {"policy.improvement": "both", "reanalysis": "lazy"},
        },
        "plans that are read are renewed; a recipe of value gradients has none of the users' expert_std_scale=1.5 "
        "min_expert_std=0.1 reanalyze_use_chosen_action=false",
    ),
    "policy_svg_distill_ratio": Name("B C", ("policy.improvement.share",)),
    "policy_value_std_coef": Name("B C", ("policy.improvement.heads.coef",)),
    "policy_head_reduce": Name("A", ("policy.improvement.heads.rewards", "policy.improvement.heads.dynamics")),
    "pi_multi_rollout": Name("B C", ("policy.improvement.samples",)),
    "bmpc_policy_parameterization": Name(
        "B C",
        ("model.policy", "model.policy.reanalysis_log_std_min"),
        {
            True: {"model.policy": "clipped", "model.policy.reanalysis_log_std_min": None},
            False: {"model.policy": "tanh"},
            None: {},
        },
        "null: the recipe's",
    ),
    "log_std_min": Name("all", ("model.policy.log_std_min",)),
    "log_std_max": Name("all", ("model.policy.log_std_max",)),
    "jacobian_correction_scale": Name("B C", ("policy.jacobian",)),
    "entropy_action_dim_power": Name("B C", ("policy.entropy_power",)),
    "entropy_coef": Name("all", ("policy.entropy.coef",), {}, "with policy.entropy=constant"),
    "start_entropy_coeff": Name("A B C", ("policy.entropy.start",)),
    "end_entropy_coeff": Name("A B C", ("policy.entropy.end",)),
    "start_dynamic_entropy_ratio": Name("B C", ("policy.entropy.begins",)),
    "end_dynamic_entropy_ratio": Name("B C", ("policy.entropy.ends",)),
    "policy_trust_region_coef": Name("B C", ("policy.trust",)),
    "kl_scale_min": Name("B C", ("policy.kl_scale_min",)),
    "expert_std_scale": Name("B C", ("policy.improvement.std_scale",)),
    "min_expert_std": Name("B C", ("policy.improvement.min_std",)),
    "fix_kl_order": Name("B C", ("policy.improvement.order",), {True: "expert_policy", False: "policy_expert"}),
    "reanalyze_use_chosen_action": Name("B C", ("policy.improvement.expert",), {True: "executed", False: "mean"}),
    "initial_expert_from_behavior": Name("B C", ("policy.improvement.initial",), {True: "behaviour", False: "replan"}),
    "dual_policy_enabled": Name("B C", ("policy.explorer",), {True: "optimist", False: "none"}),
    "optimistic_policy_value_std_coef": Name("B C", ("policy.explorer.heads.coef",)),
    "optimistic_entropy_mult": Name("B C", ("policy.explorer.entropy",)),
    # reanalysis
    "reanalyze_interval": Name("B C", ("reanalysis.interval",)),
    "reanalyze_batch_size": Name("B C", ("reanalysis.states",)),
    "reanalyze_slice_mode": Name("B C", ("reanalysis.slices",)),
    "reanalyze_horizon": Name("B C", ("reanalysis.horizon",), _inherit(0)),
    "reanalyze_iterations": Name("B C", ("reanalysis.iterations",), _inherit(0)),
    "reanalyze_num_samples": Name("B C", ("reanalysis.samples",), _inherit(0)),
    "reanalyze_num_elites": Name("B C", ("reanalysis.elites",), _inherit(0)),
    "reanalyze_num_pi_trajs": Name("B C", ("reanalysis.policy_plans",), _inherit(-1)),
    "reanalyze_temperature": Name("B C", ("reanalysis.temperature",), _inherit(0)),
    "reanalyze_value_std_coef": Name("B C", ("reanalysis.optimism",)),
}


class Missing(NamedTuple):
    """A users' key that stands for no single setting of ours."""

    instead: str  # what to write
    usual: Any = None  # the value that says what is done here anyway; it may be written


ELSEWHERE: Mapping[str, Missing] = {
    "ac_utd_multiplier": Missing("write cadence.value and cadence.policy: the multiplier times cadence.world", 1),
    "hot_buffer_enabled": Missing("write slices.hot, the slices drawn from the newest slices.hot_rows rows", False),
    "pi_rollout_horizon": Missing("values are climbed through one step of the model, as where it is 1", 1),
    "pi_utd_ratio": Missing("write cadence.policy, the policy's updates per agent step"),
    "planner_policy_elites_first_iter_only": Missing(
        "the policy's plans take part in every iteration, as where it is false", False
    ),
    "mpc": Missing("this family always plans", True),
    "value_std_coef_default": Missing("write the number itself where it said opt, minus it where it said pess"),
}
SIGNED = ("opt", "pess")  # words for plus and minus `value_std_coef_default`


def translate(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the users' keys replaced by ours; other keys stay.

    Raises:
        UserError: a users' key that has no counterpart (says what to write), or one key set twice, under two names.
    """
    ours: dict[str, Any] = {}
    came_from: dict[str, str] = {}
    for key, value in settings.items():
        for path, meant in _ours(key, value).items():
            if path in ours and ours[path] != meant:
                raise UserError(f"{came_from[path]} and {key} both set {path}, to {ours[path]!r} and {meant!r}")
            ours[path], came_from[path] = meant, key
    return ours


def _ours(key: str, value: Any) -> dict[str, Any]:
    if missing := ELSEWHERE.get("hot_buffer_enabled" if key.startswith("hot_buffer_") else key):
        if value is None or value != missing.usual:
            raise UserError(f"{key} has no counterpart here: {missing.instead}")
        return {}
    if key not in NAMES:
        return {key: value}
    name = NAMES[key]
    if key.endswith(("std_coef", "std_coef_train", "std_coef_eval")) and value in SIGNED:
        raise UserError(f"{key}={value} stands for a number: {ELSEWHERE['value_std_coef_default'].instead}")
    if callable(name.values):
        return dict.fromkeys(name.ours, name.values(value))
    if isinstance(value, list | tuple | dict) or value not in name.values:
        return dict.fromkeys(name.ours, value)
    meant = name.values[value]
    return dict(meant) if isinstance(meant, Mapping) else dict.fromkeys(name.ours, meant)
