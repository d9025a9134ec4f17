"""Reductions over heads: golden numbers, limits, and the choice of members."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bellmark.ops import heads

X = torch.tensor([[1.0, 5.0], [3.0, -1.0]])  # two heads, two states


@pytest.mark.parametrize(("name", "golden"), [("mean", [2, 2]), ("min", [1, -1]), ("max", [3, 5])])
def test_reductions_golden(name, golden):
    assert heads.REDUCTIONS[name](X, 0).tolist() == golden


def test_local_keeps_every_head():
    assert heads.REDUCTIONS["local"](X, 0) is X


def test_one_head_is_every_reduction():
    for reduce in heads.REDUCTIONS.values():
        assert reduce(X[:1], 0).flatten().tolist() == X[0].tolist()


def test_spread_golden():
    # Numbers 1 and 3: deviations -1 and 1, sum of squares 2 over n - 1 = 1: sqrt 2.
    torch.testing.assert_close(heads.spread(X, 0), torch.tensor([2.0, 18.0]).sqrt())
    assert heads.spread(X[:1], 0).tolist() == [0, 0]


@settings(max_examples=30, deadline=None)
@given(st.floats(-2, 2))
def test_mean_plus_std_leans_with_the_sign(coef):
    leaned = heads.mean_plus_std(X, 0, coef)
    torch.testing.assert_close(leaned, X.mean(0) + coef * X.std(0))
    assert ((leaned - X.mean(0)) * coef >= 0).all()


def test_lean_reduces_as_its_sign_implies():
    # Head scores 1 + c and 2 + 0 c: optimism of 3 makes the first best (4), pessimism of 3 the worst (-2), else 1.5.
    mean, std = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0])
    assert [float(heads.lean(mean, std, c)) for c in (3.0, -3.0, 0.0)] == [4.0, -2.0, 1.5]
    assert [heads.by_sign(c) for c in (0.1, -0.1, 0.0)] == ["max", "min", "mean"]


def test_choice_of_members():
    g = torch.Generator().manual_seed(0)
    assert heads.choose(3, 5, g).tolist() == [0, 1, 2]
    pairs = {tuple(sorted(heads.choose(4, 2, g).tolist())) for _ in range(200)}
    assert len(pairs) == 6 and all(a != b for a, b in pairs)  # every pair of four comes up
