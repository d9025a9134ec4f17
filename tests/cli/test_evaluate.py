"""`bellmark evaluate`: what it says of a task that knows success and of one that does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bellmark.cli import main
from bellmark.cli.families import resolve
from bellmark.cli.train import run_folder
from bellmark.stats.intervals import t_interval, wilson
from bellmark.train.judge import Judge
from bellmark.train.run import DONE, execute

BOUNDS = ("success", "success_low", "success_high", "return", "return_low", "return_high", "length")
SMALL = (
    "model.deter=16",
    "model.units=8",
    "model.latents=4",
    "model.classes=4",
    "steps=40",
    "collect.log_every=40",
    "evaluation.every=40",
)


def test_success_and_return_have_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "pickcube_weak", "--episodes", "6", "--seed", "3", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    judged = Judge("pickcube_weak").judge(6, 3)
    for mode, episodes in (("deterministic", judged.deterministic), ("sampled", judged.sampled)):
        assert episodes is not None
        share, mean = wilson(int(episodes.success.sum()), 6), t_interval(episodes.returns)
        expected = [*share, *mean, float(episodes.length.mean())]
        np.testing.assert_allclose([said[mode][name] for name in BOUNDS], expected)
    assert main(["evaluate", "pickcube_weak", "--episodes", "6", "--seed", "3"]) == 0
    table = capsys.readouterr().out
    assert table.count("95% interval") == 2
    assert f"{said['sampled']['success']:.1%}" in table


def test_a_task_that_knows_none_has_none_said_and_one_episode_has_no_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_folder(resolve("dreamer_cartpole_state", [*SMALL]), tmp_path)
    assert execute(folder) == DONE
    assert main(["evaluate", str(folder), "--episodes", "1", "--greedy-only", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said["deterministic"]) == {"return", "length"}
    assert "sampled" not in said
    assert main(["evaluate", str(folder), "--episodes", "2"]) == 0
    table = capsys.readouterr().out
    assert "success" not in table
    assert table.count("95% interval") == 1


def test_whoever_watches_hears_of_every_step() -> None:
    heard: list[float] = []
    judged = Judge("pickcube_weak").judge(2, 3, sampled=False, watch=heard.append)
    assert len(heard) == judged.deterministic.length.max()
    np.testing.assert_allclose(heard, np.arange(len(heard)) / 50)  # its time limit
