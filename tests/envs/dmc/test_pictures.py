"""DeepMind Control from pictures: the same worlds, seen; saved and restored to the same picture."""

from __future__ import annotations

import numpy as np
import pytest

from bellmark.envs.dmc import Dmc
from bellmark.envs.video import ensure_gl
from bellmark.errors import UserError

try:
    ensure_gl()
except UserError as error:
    pytest.skip(str(error), allow_module_level=True)


def test_pictures_follow_the_state() -> None:
    seen, felt = (Dmc(task="cartpole-swingup", observation=kind).make(2) for kind in ("pixels", "state"))
    first, _ = seen.reset(seed=3)
    felt.reset(seed=3)
    assert first.shape == (2, 64, 64, 3) and first.dtype == np.uint8 == seen.single_observation_space.dtype
    assert len(np.unique(first)) > 10, "something is drawn"
    assert not np.array_equal(first[0], first[1]), "worlds begin differently"
    actions = np.ones((2, 1), np.float32)
    for _ in range(3):
        later, reward, *_ = seen.step(actions)
        _, expected, *_ = felt.step(actions)
        assert np.array_equal(reward, expected)
    assert not np.array_equal(first, later)
    kept = seen.snapshot()
    seen.step(actions)
    assert np.array_equal(seen.restore(kept), later)
    for env in (seen, felt):
        env.close()


def test_without_a_way_to_draw_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise UserError("nothing here can draw without a display; install one with `apt-get install libosmesa6`")

    monkeypatch.setattr("bellmark.envs.video.ensure_gl", none)
    with pytest.raises(UserError, match="apt-get install"):
        Dmc(observation="pixels").make(1)
