"""Every kind of verdict, and every clause of the rule that can change one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellmark.errors import UserError
from bellmark.stats import Arm, Claim, SeedResult, Verdict, judge

CLAIM = Claim(metric="eval/return", summary="final")
LOW, HIGH = [1.0, 1.1, 1.2], [2.0, 2.1, 2.2]


def arm(name: str, *tasks: list[float] | list[list[float]]) -> Arm:
    results = {f"t{m}": [SeedResult.of(i, v) for i, v in enumerate(seeds)] for m, seeds in enumerate(tasks)}
    return Arm(name=name, results=results)


def one(claim: Claim, baseline: Arm, candidate: Arm, look: int = 1) -> Verdict:
    return judge(claim, baseline, [candidate], looks_done=look)[0]


def with_seed(base: Arm, changes: dict[str, object], index: int = 0) -> Arm:
    seeds = list(base.results["t0"])
    seeds[index] = replace(seeds[index], **changes)  # type: ignore[arg-type]
    return Arm(name=base.name, results={**base.results, "t0": seeds})


def test_invalid_lists_what_was_not_declared() -> None:
    candidate = with_seed(arm("arm", HIGH), {"problems": ["env.control_hz 20 -> 10"]})
    verdict = one(CLAIM, arm("base", LOW), candidate)
    assert verdict.kind == "invalid"
    assert verdict.problems == ("arm: env.control_hz 20 -> 10",)
    assert verdict.estimate is None
    assert "env.control_hz" in verdict.sentence


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": np.array([5000])}, "unequal budgets"),
        ({"seed": 1}, "seed 1 counted twice"),
        ({"episodes": 10}, "unequal evaluation: 10 and 50 episodes"),
    ],
)
def test_invalid_from_the_curves(changes: dict[str, object], message: str) -> None:
    verdict = one(CLAIM, with_seed(arm("base", LOW), {"episodes": 50}), with_seed(arm("arm", HIGH), changes))
    assert verdict.kind == "invalid"
    assert message in verdict.sentence


@pytest.mark.parametrize("state", ["pending", "running", "preempted", "lost"])
def test_pending_while_a_run_can_still_finish(state: str) -> None:
    verdict = one(CLAIM, arm("base", LOW), with_seed(arm("arm", HIGH), {"state": state}, 2))
    assert (verdict.kind, verdict.problems) == ("pending", (f"arm: seed 2 is {state}",))


def test_pending_without_runs_or_evaluations() -> None:
    assert one(CLAIM, arm("base", LOW), arm("arm")).problems == ("arm: no runs yet",)
    assert one(CLAIM, arm("base"), arm("arm")).kind == "pending"
    silent = with_seed(arm("arm", HIGH), {"steps": np.array([]), "values": np.array([])})
    assert one(CLAIM, arm("base", LOW), silent).problems == ("arm: seed 0 has no evaluation",)
    assert one(CLAIM, arm("base", LOW, LOW), arm("arm", HIGH)).problems == ("arm on t1: no runs yet",)


def test_one_seed_is_an_anecdote() -> None:
    verdict = one(CLAIM, arm("base", LOW), arm("arm", [9.0]))
    assert (verdict.kind, verdict.low, verdict.p_welch) == ("anecdote", None, None)
    assert "One seed does not show" in verdict.sentence


def test_two_seeds_on_one_task_are_directional() -> None:
    verdict = one(CLAIM, arm("base", [1.0, 3.0]), arm("arm", [2.0, 9.0]))
    assert (verdict.kind, verdict.pairs_won, verdict.pairs) == ("directional", 3.0, 4)
    assert (verdict.low, verdict.p_welch, verdict.p_permutation) == (None, None, None)
    assert verdict.smallest_p == pytest.approx(1 / 6)
    assert verdict.seeds_needed == 3
    assert "3 of 4 pairs" in verdict.sentence


def test_two_seeds_on_three_tasks_can_be_supported() -> None:
    verdict = one(CLAIM, arm("base", *[[1.0, 1.2]] * 3), arm("arm", *[[3.0, 3.2]] * 3))
    assert verdict.kind == "supported"
    assert verdict.p_permutation == pytest.approx(1 / 216)


def test_supported_carries_estimate_and_one_sided_bounds() -> None:
    from scipy.stats import ttest_ind

    verdict = one(CLAIM, arm("base", LOW), arm("arm", HIGH))
    expected = ttest_ind(HIGH, LOW, equal_var=False).confidence_interval(0.90)
    assert verdict.kind == "supported"
    assert (verdict.estimate, verdict.low, verdict.high) == pytest.approx((1.0, expected.low, expected.high))
    assert verdict.p_permutation == 0.05
    assert verdict.seeds_needed is None


def test_an_estimate_below_delta_is_not_supported() -> None:
    claim = replace(CLAIM, minimum_effect=1.05)
    verdict = one(claim, arm("base", LOW), arm("arm", HIGH))
    assert verdict.kind == "inconclusive"
    assert verdict.low is not None
    assert verdict.low > 0
    assert "above zero, but the estimate is below the declared 1.05" in verdict.sentence


def test_refuted_below_delta_and_opposite_below_zero() -> None:
    small = one(replace(CLAIM, minimum_effect=3.0), arm("base", LOW), arm("arm", HIGH))
    assert (small.kind, small.opposite) == ("refuted", False)
    assert "by the declared 3" in small.sentence
    worse = one(CLAIM, arm("base", HIGH), arm("arm", LOW))
    assert (worse.kind, worse.opposite) == ("refuted", True)
    assert worse.high is not None
    assert worse.high < 0


def test_direction_decrease_mirrors() -> None:
    falling = replace(CLAIM, direction="decrease")
    verdict = one(falling, arm("base", HIGH), arm("arm", LOW))
    assert (verdict.kind, verdict.estimate) == ("supported", pytest.approx(1.0))
    assert verdict.sentence.startswith("Supported: arm lowers eval/return")
    assert "below base by 1" in verdict.sentence
    risen = one(falling, arm("base", LOW), arm("arm", HIGH))
    assert risen.opposite
    assert "arm raises eval/return" in risen.sentence
    assert "above base (" in risen.sentence
    small = one(replace(falling, minimum_effect=3.0), arm("base", HIGH), arm("arm", LOW))
    assert "arm does not lower eval/return" in small.sentence


def test_peak_of_a_falling_metric_is_its_lowest() -> None:
    claim = replace(CLAIM, direction="decrease", summary="peak")
    verdict = one(claim, arm("base", [[5.0, 9.0], [5.0, 9.0]]), arm("arm", [[2.0, 9.0], [2.0, 9.0]]))
    assert verdict.estimate == pytest.approx(3.0)


def test_inconclusive_says_how_many_seeds() -> None:
    claim = replace(CLAIM, minimum_effect=1.0)
    verdict = one(claim, arm("base", [0.0, 1.0, 2.0]), arm("arm", [0.5, 1.5, 2.5]))
    # s = 1, at its upper 80% bound with 2 degrees of freedom 2.117; d = 1/2.117 = .472:
    # n = 2 (1.645 + .842)^2 / .472^2 = 55.5 with normal quantiles, 57 with t.
    assert verdict.kind == "inconclusive"
    assert verdict.seeds_needed == 57
    assert verdict.further_seeds == 54
    assert verdict.seeds_if_estimate is not None
    assert verdict.seeds_if_estimate > 57
    assert "About 57 seeds per arm would settle an effect of 1" in verdict.sentence
    assert "does not show that the two are equal" in verdict.sentence


def test_welch_without_the_permutation_test_is_not_enough() -> None:
    """Welch's p is .04, but one pair is out of order, so the exact p is 2/20."""
    verdict = one(CLAIM, arm("base", [0.0, 0.5, 1.9]), arm("arm", [1.8, 3.2, 3.6]))
    assert verdict.p_welch is not None
    assert verdict.p_welch < 0.05
    assert verdict.p_permutation == 0.1
    assert verdict.kind == "inconclusive"
    assert "permutation test does not confirm" in verdict.sentence


