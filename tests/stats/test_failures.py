"""Failed seeds neither vanish nor are averaged, and never help a claim."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellmark.stats import Arm, Claim, SeedResult, judge
from bellmark.stats.failures import against_the_arm

CLAIM = Claim(metric="eval/return", summary="final")


def test_the_reading_against_the_arm() -> None:
    arm, baseline = against_the_arm([np.array([5.0, 7.0])], [np.array([1.0, 6.0])], [1], [2])
    assert arm[0].tolist() == [5, 7, 1]  # worst of either arm
    assert baseline[0].tolist() == [1, 6, 6, 6]  # best of the baseline


def test_survivors_do_not_make_a_claim(make_arm) -> None:  # type: ignore[no-untyped-def]
    """Four clean wins would be supported; the two dead seeds of the arm forbid it, and are named."""
    baseline = make_arm("base", [1.0, 1.2, 1.4, 1.6, 1.1, 1.3])
    survivors = make_arm("arm", [2.0, 2.2, 2.1, 2.3])
    dying = make_arm("arm", [2.0, 2.2, 2.1, 2.3, None, None])
    assert judge(CLAIM, baseline, [survivors])[0].kind == "supported"
    verdict = judge(CLAIM, baseline, [dying])[0]
    assert verdict.kind == "inconclusive"
    assert verdict.estimate == pytest.approx(2.15 - 7.6 / 6)  # over finished seeds
    # Newcombe's table does not list 2/6; Wilson by hand: centre (1/3 + z^2/12)/(1 + z^2/6), here .097 to .700.
    share = verdict.failed["arm"]
    assert (share.k, share.n, round(share.low, 3), round(share.high, 3)) == (2, 6, 0.097, 0.7)
    assert verdict.worst_case is not None
    assert not verdict.worst_case.holds
    assert verdict.worst_case.estimate == pytest.approx((8.6 + 2 * 1.0) / 6 - 7.6 / 6)
    assert "2 of 6 seeds of arm failed" in verdict.sentence
    assert "repair and repeat" in verdict.sentence


def test_a_large_effect_survives_one_failure(make_arm) -> None:  # type: ignore[no-untyped-def]
    baseline = make_arm("base", [1.0, 1.2, 1.4, 1.6, 1.1, 1.3, 1.2, 1.5])
    verdict = judge(CLAIM, baseline, [make_arm("arm", [9.0, 9.2, 9.1, 9.3, 9.1, 9.0, 9.2, None])])[0]
    assert verdict.kind == "supported"
    assert verdict.worst_case is not None
    assert verdict.worst_case.holds
    assert "1 of 8 seeds of arm failed" in verdict.sentence
    assert "also holds with failed seeds" in verdict.sentence


def test_failures_of_the_baseline_do_not_help_either(make_arm) -> None:  # type: ignore[no-untyped-def]
    arm = make_arm("arm", [2.0, 2.1, 2.2, 1.75])
    full = judge(CLAIM, make_arm("base", [1.0, 1.1, 1.9, 1.2]), [arm])[0]
    lucky_died = judge(CLAIM, make_arm("base", [1.0, 1.1, None, 1.2]), [arm])[0]
    assert full.worst_case is None
    assert lucky_died.worst_case is not None
    # Read as the baseline's best finished seed, 1.2, so the estimate falls below the one over finished seeds.
    assert lucky_died.worst_case.estimate == pytest.approx(8.05 / 4 - 4.5 / 4)


def test_an_arm_is_not_refuted_because_its_good_seeds_died(make_arm) -> None:  # type: ignore[no-untyped-def]
    baseline = make_arm("base", [2.0, 2.2, 2.1, 2.3, 2.1])
    assert judge(CLAIM, baseline, [make_arm("arm", [1.0, 1.2, 1.1, 2.15])])[0].kind == "refuted"
    assert judge(CLAIM, baseline, [make_arm("arm", [1.0, 1.2, 1.1, 2.15, None, None])])[0].kind == "inconclusive"


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_partial_curves_of_failed_seeds_are_not_used(make_arm, state: str) -> None:  # type: ignore[no-untyped-def]
    seeds = [1.0, 1.2, 1.4, 99.0]
    verdict = judge(CLAIM, make_arm("base", seeds[:3]), [make_arm("arm", seeds, states={3: state})])[0]
    assert verdict.estimate == pytest.approx(0.0)
    assert verdict.failed["arm"].k == 1


def test_an_evaluation_that_is_not_a_number_is_a_failure(make_arm) -> None:  # type: ignore[no-untyped-def]
    verdict = judge(CLAIM, make_arm("base", [1.0, 2.0, 3.0]), [make_arm("arm", [1.0, 2.0, 3.0, float("nan")])])[0]
    assert verdict.failed["arm"].k == 1
    assert verdict.estimate == pytest.approx(0.0)


def test_nothing_finished_is_inconclusive_not_silent(make_arm) -> None:  # type: ignore[no-untyped-def]
    verdict = judge(CLAIM, make_arm("base", [1.0, 2.0, 3.0]), [make_arm("arm", [None] * 3)])[0]
    assert (verdict.kind, verdict.estimate) == ("inconclusive", None)
    assert "3 of 3 seeds of arm failed" in verdict.sentence


finished = st.lists(st.integers(0, 40).map(float), min_size=3, max_size=5)


@settings(max_examples=80, deadline=None)
@given(finished, finished, st.integers(0, 2), st.integers(0, 2), st.data())
def test_no_way_of_dying_inside_the_reading_creates_support(
    arm: list[float], baseline: list[float], lost_x: int, lost_b: int, data: st.DataObject
) -> None:
    """Supported with failed seeds: then the exact test agrees whatever they would have scored within the reading."""

    def side(name: str, values: list[float], lost: int) -> Arm:
        seeds = [SeedResult.of(i, v) for i, v in enumerate(values)]
        dead = [SeedResult(seed=9 + i, state="failed", steps=[], values=[]) for i in range(lost)]  # type: ignore[arg-type]
        return Arm(name=name, results={"task": seeds + dead})

    verdict = judge(CLAIM, side("base", baseline, lost_b), [side("arm", arm, lost_x)])[0]
    if verdict.kind != "supported":
        return
    scored_x = [data.draw(st.floats(min(arm + baseline), max(arm + baseline))) for _ in range(lost_x)]
    scored_b = [data.draw(st.floats(min(arm + baseline), max(baseline))) for _ in range(lost_b)]
    complete = judge(CLAIM, side("base", baseline + scored_b, 0), [side("arm", arm + scored_x, 0)])[0]
    assert complete.p_permutation is not None
    assert complete.p_permutation <= CLAIM.alpha + 1e-12
