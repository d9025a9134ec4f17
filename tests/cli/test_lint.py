"""`bellmark lint` on recipes and on sweep files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bellmark.cli.lint import lint
from bellmark.errors import UserError

SWEEP = """
question: Does it help?
expect: {{metric: eval/success, minimum_effect: {effect}, last: 1}}
base: gae_ppo_finetune
set: {{evaluation.episodes: 16}}
grid: {{update.target_kl: [0.1, 100.0]}}
seeds: 1-3
"""


def asked(*words: str) -> tuple[int, dict[str, list[dict[str, object]]]]:
    done = CliRunner().invoke(lint, [*words, "--json"], standalone_mode=False)
    assert done.exception is None, done.exception
    return done.return_value, json.loads(done.stdout)


def rules(findings: list[dict[str, object]]) -> list[object]:
    return [finding["rule"] for finding in findings]


def test_a_recipe() -> None:
    code, found = asked("dreamer_cartpole_state", "model.bin_limit=5")
    assert code == 3
    assert "narrow_support" in rules(found["dreamer_cartpole_state"])


@pytest.mark.parametrize(("effect", "shown"), [(0.05, False), (0.5, True)])
def test_a_sweep_whose_evaluations_are_too_short_for_its_effect(effect: float, shown: bool, tmp_path: Path) -> None:
    # 16 episodes know a rate near one half to within 0.5 / 4 = 0.125: 0.05 is 0.4 of it, 0.5 four times as much.
    # One-sided at 5% with 80% power, three seeds need an effect of about 2.9 deviations.
    file = tmp_path / "question.yaml"
    file.write_text(SWEEP.format(effect=effect))
    _, found = asked(str(file))
    design = rules(found["question"])
    assert ("short_evaluation" not in design) == shown


def test_a_cell_is_named_with_what_the_others_do_not_have(tmp_path: Path) -> None:
    file = tmp_path / "question.yaml"
    file.write_text(SWEEP.format(effect=0.5))
    _, found = asked(str(file))
    ill = [arm for arm, findings in found.items() if "tight_kl" in rules(findings)]
    assert ill and all("0.1" in arm for arm in ill)


def test_a_sweep_without_an_effect_is_told(tmp_path: Path) -> None:
    file = tmp_path / "question.yaml"
    file.write_text(SWEEP.format(effect=0))
    assert "no_effect_declared" in rules(asked(str(file))[1]["question"])


def test_the_start_is_played_as_the_recipe_begins_from_it(tmp_path: Path) -> None:
    _, found = asked("gae_ppo_finetune", "--play")
    assert rules(found["gae_ppo_finetune"]).count("noisy_start") == 1
    _, quiet = asked("gae_ppo_finetune", "start.max_log_std=-1.5", "--play")
    assert "noisy_start" not in rules(quiet["gae_ppo_finetune"])
    file = tmp_path / "question.yaml"
    file.write_text(SWEEP.format(effect=0.5))
    assert rules(asked(str(file), "--play")[1]["question"]).count("noisy_start") == 1  # of two cells with one start


def test_a_run_from_nothing_has_no_start_to_play() -> None:
    done = CliRunner().invoke(lint, ["tdmpc2", "--play"], standalone_mode=False)
    assert isinstance(done.exception, UserError)
    assert "tdmpc2 starts from no stored policy" in str(done.exception)
