"""The evaluation-noise floor, by hand and through a verdict."""

from __future__ import annotations

import numpy as np
import pytest

from bellmark.stats import Claim, judge
from bellmark.stats.noise import floor, return_variance, success_variance


def test_success_variance_by_hand() -> None:
    # Pooled rate (0.4 + 0.6 + 0.5 + 0.5)/4 = 1/2; each arm: (1/100 + 1/100)/2^2 = 1/200; 1/4 (1/200 + 1/200) = 1/400.
    hundred = np.array([100.0, 100.0])
    assert success_variance(np.array([0.4, 0.6]), np.array([0.5, 0.5]), hundred, hundred) == pytest.approx(1 / 400)


def test_return_variance_by_hand() -> None:
    # Seeds with s = 3 over 9 episodes and s = 4 over 4: (1 + 4)/2^2.
    assert return_variance(np.array([3.0, 4.0]), np.array([9.0, 4.0])) == pytest.approx(1.25)


def test_floor_averages_tasks() -> None:
    # Two tasks of variance 2: the mean has variance (2 + 2)/4 = 1.
    assert floor([2.0, 2.0]) == pytest.approx(1.959964, abs=1e-6)


def test_a_difference_inside_the_floor_is_said(make_arm) -> None:  # type: ignore[no-untyped-def]
    claim = Claim(metric="eval/success", summary="final")
    baseline = make_arm("base", [0.50, 0.50, 0.51], episodes=50)
    inside, outside = judge(
        claim, baseline, [make_arm("near", [0.52, 0.53, 0.54], episodes=50), make_arm("far", [0.9] * 3, episodes=50)]
    )
    # p about .517 over 300 episodes: 1.96 sqrt(.25 (2/150)) = .113.
    assert inside.noise_floor == pytest.approx(0.113, abs=1e-3)
    assert inside.noise_explains
    assert "Evaluation noise alone explains" in inside.sentence
    assert not outside.noise_explains
    assert "Evaluation noise" not in outside.sentence


def test_more_evaluations_in_the_summary_lower_the_floor(make_arm) -> None:  # type: ignore[no-untyped-def]
    curves = [[0.5, 0.5, 0.5, 0.5]] * 3
    arms = make_arm("base", curves, episodes=50), make_arm("arm", curves, episodes=50)
    one, four = (
        judge(Claim(metric="eval/success", summary=summary, last=4), arms[0], [arms[1]])[0].noise_floor
        for summary in ("final", "last_mean")
    )
    assert one == pytest.approx(2 * four)


def test_returns_need_the_spread_of_an_episode(make_arm) -> None:  # type: ignore[no-untyped-def]
    claim = Claim(metric="eval/return", summary="final", scales={"task": 10.0})
    values = [1.0, 2.0, 3.0]
    unknown = judge(claim, make_arm("base", values, episodes=4), [make_arm("arm", values, episodes=4)])[0]
    assert unknown.noise_floor is None
    sides = make_arm("base", values, episodes=4, episode_sd=6.0), make_arm("arm", values, episodes=4, episode_sd=6.0)
    # Each arm 36/4/3 = 3, together 6, scaled by 10^2: 1.96 sqrt(.06).
    assert judge(claim, sides[0], [sides[1]])[0].noise_floor == pytest.approx(1.959964 * np.sqrt(0.06))
