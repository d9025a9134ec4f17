"""The sweeps of the finetuning log: each plans, fairly, to the runs that its file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bellmark.cli.families import resolve
from bellmark.sweeps.plan import plan
from bellmark.sweeps.schema import load_sweep

FOLDER = Path(__file__).parents[1] / "sweeps" / "finetune"
# Runs of five seeds each: the cells, and the baseline where it is no cell.
ARMS = {
    "1_large_scale": 4, "2_critic_and_gamma": 5, "3_regression_tricks": 4, "4_update_to_data": 6, "5_whose_values": 5,
    "6_mc5_ppo": 2, "7_mc16_awr": 3, "8_awr_beta": 5, "9_awr_samples": 3, "10_awr_gamma": 4, "11_awr_offline": 4,
    "12_awr_onpolicy": 3, "13_iql_expectile": 4, "14_iql_selection": 5, "15_iql_one_checkpoint": 3,
    "16_mc16_or_iql": 5, "17_optimal_or_own": 2, "18_weak_start": 7, "19_tenth_of_the_steps": 4,
    "20_fifty_thousand_steps": 3, "21_every_state": 3,
}  # fmt: skip


def test_every_file_is_counted():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(ARMS)


@pytest.mark.parametrize("name", ARMS)
def test_a_sweep_plans_to_its_arms(name, tmp_path):
    made = plan(load_sweep(FOLDER / f"{name}.yaml"), resolve, tmp_path)
    assert len({run.arm for run in made.runs}) == ARMS[name]
    assert len(made.runs) == 5 * ARMS[name]
    assert not [w for w in made.warnings if "unfair" in w or "one seed" in w]
