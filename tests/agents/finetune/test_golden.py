"""Twenty updates of every recipe against a stored trace: a refactor leaves it, a change of behaviour says so.

To store a new trace after a change that is meant, run this file with `BELLMARK_GOLDEN=write` in the environment, and
say in the changelog that numbers change.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from finetune_small import stored

from bellmark.agents.finetune.agent import FinetuneAgent
from bellmark.agents.finetune.config import Finetune
from bellmark.agents.finetune.networks import Critic
from bellmark.cli.families import config_class, list_recipes, resolve

TRACE = Path(__file__).parents[2] / "golden" / "finetune.json"
RECIPES = [r.name for r in list_recipes() if config_class(r.family) is Finetune]
SMALL = (
    "policy.hidden=16", "policy.layers=2", "collect.envs=4", "collect.steps=5", "steps=20", "update.epochs=5",
    "update.minibatches=4",
)  # fmt: skip
CHEAP = {  # what happens before the first update, at a size for tests
    "gae_ppo_large": ("critic.initial.worlds=3", "critic.initial.rollouts=1", "critic.initial.epochs=2"),
    "iql_awr": ("critic.data.episodes=2", "critic.epochs=2"),
}
FOLLOWED = ("loss/policy", "loss/value", "policy/kl", "policy/log_std", "advantage/std", "grad/norm")


def trace(recipe: str) -> dict[str, list[float]]:
    """What one iteration of twenty gradient steps and the next do to the followed metrics."""
    config = resolve(recipe, [*SMALL, *CHEAP.get(recipe, ())]).config
    assert isinstance(config, Finetune)
    torch.manual_seed(0)

    def load(name: str) -> dict[str, object]:
        donor = FinetuneAgent(config.model_copy(update={"start": type(config).model_fields["start"].default}), load)
        return stored(donor.policy, donor.critic if isinstance(donor.critic, Critic) else None)

    agent = FinetuneAgent(config, load)
    agent.prepare()
    rows = [agent.iterate(), agent.iterate()]
    assert rows[0]["update/gradient_steps"] == 20
    return {k: [row[k] for row in rows] for k in FOLLOWED}


@pytest.mark.parametrize("recipe", RECIPES)
def test_twenty_updates(recipe):
    found = trace(recipe)
    known = json.loads(TRACE.read_text()) if TRACE.exists() else {}
    if os.environ.get("BELLMARK_GOLDEN") == "write":
        TRACE.write_text(json.dumps({**known, recipe: found}, indent=1, sort_keys=True) + "\n")
        return
    assert recipe in known, f"no stored trace of {recipe}: see this file's docstring"
    for name, values in found.items():
        # Contact physics and float32 sums differ in the last bits between processors.
        assert values == pytest.approx(known[recipe][name], rel=2e-3, abs=1e-5), name
