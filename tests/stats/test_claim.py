"""Claims refuse what cannot be judged, naming key and value."""

from __future__ import annotations

import pytest

from bellmark.errors import UserError
from bellmark.stats import Claim


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"summary": "last"}, "unknown expect.summary 'last'; did you mean last_mean"),
        ({"direction": "increases"}, "did you mean increase"),
        ({"last": 0}, "expect.last is 0"),
        ({"alpha": 1.0}, "expect.alpha is 1.0"),
        ({"minimum_effect": -0.1}, "expect.minimum_effect is -0.1"),
        ({"looks": (5, 3)}, "expect.looks"),
        ({"looks": 0}, "expect.looks is 0"),
        ({"scales": {"hop": 0.0}}, "the scale of task hop is 0.0"),
    ],
)
def test_wrong_claims(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Claim(metric="eval/return", **wrong)  # type: ignore[arg-type]


def test_proportions_are_known_by_name() -> None:
    assert Claim(metric="eval/success").is_proportion
    assert Claim(metric="eval/success_sampled").is_proportion
    assert not Claim(metric="eval/return").is_proportion


def test_looks_as_a_number_or_as_seed_counts() -> None:
    assert Claim(metric="m").look_plan == (1,)
    assert Claim(metric="m", looks=3).look_plan == (1, 2, 3)
    assert Claim(metric="m", looks=(3, 5, 10)).look_plan == (3, 5, 10)
