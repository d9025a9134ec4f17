"""Log ratios against averages that move at every update."""

from __future__ import annotations

import math

import pytest
import torch

from bellmark.agents.dreamer.surprise import Surprise, SurpriseMeter


def numbers(total: float, **terms: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    return torch.tensor(total), {name: torch.tensor(value) for name, value in terms.items()}


def test_the_first_call_only_sets_the_averages() -> None:
    reading = SurpriseMeter(Surprise()).observe(*numbers(2.0, reward=1.0, kl_dyn=0.5))
    assert reading.total == 0 and reading.smoothed == 0
    assert {name: float(value) for name, value in reading.metrics.items()} == {
        "surprise/total_log_ratio": 0,
        "surprise/reward_log_ratio": 0,
        "surprise/kl_dyn_log_ratio": 0,
        "surprise/max_component_log_ratio": 0,
        "surprise/smoothed": 0,
        "surprise/ready": 0,
    }


def test_ratios_by_hand() -> None:
    # beta 0.5. Update 1: averages 2, 1, 4. Update 2: losses 4, 1, 2 -> ln 2, 0, -ln 2; averages 3, 1, 3.
    # Update 3: losses 1.5, 1, 3 -> ln 0.5, 0, 0. Smoothed: ln 2, then max(0.9 ln 2, 0).
    meter = SurpriseMeter(Surprise(beta=0.5, decay=0.9))
    meter.observe(*numbers(2.0, reward=1.0, obs=4.0))
    second = meter.observe(*numbers(4.0, reward=1.0, obs=2.0))
    assert float(second.total) == pytest.approx(math.log(2), abs=1e-6)
    assert float(second.smoothed) == pytest.approx(math.log(2), abs=1e-6)
    assert float(second.metrics["surprise/obs_log_ratio"]) == pytest.approx(-math.log(2), abs=1e-6)
    assert float(second.metrics["surprise/max_component_log_ratio"]) == pytest.approx(0, abs=1e-6)
    assert second.metrics["surprise/ready"] == 1
    third = meter.observe(*numbers(1.5, reward=1.0, obs=3.0))
    assert float(third.total) == pytest.approx(math.log(0.5), abs=1e-6)
    assert float(third.smoothed) == pytest.approx(0.9 * math.log(2), abs=1e-6)
    assert float(third.metrics["surprise/obs_log_ratio"]) == pytest.approx(0, abs=1e-6)


def test_components_move_at_every_update() -> None:
    # The earlier code moved them on log rows only: a component that had doubled for good still read ln 2 much later.
    meter = SurpriseMeter(Surprise(beta=0.5))
    meter.observe(*numbers(1.0, kl_dyn=1.0))
    for _ in range(20):
        last = meter.observe(*numbers(1.0, kl_dyn=2.0))
    assert float(last.metrics["surprise/kl_dyn_log_ratio"]) == pytest.approx(0, abs=1e-5)


def test_a_saved_meter_goes_on_as_it_would_have() -> None:
    first, second = SurpriseMeter(Surprise()), SurpriseMeter(Surprise())
    for value in (1.0, 3.0, 2.0):
        first.observe(*numbers(value, reward=value / 2))
    second.load_state_dict(first.state_dict())
    again = [meter.observe(*numbers(5.0, reward=1.0)) for meter in (first, second)]
    assert {k: float(v) for k, v in again[0].metrics.items()} == {k: float(v) for k, v in again[1].metrics.items()}


def test_other_components_than_before_are_refused() -> None:
    meter = SurpriseMeter(Surprise())
    meter.observe(*numbers(1.0, reward=1.0))
    with pytest.raises(ValueError, match="kl_dyn"):
        meter.observe(*numbers(1.0, kl_dyn=1.0))
