"""Rollouts as Minari datasets: episodes by hand, and read back by Minari itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from finetune_small import agent

from bellmark.agents.finetune.rollout import Rollout
from bellmark.cli import main
from bellmark.train.judge import Judge
from bellmark.train.minari import episodes, played, save


def test_episodes_golden():
    # Five steps of one world: an end after the second, a time limit after the fourth, then a piece of one step.
    obs = torch.arange(5.0).view(5, 1, 1)
    flags = {"terminated": [0, 1, 0, 0, 0], "done": [0, 1, 0, 1, 0]}
    terminated, done = (torch.tensor(v, dtype=torch.bool)[:, None] for v in flags.values())
    data = Rollout(
        obs, 3 * torch.ones(5, 1, 1), torch.zeros(5, 1), obs[..., 0], obs + 0.5, terminated, done,
        torch.zeros(5, 1), [], [], [], 50,
    )  # fmt: skip
    found = episodes(data)
    assert [e["observations"][:, 0].tolist() for e in found] == [[0, 1, 1.5], [2, 3, 3.5], [4, 4.5]]
    assert [e["rewards"].tolist() for e in found] == [[0, 1], [2, 3], [4]]
    assert [e["terminations"].tolist() for e in found] == [[False, True], [False, False], [False]]
    assert [e["truncations"].tolist() for e in found] == [[False, False], [False, True], [True]]
    assert all((e["actions"] == 1).all() for e in found)  # as the environment saw them


def test_minari_reads_it_back(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    learner = agent("task.reward=dense")
    rollouts = [learner.preparation().gather(name, 3, 6) for name in ("one", "two")]
    save("pickcube/mixed-v0", rollouts, learner.env, "two policies")
    read = minari.load_dataset("pickcube/mixed-v0")
    assert read.total_episodes == 6
    assert read.total_steps == 2 * 3 * 6
    expected = [piece for rollout in rollouts for piece in episodes(rollout)]
    for got, piece in zip(read.iterate_episodes(), expected, strict=True):
        np.testing.assert_array_equal(got.observations, piece["observations"])
        np.testing.assert_array_equal(got.actions, piece["actions"])
        np.testing.assert_allclose(got.rewards, piece["rewards"], rtol=1e-6)
        np.testing.assert_array_equal(got.truncations, piece["truncations"])


def test_the_command_writes_policies_episodes(tmp_path, monkeypatch, capsys):
    minari = pytest.importorskip("minari")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", "")  # what --out sets is taken back
    call = ["export", "pickcube_optimal", "pickcube_weak", "--to", "minari", "--dataset", "pickcube/mixed-v0",
            "--episodes", "3", "--seed", "5", "--out", "data"]  # fmt: skip
    assert main(call) == 0
    assert "pickcube/mixed-v0: 6 episodes" in capsys.readouterr().out
    read = list(minari.load_dataset("pickcube/mixed-v0").iterate_episodes())
    env = Judge("pickcube_weak").worlds(3)
    again = played(Judge("pickcube_weak").policy, env, 6, deterministic=False)
    for got, piece in zip(read[3:], again, strict=True):  # the second policy's, from the next seed
        np.testing.assert_array_equal(got.observations, piece["observations"])
        np.testing.assert_array_equal(got.actions, piece["actions"])
        assert len(got.observations) == len(got.actions) + 1
        assert got.terminations[-1] ^ got.truncations[-1]
        assert not got.terminations[:-1].any() and not got.truncations[:-1].any()
    # Stepping the same worlds by the stored actions gives the stored rewards and observations.
    obs, _ = env.reset(seed=6)
    for t in range(len(read[3].actions)):
        np.testing.assert_array_equal(read[3].observations[t], obs[0].astype(np.float32))
        moved = env.advance(np.arange(1), read[3].actions[t][None])
        obs = moved.obs
        assert read[3].rewards[t] == pytest.approx(moved.reward[0])
    assert main(call) == 2
    assert "Minari does not take 'pickcube/mixed-v0'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--to", "minari"], "--to minari needs --dataset"),
        (["--to", "csv", "--episodes", "3"], "--episodes is for --to minari"),
        (["--to", "minari", "--dataset", "a/b-v0"], "pickcube_week"),
    ],
)
def test_the_command_says_what_is_wrong(options, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "pickcube_week", *options]) == 2
    assert said in capsys.readouterr().err