def test_holm_shares_alpha_over_arms_and_asks_more_seeds() -> None:
    five = [1.0, 1.1, 1.2, 1.15, 1.05]
    up = [v + 1 for v in five]
    verdicts = judge(CLAIM, arm("base", five), [arm("clear", up), arm("same", five), arm("none", five)])
    assert [verdict.level for verdict in verdicts] == pytest.approx([0.05 / 3, 0.025, 0.025])
    assert [verdict.kind for verdict in verdicts] == ["supported", "inconclusive", "inconclusive"]
    # Two arms at three seeds: 1/20 > .05/2, so nothing could have been supported.
    both = judge(CLAIM, arm("base", LOW), [arm("one", HIGH), arm("two", HIGH)])
    assert [verdict.kind for verdict in both] == ["directional", "directional"]
    assert both[0].seeds_needed == 4


def test_a_pending_arm_keeps_its_share_of_alpha() -> None:
    verdicts = judge(CLAIM, arm("base", LOW), [arm("one", HIGH), arm("late")])
    assert [verdict.kind for verdict in verdicts] == ["directional", "pending"]


def test_looks_spend_alpha() -> None:
    five = [1.0, 1.1, 1.2, 1.15, 1.05]
    claim = replace(CLAIM, looks=(3, 5, 10))
    first = one(claim, arm("base", LOW), arm("arm", HIGH))
    assert first.kind == "directional"  # 1/20 cannot reach the level of one look in three
    second = one(claim, arm("base", five), arm("arm", [v + 1 for v in five]), look=2)
    assert second.kind == "supported"
    assert second.level == pytest.approx(0.0226, abs=1e-4)


def test_a_look_that_was_not_declared_is_invalid() -> None:
    verdict = one(CLAIM, arm("base", LOW), arm("arm", HIGH), look=2)
    assert verdict.kind == "invalid"
    assert "look 2 was not declared" in verdict.sentence


