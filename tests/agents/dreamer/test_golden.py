"""Twenty updates of every recipe against a stored trace: a refactor leaves it, a change of behaviour says so.

To store a new trace after a change that is meant, run this file with `BELLMARK_GOLDEN=write` in the environment, and
say in the changelog that numbers change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from dreamer_small import NETWORKS, PICTURES, SMALL, SPEC, batch

from bellmark.agents.dreamer.agent import DreamerAgent
from bellmark.agents.dreamer.config import Dreamer
from bellmark.cli.families import config_class, list_recipes, resolve

TRACE = Path(__file__).parents[2] / "golden" / "dreamer.json"
RECIPES = [r.name for r in list_recipes() if config_class(r.family) is Dreamer]
SHORT = tuple(o for o in SMALL if o not in NETWORKS and not o.startswith(("optimizer.lr", "collect.random")))
FOLLOWED = ("loss/rec", "loss/rew", "loss/con", "loss/dyn", "loss/policy", "loss/value", "loss/repval", "value/mean",
            "value/target", "policy/entropy", "scale/returns", "grad/model", "grad/policy", "grad/value")  # fmt: skip


def trace(recipe: str) -> dict[str, list[float]]:
    """The followed metrics at the last of the first five, ten, fifteen and twenty updates that report them."""
    resolved = resolve(recipe, [*NETWORKS, *SHORT, "optimizer.lr=3e-3"])
    config = resolved.config
    assert isinstance(config, Dreamer)
    if config.gating.kind == "gated":
        config = resolve(recipe, [*NETWORKS, *SHORT, "optimizer.lr=3e-3", "gating.warmup=4"]).config
        assert isinstance(config, Dreamer)
    pixels = getattr(config.task, "observation", "state") == "pixels"
    learner = DreamerAgent(config, PICTURES if pixels else SPEC, "cpu")
    last: dict[str, float] = {}
    rows = []
    for count in range(20):
        metrics, _ = learner.update(batch(learner, count), 10 + count)
        last |= {name: float(metrics[name]) for name in FOLLOWED if name in metrics}
        if count % 5 == 4:
            rows.append(dict(last))
    return {name: [row[name] for row in rows] for name in FOLLOWED if name in rows[0]}


@pytest.fixture
def in_double_precision() -> Iterator[None]:
    """In single precision, processors differ in the last bits, and twenty updates make that visible."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_double_precision")
@pytest.mark.parametrize("recipe", RECIPES)
def test_twenty_updates(recipe: str) -> None:
    found = trace(recipe)
    known = json.loads(TRACE.read_text()) if TRACE.exists() else {}
    if os.environ.get("BELLMARK_GOLDEN") == "write":
        TRACE.write_text(json.dumps({**known, recipe: found}, indent=1, sort_keys=True) + "\n")
        return
    assert recipe in known, f"no stored trace of {recipe}: see this file's docstring"
    for name, values in found.items():
        assert values == pytest.approx(known[recipe][name], rel=1e-5, abs=1e-9), name
