"""Pictures of PickCube: the goal is drawn where it is, and a video file can be made of an episode."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from bellmark.envs.pick_cube import PickCube
from bellmark.envs.video import ensure_gl
from bellmark.errors import UserError
from bellmark.train.judge import Judge


@pytest.fixture(autouse=True, scope="module")
def _gl() -> None:
    try:
        ensure_gl()
    except UserError as error:
        pytest.skip(f"nothing here can draw: {error}")


def test_a_frame_shows_cube_and_goal_where_they_are() -> None:
    with closing(PickCube().make(2)) as env:
        env.reset(seed=0)
        frame = env.frame(1, 120, 160).astype(int)
        other = env.frame(0, 120, 160).astype(int)
    assert frame.shape == (120, 160, 3)
    red, green, blue = frame[..., 0], frame[..., 1], frame[..., 2]
    assert ((red - green > 60) & (red - blue > 60)).any()
    assert ((green - red > 30) & (green - blue > 20)).any()
    assert np.abs(frame - other).max() > 30


def test_filming_does_not_change_the_episode(tmp_path: Path) -> None:
    judge = Judge("pickcube_optimal")
    before = judge.judge(4, seed=1).deterministic.length
    video = judge.film(tmp_path / "episode.mp4", seed=1)
    assert video.stat().st_size > 1000
    assert np.array_equal(judge.judge(4, seed=1).deterministic.length, before)
