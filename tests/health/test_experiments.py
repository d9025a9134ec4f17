"""The command after a finding can be typed: it names a recipe and knobs that exist."""

from __future__ import annotations

import shlex

import pytest
from ill_runs import ILL, ill

from bellmark.cli.families import resolve
from bellmark.config import flatten
from bellmark.envs.probe import PROBES
from bellmark.health import RULES, Case, Finding, Subject, command, diagnose

RECIPES = {"dreamer": "dreamer_cartpole_state", "tdmpc": "tdmpc2", "finetune": "gae_ppo_finetune"}
OF = {"tight_kl": "gae_ppo_finetune", "shared_bootstrap": "svg_ensemble", "update_cut_short": "gae_ppo_finetune"}
UNDER = {  # what makes a recipe one that the rule is about
    "starved_actor": ["gating=gated"],
    "never_learns": ["gating=gated"],
    "weak_advantages": ["critic=iql", "advantage=q_minus_v", "update=awr"],
}


def after(rule: str) -> str:
    """The command after a rule's finding in a run of a recipe of its family."""
    (finding,) = diagnose(ill(rule), [rule])
    sick = ill(rule)
    family = RULES[rule].families[0] if len(RULES[rule].families) == 1 else sick.family
    recipe, own = OF.get(rule, RECIPES[family]), UNDER.get(rule, [])
    resolved = resolve(recipe, own)
    whole = Case(resolved.family, {**flatten(resolved.tree), **ILL[rule][1]}, {})
    return command(finding, whole, Subject(recipe, own, "runs/x"))


@pytest.mark.parametrize("rule", RULES)
def test_it_can_be_typed(rule: str) -> None:
    line = after(rule)
    if rule == "idle_knob":  # nothing to run
        assert line == ""
        return
    words = shlex.split(line)
    if words[0] == "ps":
        return
    assert words[0] == "bellmark" and words[1] in ("train", "probe", "evaluate")
    if words[1] == "evaluate":
        assert words[2] == "runs/x"
        return
    asked = [word for word in words[3:] if "=" in word]
    resolve(words[2], asked)
    assert words[1] == "probe" or asked, line
    assert words[-1] in PROBES or "--only" not in words


def test_a_runs_own_setting_of_that_knob_is_left_out() -> None:
    finding = Finding("tight_kl", "warning", None, "", "", "")
    case = Case("finetune", {"update.epochs": 20}, {})
    line = command(finding, case, Subject("gae_ppo_finetune", ["update.epochs=20", "seed=2"], ""))
    assert line == "bellmark train gae_ppo_finetune seed=2 update.epochs=4"


def test_an_imported_record_has_no_recipe_to_train() -> None:
    finding = Finding("tight_kl", "warning", None, "", "", "")
    assert command(finding, Case("finetune", {"update.epochs": 20}, {}), Subject("", [], "")) == ""
