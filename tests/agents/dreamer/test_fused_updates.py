"""Whole updates by the fused passes in C and by PyTorch's own operations: they differ in rounding alone."""

from __future__ import annotations

import pytest
import torch
from dreamer_small import NETWORKS, SPEC, batch

from bellmark.agents.dreamer.agent import DreamerAgent
from bellmark.agents.dreamer.config import Dreamer
from bellmark.cli.families import resolve
from bellmark.ops import native

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiler")
BINS = ("model.bins=41", "model.bin_limit=5")  # weights on bins of e^20 would magnify the last digit to a tenth
RECIPES = {
    "dreamer_cartpole_state": ("optimizer.warmup=0",),
    "dreamer_protocol": ("gating.warmup=0",),  # independent GRUs, no norms
    "dreamer_protocol relu": ("gating.warmup=0", "model.activation=relu"),
}


def updates(recipe: str) -> tuple[list[dict[str, float]], torch.Tensor]:
    """What five updates report, and the parameters that they lead to."""
    config = resolve(recipe.split(maxsplit=1)[0], [*NETWORKS, "batch=4", "length=6", *BINS, *RECIPES[recipe]]).config
    assert isinstance(config, Dreamer)
    learner = DreamerAgent(config, SPEC, "cpu")
    rows = [learner.update(batch(learner, count), 10_000 + count)[0] for count in range(5)]
    flat = torch.cat([p.detach().flatten() for p in learner.nets.parameters()])
    return [{name: float(value) for name, value in row.items()} for row in rows], flat


@pytest.mark.parametrize("recipe", RECIPES)
def test_five_updates(monkeypatch: pytest.MonkeyPatch, recipe: str) -> None:
    rows, flat = updates(recipe)
    with monkeypatch.context() as patch:
        patch.setattr(native, "library", lambda: None)
        expected, plain = updates(recipe)
    assert {"loss/rec", "loss/dyn", "loss/policy", "loss/value"} <= rows[-1].keys()
    for mine, theirs in zip(rows, expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-4)
    torch.testing.assert_close(flat, plain, rtol=1e-3, atol=1e-4)
