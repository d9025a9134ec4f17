"""The users' sweeps as files: their counts, their baselines, and the same runs under the users' own key names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.agents.tdmpc.improvement import Both
from bellmark.agents.tdmpc.model import Clipped
from bellmark.agents.tdmpc.names import NAMES, translate
from bellmark.agents.tdmpc.planning import Lazy
from bellmark.cli.families import Resolved, resolve
from bellmark.config import knobs
from bellmark.errors import UserError
from bellmark.sweeps.plan import plan
from bellmark.sweeps.schema import load_sweep
from bellmark.sweeps.work import Plan

SWEEPS = Path(__file__).parents[3] / "sweeps"
# Configurations and runs: bmpc_ablation_plan (2a-2h), sweep_results (3a-3e, 4a-4g), value_stability_plan.
COUNTS = {
    "bmpc/1_test": (1, 2),
    "bmpc/2a_utd": (2, 4),
    "bmpc/2b_multihead": (6, 12),
    "bmpc/2c_expert_source": (4, 8),
    "bmpc/2d_num_rollouts": (1, 2),
    "bmpc/2e_imagine_source": (1, 2),
    "bmpc/2f_encoder_cons": (2, 4),
    "bmpc/2g_trust_region": (6, 12),
    "bmpc/2h_exploration": (1, 2),
    "bmpc/3a_exploration_prior": (4, 24),
    "bmpc/3b_trust_region": (4, 24),
    "bmpc/3c_reanalyze_horizon": (1, 6),
    "bmpc/3d_reanalyze_slice_mode": (1, 6),
    "bmpc/3e_ensemble_deep_dive": (8, 16),
    "bmpc/4a_baseline": (1, 6),
    "bmpc/4b_tau": (1, 6),
    "bmpc/4c_no_optimism": (1, 6),
    "bmpc/4d_global_bootstrap": (1, 6),
    "bmpc/4e_enc_lr": (1, 6),
    "bmpc/4f_temperature": (1, 6),
    "bmpc/4g_long_run": (1, 8),
    "value_stability/1_ensemble": (8, 48),
    "value_stability/2_gamma": (3, 18),
    "value_stability/3a_policy_lr": (4, 24),
    "value_stability/3b_policy_frequency": (3, 18),
    "value_stability/3c_slow_rate": (3, 18),
    "value_stability/4_entropy": (9, 54),
    "value_stability/4_entropy_fixed": (3, 18),
}


@cache
def resolved(recipe: str, overrides: tuple[str, ...]) -> Resolved:
    return resolve(recipe, overrides)


def once(recipe: str, overrides: Sequence[str]) -> Resolved:
    """As `resolve`, each configuration worked out once."""
    return resolved(recipe, tuple(overrides))


@cache
def planned(name: str) -> Plan:
    return plan(load_sweep(SWEEPS / f"{name}.yaml"), once, "no_runs_here")


def runs(of: Plan) -> list[str]:
    """Fingerprints of the runs of the cells that the file lists."""
    listed = {cell.arm for cell in of.cells if cell.listed}
    return sorted(run.resolved.fingerprint for run in of.runs if run.arm in listed)


def test_every_file_is_counted():
    found = {f"{f.parent.name}/{f.stem}" for d in ("bmpc", "value_stability") for f in (SWEEPS / d).glob("*.yaml")}
    assert found == COUNTS.keys()


@pytest.mark.parametrize("name", COUNTS)
def test_as_many_runs_as_the_plan_says(name: str) -> None:
    found = planned(name)
    configs = [cell for cell in found.cells if cell.listed]
    assert (len(configs), len(runs(found))) == COUNTS[name]
    assert not [cell.undeclared for cell in found.cells if cell.undeclared]
    assert all(run.resolved.tree["steps"] in (100_000, 200_000, 400_000) for run in found.runs)


def test_the_ablation_plan_has_23_configurations_and_46_runs():
    plans = [planned(name) for name in COUNTS if name.startswith("bmpc/2")]
    assert sum(sum(cell.listed for cell in p.cells) for p in plans) == 23
    assert sum(len(runs(p)) for p in plans) == 46


def test_sweeps_of_a_series_share_their_baseline():
    baseline = set(runs(planned("bmpc/1_test")))
    for name in COUNTS:
        if name.startswith("bmpc/2"):
            shared = {run.resolved.fingerprint for run in planned(name).runs}
            assert baseline <= shared, name


THEIRS: dict[str, dict[str, Any]] = {  # the plans' own words, under the sections set and grid
    "bmpc/2a_utd": {"grid": {"utd_ratio": [2, 4]}},
    "bmpc/2b_multihead": {
        "set": {"planner_num_dynamics_heads": 2, "ensemble_lr_scaling": True},
        "grid": {"planner_value_std_coef_train": [0, 0.3, 1], "local_td_bootstrap": [False, True]},
    },
    "bmpc/2c_expert_source": {
        "grid": {"reanalyze_use_chosen_action": [True, False], "initial_expert_from_behavior": [True, False]}
    },
    "bmpc/2d_num_rollouts": {"grid": {"num_rollouts": [4]}},
    "bmpc/2e_imagine_source": {"grid": {"imagine_initial_source": ["replay_true"]}},
    "bmpc/2f_encoder_cons": {"grid": {"encoder_consistency_coef": [0.1, 1]}},
    "bmpc/2g_trust_region": {
        "set": {"td_target_use_ema_policy": True},
        "grid": {"policy_trust_region_coef": [0.1, 1], "policy_ema_tau": [0.003, 0.01, 0.03]},
    },
    "bmpc/2h_exploration": {
        "set": {"planner_num_dynamics_heads": 2, "planner_value_std_coef_train": 1, "local_td_bootstrap": True,
                "ensemble_lr_scaling": True},
        "grid": {"dual_policy_enabled": [True]},
    },
    "bmpc/3a_exploration_prior": {
        "set": {"planner_num_dynamics_heads": 2, "local_td_bootstrap": True, "ensemble_lr_scaling": True},
        "grid": {"planner_value_std_coef_train": [0, 1], "prior_scale": [0.1, 1]},
    },
    "bmpc/3b_trust_region": {
        "set": {"utd_ratio": 2, "value_update_freq": 2, "pi_update_freq": 2, "policy_ema_tau": 0.01},
        "grid": {"policy_trust_region_coef": [0, 1], "td_target_use_ema_policy": [True, False]},
    },
    "bmpc/3c_reanalyze_horizon": {"grid": {"reanalyze_horizon": [1]}},
    "bmpc/3d_reanalyze_slice_mode": {"grid": {"reanalyze_slice_mode": [False]}},
    "bmpc/3e_ensemble_deep_dive": {
        "set": {"prior_scale": 1},
        "grid": {"planner_num_dynamics_heads": [2, 4], "greedy_train_action_selection": [True, False],
                 "planner_value_std_coef_train": [0, 1]},
    },
    "bmpc/4b_tau": {"grid": {"tau": [0.01]}},
    "bmpc/4c_no_optimism": {"grid": {"planner_value_std_coef_train": [0]}},
    "bmpc/4d_global_bootstrap": {"grid": {"local_td_bootstrap": [False]}},
    "bmpc/4e_enc_lr": {"grid": {"enc_lr_scale": [1.0]}},
    "bmpc/4f_temperature": {"grid": {"temperature": [1.0]}},
    "value_stability/1_ensemble": {
        "grid": {"num_q": [1, 2], "policy_head_reduce": ["min", "mean"], "multi_gamma_head": ["joint", "separate"]}
    },
    "value_stability/2_gamma": {"grid": {"multi_gamma_gammas": [[0.9, 0.95], [0.9, 0.97], [0.8, 0.9, 0.95, 0.97]]}},
    "value_stability/3a_policy_lr": {"grid": {"pi_lr_scale": [0.1, 0.3, 0.5, 1.0]}},
    "value_stability/3c_slow_rate": {"grid": {"tau": [0.005, 0.01, 0.02]}},
    "value_stability/4_entropy": {
        "grid": {"start_entropy_coeff": [1e-3, 1e-4, 1e-5], "end_entropy_coeff": [1e-5, 1e-6, 1e-7]}
    },
}  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
def test_the_users_names_come_to_the_same_runs(name: str) -> None:
    ours = load_sweep(SWEEPS / f"{name}.yaml")
    ours = ours.model_copy(update={"seeds": (1,), "tasks": ours.tasks[:1], "baseline": None})
    their = {"set": {}, "zip": {}, "list": (), **THEIRS[name]}
    found = plan(ours.model_copy(update=their), once, "no_runs_here")
    assert runs(found) == runs(plan(ours, once, "no_runs_here"))
    assert not [cell.undeclared for cell in found.cells if cell.undeclared]


def test_every_name_stands_for_settings_that_exist():
    paths = {knob.path for knob in knobs(Tdmpc)}
    assert not [(name, path) for name, meaning in NAMES.items() for path in meaning.ours if path not in paths]
    assert not NAMES.keys() & {path.split(".")[0] for path in paths} - {"horizon", "rho"}


def test_translating():
    assert translate({"tau": 0.02, "seed": 3}) == {"target.slow_rate": 0.02, "policy.scale_rate": 0.02, "seed": 3}
    assert translate({"detach_encoder_ratio": 0.25}) == {"optimizer.encoder_frozen_at": 0.75}
    assert translate({"policy_ema_tau": None, "value_update_freq": -1}) == {"policy.slow_rate": 0, "cadence.value": 0}
    for theirs, ours in (
        ({"fix_kl_order": True}, {"policy.improvement.order": "expert_policy"}),  # KL(expert || policy)
        ({"fix_kl_order": False}, {"policy.improvement.order": "policy_expert"}),
        ({"mult_by_temp": True}, {"planner.weighting": "multiply"}),
        ({"mult_by_temp": False}, {"planner.weighting": "divide"}),
        ({"normalize_rho_weights": True}, {"loss.over_time": "unit_mean"}),
        ({"reanalyze_use_chosen_action": True}, {"policy.improvement.expert": "executed"}),
        ({"initial_expert_from_behavior": False}, {"policy.improvement.initial": "replan"}),
        ({"td_target_use_ema_policy": True}, {"target.policy": "slow"}),
        ({"planner_use_all_heads_eval": False}, {"planner.eval_heads": "first"}),
        ({"planner_aggregate_value": True}, {"planner.depths": "all"}),
        ({"greedy_train_action_selection": True}, {"planner.choose_train": "best"}),
        ({"ema_value_planning": True}, {"planner.value_net": "slow"}),
        ({"critic_target_source": "replay_true"}, {"target.start_at": "encoded"}),
        ({"critic_source": "replay_rollout"}, {"target.predict_at": "rollout"}),
        ({"red_q_style_value": True}, {"target.heads.members": 2}),
        ({"reanalyze_num_pi_trajs": None}, {"reanalysis.policy_plans": -1}),
    ):
        assert translate(theirs) == ours
    with pytest.raises(UserError, match=r"tau and target\.slow_rate both set target\.slow_rate, to 0\.1 and 0\.2"):
        translate({"tau": 0.1, "target.slow_rate": 0.2})
    with pytest.raises(UserError, match=r"ac_utd_multiplier has no counterpart here: write cadence\.value"):
        translate({"ac_utd_multiplier": 2})
    with pytest.raises(UserError, match=r"optimizer\.encoder_step_at='soon': input should be a valid number"):
        resolve("svg_ensemble", ["enc_lr_step_ratio=soon"])
    with pytest.raises(UserError, match=r"hot_buffer_size has no counterpart here: write slices\.hot"):
        translate({"hot_buffer_size": 1000})
    with pytest.raises(UserError, match="planner_value_std_coef_eval=pess stands for a number: write the number"):
        translate({"planner_value_std_coef_eval": "pess"})
    neutral = {"ac_utd_multiplier": 1, "mpc": True, "hot_buffer_enabled": False, "pi_rollout_horizon": 1}
    assert translate({**neutral, "bmpc_policy_parameterization": None, "seed": 3}) == {"seed": 3}
    assert resolve("svg_ensemble", ["mpc=true", "utd_ratio=4"]).tree == resolve("svg_ensemble").tree


def test_imitation_brings_the_renewal_of_plans_and_value_gradients_leave_it() -> None:
    theirs = ["policy_optimization_method=distillation", "bmpc_policy_parameterization=true"]
    config = resolve("svg_ensemble", theirs).config
    assert isinstance(config, Tdmpc) and isinstance(config.reanalysis, Lazy)
    assert (config.reanalysis.interval, config.reanalysis.states, config.reanalysis.slices) == (10, 60, True)
    policy = config.model.policy
    assert isinstance(policy, Clipped)
    assert (policy.log_std_min, policy.log_std_max, policy.reanalysis_log_std_min) == (-5, 1, None)
    back = resolve("bmpc_equivalence", ["policy_optimization_method=svg"]).config
    assert isinstance(back, Tdmpc) and back.reanalysis.kind == "never"
    both = resolve("bmpc_equivalence", ["policy_optimization_method=both"]).config
    assert isinstance(both, Tdmpc) and isinstance(both.policy.improvement, Both)
    plans = both.policy.improvement
    assert (plans.expert, plans.std_scale, plans.min_std) == ("mean", 1.5, 0.1)


def test_another_head_of_auxiliary_values_changes_the_head_alone() -> None:
    found = plan(load_sweep(SWEEPS / "value_stability" / "1_ensemble.yaml"), once, "no_runs_here")
    for run in found.runs:
        auxiliary = run.resolved.config.auxiliary
        assert (auxiliary.weight, auxiliary.learn_from, auxiliary.gammas) == (0.01, "imagined", (0.9, 0.95))


def test_a_baseline_may_be_named_in_the_users_words() -> None:
    ours = load_sweep(SWEEPS / "bmpc" / "4b_tau.yaml").model_copy(update={"seeds": (1,), "zip": {}, "list": ()})
    found = plan(
        ours.model_copy(update={"grid": {"tau": [0.01, 0.02]}, "baseline": {"tau": 0.02}}), once, "no_runs_here"
    )
    (base,) = [cell for cell in found.cells if cell.is_baseline]
    assert base.swept == {"target.slow_rate": 0.02, "policy.scale_rate": 0.02}


def test_a_sweep_over_settings_of_what_is_off_is_refused() -> None:
    ours = load_sweep(SWEEPS / "bmpc" / "4b_tau.yaml").model_copy(update={"seeds": (1,), "baseline": None})
    dead = ours.model_copy(update={"zip": {}, "list": (), "grid": {"multi_gamma_loss_weight": [0.01, 0.1]}})
    with pytest.raises(
        UserError, match=r"compares nothing: auxiliary\.weight belongs to auxiliary=joint, which no cell"
    ):
        plan(dead, once, "no_runs_here")


def test_the_users_names_on_the_command_line():
    assert (
        resolve("svg_ensemble", ["tau=0.01", "planner_use_all_heads_eval=false"]).fingerprint
        == resolve(
            "svg_ensemble", ["target.slow_rate=0.01", "policy.scale_rate=0.01", "planner.eval_heads=first"]
        ).fingerprint
    )