def test_scales_make_tasks_comparable() -> None:
    claim = replace(CLAIM, scales={"t0": 1.0, "t1": 100.0})
    baseline = arm("base", LOW, [100.0, 110.0, 120.0])
    verdict = one(claim, baseline, arm("arm", HIGH, [200.0, 210.0, 220.0]))
    assert verdict.estimate == pytest.approx(1.0)
    assert not any("scales" in problem for problem in verdict.problems)
    assert any("no scales" in problem for problem in one(CLAIM, baseline, baseline_copy(baseline)).problems)


def baseline_copy(base: Arm) -> Arm:
    return Arm(name="copy", results=base.results)


def test_depends_on_the_statistic() -> None:
    """The arm peaks higher and ends lower."""
    falls = [[3.0, 0.2], [3.1, 0.1], [3.2, 0.3]]
    flat = [[1.0, 1.0], [1.1, 1.1], [1.2, 1.2]]
    verdict = one(CLAIM, arm("base", flat), arm("arm", falls))
    assert verdict.opposite
    assert verdict.by_summary["peak"].kind == "supported"
    assert verdict.depends_on_statistic
    assert "depends on the statistic" in verdict.sentence
    assert not one(CLAIM, arm("base", LOW), arm("arm", HIGH)).depends_on_statistic


def test_unequal_k_is_noted_not_used() -> None:
    dense = [[9.0, 1.0, 9.0, v] for v in HIGH]
    results = [
        SeedResult(seed=i, steps=np.array([500, 1000, 1500, 2000]), values=np.array(v)) for i, v in enumerate(dense)
    ]
    candidate = Arm(name="arm", results={"t0": results})
    verdict = one(replace(CLAIM, summary="peak"), arm("base", [[1.0, v] for v in LOW]), candidate)
    assert verdict.estimate == pytest.approx(1.0)
    assert any("unequal numbers of evaluations" in problem for problem in verdict.problems)


def test_spread_that_falls_is_pointed_out() -> None:
    curves = [[0.0, 100.0 * i, 10.0 * i, 1.0 * i] for i in range(3)]
    verdict = one(replace(CLAIM, minimum_effect=0.5), arm("base", curves), arm("arm", curves))
    assert verdict.spread_fell == ("t0", 2000, 100.0, 4000, 1.0)
    assert "fell from 100 at step 2,000 to 1 at step 4,000" in verdict.sentence


def test_seeds_without_spread_are_decided_by_the_exact_test() -> None:
    verdict = one(CLAIM, arm("base", [0.0] * 3), arm("arm", [1.0] * 3))
    assert (verdict.kind, verdict.low, verdict.high) == ("supported", 1.0, 1.0)
    assert one(CLAIM, arm("base", [0.0] * 3), arm("arm", [0.0] * 3)).kind == "inconclusive"


def test_two_arms_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="called 'arm'"):
        judge(CLAIM, arm("base", LOW), [arm("arm", LOW), arm("arm", HIGH)])


numbers = st.lists(st.integers(-30, 30).map(float), min_size=2, max_size=4)
MIRROR = {"supported": "refuted", "refuted": "supported"}


@settings(max_examples=80, deadline=None)
@given(numbers, numbers, st.integers(-1000, 1000))
def test_verdict_ignores_the_origin_and_mirrors_with_labels(x: list[float], b: list[float], shift: int) -> None:
    verdict = one(CLAIM, arm("base", b), arm("arm", x))
    moved = one(CLAIM, arm("base", [v + shift for v in b]), arm("arm", [v + shift for v in x]))
    assert (moved.kind, moved.estimate) == (verdict.kind, pytest.approx(verdict.estimate, abs=1e-9))
    swapped = one(CLAIM, arm("base", x), arm("arm", b))
    assert swapped.kind == MIRROR.get(verdict.kind, verdict.kind)
    turned = one(replace(CLAIM, direction="decrease"), arm("base", x), arm("arm", b))
    assert (turned.kind, turned.estimate) == (verdict.kind, pytest.approx(verdict.estimate, abs=1e-9))


@settings(max_examples=80, deadline=None)
@given(numbers, numbers, st.integers(0, 40), st.just(0.0) | st.floats(1e-6, 5))
def test_a_whole_better_arm_never_loses_support(x: list[float], b: list[float], gain: int, delta: float) -> None:
    claim = replace(CLAIM, minimum_effect=delta)
    before, after = (
        one(claim, arm("base", b), arm("arm", x)),
        one(claim, arm("base", b), arm("arm", [v + gain for v in x])),
    )
    order = {"refuted": 0, "directional": 1, "inconclusive": 1, "supported": 2}
    assert order[after.kind] >= order[before.kind]
    # A larger effect is harder to support and easier to refute.
    harder = one(replace(claim, minimum_effect=delta + 1.0), arm("base", b), arm("arm", x))
    assert order[harder.kind] <= order[before.kind]
