"""Whether a start can tell methods apart: noise, headroom and undecided starts, on policies whose answers are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import made

from bellmark.errors import UserError
from bellmark.train import checkpoint
from bellmark.train.run import execute
from bellmark.train.starts import Start, examine


def policy_of(folder: Path, mean: float, log_std: float) -> str:
    """A stored policy that always means the same action, on the probe whose best action is 1/2."""
    run = made(folder, "task.name=policy", "steps=32", "evaluation.every=32")
    execute(run)
    last = sorted((run / "checkpoints").glob("*.pt"))[-1]
    content = checkpoint.unpack(last.read_bytes(), "test")
    for name, value in content["state"]["policy"].items():
        content["state"]["policy"][name] = torch.zeros_like(value)
    content["state"]["policy"]["mean.2.bias"] = torch.full((1,), mean)
    content["state"]["policy"]["log_std"] = torch.full((1,), log_std)
    file = folder / "policy.pt"
    file.write_bytes(checkpoint.pack(content["family"], content["config"], content["state"]))
    return str(file)


def test_failures_that_are_mere_noise_are_told(tmp_path: Path) -> None:
    # Mean at the best action, spread 1/2: success within 0.1 of it is erf(0.1 / (0.5 sqrt 2)) = 15.9%.
    start = examine(policy_of(tmp_path, 0.5, -0.6931), task=None, starts=200, samples=30, seed=1)
    assert start.deterministic == 1.0
    assert start.sampled == pytest.approx(0.159, abs=0.02)
    # Cut to exp(-1.5) = 0.223: erf(0.1 / (0.223 sqrt 2)) = 34.6%.
    assert start.quieter == pytest.approx(0.346, abs=0.11)
    assert [line.split()[0] for line in start.advice[:2]] == ["its", "84%"]
    assert start.noise_gap == pytest.approx(0.841, abs=0.02)
    assert "max_log_std=-1.5" in start.advice[1]
    assert start.undecided + start.dead + start.solved == pytest.approx(1.0)


def test_noise_that_is_small_already_is_not_to_be_cut(tmp_path: Path) -> None:
    # Spread exp(-1.6) = 0.2: success is erf(0.1 / (0.2 sqrt 2)) = 38.3%, and cutting to exp(-1.5) changes nothing.
    start = examine(policy_of(tmp_path, 0.5, -1.6), task=None, starts=100, samples=10, seed=1)
    assert start.quieter == start.sampled == pytest.approx(0.383, abs=0.05)
    assert "judge the mean action" in start.advice[1]


def test_a_start_that_never_succeeds_is_dead(tmp_path: Path) -> None:
    start = examine(policy_of(tmp_path, -0.9, -5.0), task=None, starts=20, samples=5, seed=1)
    assert (start.deterministic, start.dead, start.undecided) == (0.0, 1.0, 0.0)
    assert any("100% dead" in line for line in start.advice)


def test_a_good_start_has_nothing_against_it() -> None:
    assert Start(0.5, 0.45, 0.48, -1.5, 0.7, 0.2, 0.1, 256, 20).advice == []


def test_a_policy_of_another_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises((UserError, RuntimeError)):
        examine(policy_of(tmp_path, 0.0, 0.0), task="pick_cube", starts=2, samples=2, seed=1)
