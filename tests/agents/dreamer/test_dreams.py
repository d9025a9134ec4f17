"""Dreams against reality: rows that belong together, errors by hand, files for states and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bellmark.agents.dreamer.dreams import Episode, Start, choose_starts, errors, open_loop
from bellmark.agents.dreamer.learning import Discounting, Learning
from bellmark.cli import main
from bellmark.cli.families import resolve
from bellmark.cli.train import run_folder
from bellmark.train.dreams import grid
from bellmark.train.run import DONE, execute


class Line:
    """A model that is right: x moves by the action, the reward is the new x, beyond 3 it is over."""

    deter, latents, classes = 1, 1, 2

    def __init__(self, drift: float = 0.0) -> None:
        self.drift = drift

    def follow(self, deter: Any, stoch: Any, action: Any, tokens: torch.Tensor, uniform: Any) -> Any:
        return tokens, torch.zeros(1, 2, tokens.shape[1])

    def imagination(self, count: int) -> Any:
        def imagine(here: torch.Tensor, action: torch.Tensor, uniform: Any, there: torch.Tensor) -> None:
            there[:1], there[1:] = here[:1] + action + self.drift, 0

        return imagine


def networks(drift: float = 0.0) -> Any:
    gamma = Discounting().gamma
    return SimpleNamespace(
        rssm=Line(drift),
        actions=1,
        encoder=lambda obs: obs.t(),
        decoder=lambda seen: seen[:1].t(),
        reward=SimpleNamespace(rows=lambda seen: seen[:1].t()),
        bins=SimpleNamespace(decode=lambda rows: rows[:, 0]),
        continuation=lambda seen: torch.logit((seen[:1] <= 3).float() * gamma, eps=1e-7),
    )


def episode(*action: float, begin: float = 0.0, terminated: bool = False) -> Episode:
    x = torch.tensor([begin, *action]).cumsum(0)
    reward = torch.cat((torch.zeros(1), x[1:]))
    return Episode(x[:, None], torch.tensor(action)[:, None], reward, terminated)


EPISODES = [episode(1.0, -2.0, 0.5, 0.5, 1.0), episode(1.0, 1.0, 1.0, 1.0, terminated=True)]


def dreamed(drift: float = 0.0, steps: int = 3) -> Any:
    generator = torch.Generator().manual_seed(0)
    return open_loop(networks(drift), Learning(), EPISODES, context=2, steps=steps, samples=2, generator=generator)


def test_a_model_that_is_right_is_found_right() -> None:
    dreams = dreamed()
    assert dreams.starts == [Start(0, 1), Start(0, 2), Start(0, 3), Start(0, 4), Start(1, 1), Start(1, 2), Start(1, 3)]
    # episode 1 is x = 0 1 2 3 4, over at 4: a dream from row 2 sees 3 and 4, then nothing is real any more
    assert dreams.valid[:, 5].tolist() == [True, True, True, False]
    assert dreams.real_obs[:, 5, 0].tolist() == [2, 3, 4, 0]
    assert dreams.obs[:3, 5, 0, 0].tolist() == [2, 3, 4]
    assert dreams.real_reward[1:3, 5].tolist() == [3, 4] == dreams.reward[1:3, 5, 1].tolist()
    assert dreams.real_alive[:3, 5].tolist() == [True, True, False]
    assert dreams.alive[:3, 5, 0] == pytest.approx([1, 1, 0], abs=1e-5)
    # episode 0 ends at its time limit: nothing terminates
    assert dreams.real_alive[:, :4].all()
    for row in errors(dreams):
        assert row["obs_error"] == pytest.approx(0, abs=1e-9)
        assert row["continue_brier"] == pytest.approx(0, abs=1e-9)
        assert row["reward_error"] == pytest.approx(0) or row["steps"] == 0


def test_errors_by_hand() -> None:
    # A model that drifts by 1 per step is off by h after h steps; rewards too. Recorded observations that dreams saw
    # or foresaw have the variance v: the error is h^2 / v.
    dreams = dreamed(drift=1.0)
    variance = dreams.real_obs[dreams.valid].var()
    rows = errors(dreams)
    assert [row["steps"] for row in rows] == [0, 1, 2, 3]
    assert [row["starts"] for row in rows] == [7, 7, 5, 3]  # dreams whose episode goes on so long
    assert [row["obs_error"] for row in rows] == pytest.approx([h**2 / variance for h in range(4)])
    assert [row["reward_error"] for row in rows[1:]] == pytest.approx([1, 2, 3])
    # one step after a start x moved by the action: -2, .5, .5, 1 and three times 1
    assert rows[1]["still_error"] == pytest.approx((4 + 0.25 + 0.25 + 1 + 3) / 7 / variance)


def test_short_episodes_start_early_and_long_ones_are_thinned_out() -> None:
    assert choose_starts(torch.tensor([1, 3]), context=5) == [Start(0, 0), Start(1, 2)]
    many = choose_starts(torch.tensor([500, 500]), context=5)
    assert len(many) <= 192 and many[0] == Start(0, 4) and Start(1, 4) in many


TINY = (
    "model.deter=16", "model.units=8", "model.latents=4", "model.classes=4", "model.bins=21", "batch=4", "length=6",
    "train_ratio=4", "steps=40", "collect.log_every=40", "evaluation.every=40", "evaluation.episodes=2",
    "learning.imagination.horizon=3", "model.depth=2",
)  # fmt: skip


def trained(root: Path, *overrides: str) -> Path:
    folder = run_folder(resolve("dreamer_cartpole_state", [*TINY, *overrides]), root)
    assert execute(folder) == DONE
    return folder


def test_states_become_numbers_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path)
    assert main(["evaluate", str(folder), "--episodes", "2", "--dreams", "--dream-steps", "6"]) == 0
    into = folder / "dreams" / "step_000000040"
    assert {p.name for p in into.iterdir()} == {"dreams.json", "dreams.png", "dreams.svg", "errors.png", "errors.svg"}
    content = json.loads((into / "dreams.json").read_text())
    assert content["samples"] == 8 and content["episodes"] == 16
    assert [row["steps"] for row in content["by_step"]] == list(range(len(content["by_step"])))
    assert all(np.isfinite(list(row.values())).all() for row in content["by_step"])
    assert f"dreams: {into / 'dreams.json'}" in capsys.readouterr().out


def test_pictures_become_a_video_too(tmp_path: Path) -> None:
    folder, into = trained(tmp_path, "task.observation=pixels"), tmp_path / "elsewhere"
    assert main(["evaluate", str(folder), "--episodes", "2", "--dreams-into", str(into), "--dream-steps", "4"]) == 0
    assert (into / "dreams.mp4").stat().st_size > 500
    assert (into / "dreams.png").is_file()


def test_a_grid_shows_truth_model_and_difference() -> None:
    real = np.full((2, 1, 4, 4, 3), 200, dtype=np.uint8)
    model = real.copy()[:, :, None]
    model[1] = 150
    dreams: Any = SimpleNamespace(starts=[Start(0, 4)], real_obs=real, obs=model, valid=np.array([[True], [True]]))
    first, second = grid(dreams)
    side = 4 * 3 + 2 * 4  # enlarged, with a frame
    assert first.shape == (3 * side, side, 3)
    middle = [int(second[row * side + side // 2, side // 2, 0]) for row in range(3)]
    assert middle == [200, 150, 255 - 50]
    assert first[side, 0].tolist() != second[side, 0].tolist()  # green while seen, red while dreamed


def test_other_families_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "pickcube_weak", "--dreams-into", "x"]) == 2
    assert "--dreams needs a dreamer run; pickcube_weak is of family 'finetune'" in capsys.readouterr().err
    assert main(["evaluate", "pickcube_weak", "--dreams"]) == 2
