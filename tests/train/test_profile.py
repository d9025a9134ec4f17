"""Where a run's time goes: shares that sum to one and files that profilers read, for both kinds of loop."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from bellmark.cli.families import resolve
from bellmark.cli.train import run_folder
from bellmark.nets.optim import LaProp
from bellmark.records import Run
from bellmark.train.profile import TIMED
from bellmark.train.run import DONE, execute

DREAMER = (
    "model.deter=16", "model.units=8", "model.latents=4", "model.classes=4", "model.bins=21", "batch=4", "length=6",
    "train_ratio=4", "steps=120", "collect.log_every=20", "evaluation.every=120", "evaluation.episodes=2",
    "learning.imagination.horizon=3", "evaluation.sampled=false",
)  # fmt: skip
PPO = (
    "task=probe", "task.name=policy-from-obs", "start=scratch", "policy.hidden=16", "policy.layers=1",
    "critic.hidden=16", "critic.layers=1", "collect.envs=8", "collect.steps=4", "steps=320", "update.epochs=2",
    "update.minibatches=2", "evaluation.every=320", "evaluation.episodes=8",
)  # fmt: skip
PHASES = ("data", "forward", "backward", "optimizer", "rest")


@pytest.mark.parametrize(("recipe", "overrides"), [("dreamer_cartpole_state", DREAMER), ("ppo", PPO)])
def test_shares_sum_to_one_and_traces_are_written(
    tmp_path: Path, recipe: str, overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bellmark.train.online.SLICE", 1e-9)  # many small pieces
    folder = run_folder(resolve(recipe, overrides), tmp_path)
    assert execute(folder, profile=True) == DONE
    files = {path.name for path in (folder / "profile").iterdir()}
    assert files == {"shares.json", *(f"{kind}_{n}.{end}" for n in (1, 2, 3) for kind, end in FILES)}
    events = json.loads(gzip.decompress((folder / "profile" / "trace_1.json.gz").read_bytes()))["traceEvents"]
    assert "backward" in {event.get("name") for event in events}
    shares = json.loads((folder / "profile" / "shares.json").read_text())["shares"]
    assert tuple(shares) == PHASES
    assert sum(shares.values()) == pytest.approx(1)
    assert all(shares[phase] > 0 for phase in PHASES)
    curves = Run(folder).curves([f"profile/{phase}" for phase in PHASES])
    assert sum(curve.value[-1] for curve in curves.values()) == pytest.approx(1)
    assert curves["profile/optimizer"].value[-1] > 0  # not only in the first row, which makes the moments


FILES = (("trace", "json.gz"), ("operators", "txt"))


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    before = [getattr(owner, name) for owner, name, _ in TIMED]
    folder = run_folder(resolve("ppo", [*PPO, "steps=64", "evaluation.every=64"]), tmp_path)
    execute(folder, profile=True)
    assert [getattr(owner, name) for owner, name, _ in TIMED] == before
    assert LaProp._descend.__name__ == "_descend" and not torch.cuda.is_initialized()
