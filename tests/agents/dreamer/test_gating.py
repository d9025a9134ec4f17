"""Warm-up, ratio, focus and rates: when the actor-critic learns, counted in updates."""

from __future__ import annotations

import pytest
import torch

from bellmark.agents.dreamer.gating import Always, Cosine, Focus, Gate, Gated, Open, Scaled
from bellmark.agents.dreamer.learning import Cosine as EntropyCosine
from bellmark.agents.dreamer.optimizing import CosineRate
from bellmark.agents.dreamer.surprise import Reading
from bellmark.config import build
from bellmark.errors import UserError


def reading(total: float = 0.0, smoothed: float = 0.0) -> Reading:
    return Reading(torch.tensor(total), torch.tensor(smoothed), {})


def learned(gate: Gate, surprises: list[float]) -> list[int]:
    """Which updates, counted from 1, the actor-critic learned in."""
    decisions = [gate.decide(reading(s)) for s in surprises]
    assert all(bool(d.metrics["gate/learns"]) == d.learns for d in decisions)
    return [i for i, d in enumerate(decisions, 1) if d.learns]


def test_open_lets_everything_learn() -> None:
    decision = Gate(Open(), 100).decide(reading(9.0, 9.0))
    assert decision.learns and decision.rate == 1


def test_the_warmup_counts_updates_of_the_world_model_alone() -> None:
    assert learned(Gate(Gated(warmup=3), 100), [9.0] * 5) == [4, 5]


def test_bug_6_the_ratio_counts_updates_not_time_steps() -> None:
    # The earlier code asked once per time step of a batch: with 32 of them and a ratio of 4 the last step's answer was
    # always yes, and the actor learned in every update. A count per update lets it learn in 2 of 8.
    assert learned(Gate(Gated(ratio=Always(every=4)), 100), [0.0] * 8) == [4, 8]


def test_bug_6_a_focus_lasts_its_updates() -> None:
    # One surprise at update 3, duration 6, ratio 4, cooldown 5: focused in 3..8, where the 4th (update 6) learns. The
    # cooldown holds in 9..13, so the surprise at 12 is not heeded and that at 14 is: 14..19, learning in 17.
    surprises = [0.0] * 20
    for update in (3, 12, 14):
        surprises[update - 1] = 0.06
    focus = Focus(threshold=0.05, ratio=4, duration=6, cooldown=5)
    assert learned(Gate(Gated(focus=focus), 100), surprises) == [1, 2, 6, 9, 10, 11, 12, 13, 17, 20]


def test_a_surprise_must_exceed_the_threshold() -> None:
    assert learned(Gate(Gated(focus=Focus(threshold=0.5)), 100), [0.5, -3.0, 0.5]) == [1, 2, 3]


def test_lasting_surprise_stops_the_actor_critic_unless_a_focus_may_end() -> None:
    # tuned_v1 of the protocol: a threshold below the usual surprise. Each update begins the count anew.
    assert learned(Gate(Gated(focus=Focus(ratio=4, duration=20)), 100), [1.0] * 40) == []
    ending = Focus(ratio=4, duration=8, cooldown=2, rearm=False)
    # focused 1..8 (learns in 4, 8), cooling 9 and 10, focused 11..18 (learns in 14, 18)
    assert learned(Gate(Gated(focus=ending), 100), [1.0] * 18) == [4, 8, 9, 10, 14, 18]


def test_the_ratio_rules_again_after_a_focus() -> None:
    gate = Gate(Gated(ratio=Always(every=2), focus=Focus(ratio=3, duration=3, cooldown=9)), 100)
    assert learned(gate, [1.0] + [0.0] * 6) == [3, 4, 6]  # focus 1..3 learns in its 3rd; then every even update


def test_cosine_ratio_by_hand() -> None:
    # 2 + 6 (1 + cos(pi p)) / 2: p = 0 -> 8, just over 1/3 -> 6.49, 1/2 -> 5, just over 2/3 -> 3.49, 1 -> 2
    assert [Cosine().at(p) for p in (0.0, 1 / 3 + 1e-6, 0.5, 2 / 3 + 1e-6, 1.0, 7.0)] == [8, 6, 5, 3, 2, 2]
    assert [Cosine(invert=True).at(p) for p in (0.0, 0.5, 1.0)] == [2, 5, 8]


def test_courses_of_rates_and_entropy_by_hand() -> None:
    # e + (s - e) (1 + cos(pi p / u)) / 2, u = 0.4: p = 0 -> s, 0.1 -> e + 0.8536 (s - e), 0.2 -> (s + e) / 2, 0.4 -> e
    shares = (0.0, 0.1, 0.2, 0.4, 1.0)
    rates = CosineRate(end=0.2, until=0.4)
    assert [rates.at(p) for p in shares] == pytest.approx([1.0, 0.2 + 0.8 * 0.853553, 0.6, 0.2, 0.2])
    entropy = EntropyCosine(start=0.3, end=0.1, until=0.4)
    assert [entropy.at(p) for p in shares] == pytest.approx([0.3, 0.1 + 0.2 * 0.853553, 0.2, 0.1, 0.1])


def test_the_cosine_begins_after_the_warmup_and_ends_with_the_run() -> None:
    gate = Gate(Gated(warmup=2, ratio=Cosine(most=3, least=1)), total=10)
    ratios = [int(gate.decide(reading()).metrics["gate/ratio"]) for _ in range(11)]
    # after the warm-up p = (u - 2) / 8 for u = 2..10: 1 + (1 + cos(pi p)) = 3, 2.92, 2.71, 2.38, 2, 1.62, 1.29, 1.08, 1
    assert ratios == [0, 0, 3, 3, 3, 2, 2, 2, 1, 1, 1]


def test_rates_shrink_with_smoothed_surprise() -> None:
    gate = Gate(Gated(rate=Scaled(k=10)), 100)
    assert float(gate.decide(reading(smoothed=0.3)).rate) == pytest.approx(0.25)  # 1 / (1 + 3)
    assert float(gate.decide(reading(smoothed=0.0)).rate) == 1


def test_a_saved_gate_goes_on_as_it_would_have() -> None:
    chosen = Gated(warmup=1, ratio=Always(every=2), focus=Focus(duration=5))
    surprises = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    whole, first, second = (Gate(chosen, 100) for _ in range(3))
    learned(first, surprises[:4])
    second.load_state_dict(first.state_dict())
    expected = learned(whole, surprises)
    assert [4 + i for i in learned(second, surprises[4:])] == [i for i in expected if i > 4]


def test_ends_of_the_cosine_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(UserError, match="invert=true"):
        build(Cosine, {"most": 2, "least": 8})
