"""Bins: golden weights, round trips, exactness at zero, and the cross-entropy against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bellmark.ops.two_hot import SymexpBins, SymlogBins, cross_entropy, cross_entropy_weights, encode, symexp, symlog

TDMPC, DREAMER = SymlogBins(), SymexpBins()
BOTH = pytest.mark.parametrize("bins", [TDMPC, DREAMER], ids=["symlog", "symexp"])


def test_symlog_golden():
    # ln(1 + e - 1) = 1 at x = e - 1; odd; 0 at 0.
    x = torch.tensor([math.e - 1, 0.0, 1 - math.e])
    torch.testing.assert_close(symlog(x), torch.tensor([1.0, 0.0, -1.0]))
    torch.testing.assert_close(symexp(torch.tensor([1.0, 0.0, -1.0])), x)


def test_symlog_bins_golden():
    # Bins -10, -9.8, ..., 10: bin 50 is 0, bin 51 is 0.2. symlog(x) = 0.05 lies a quarter of the way.
    x = symexp(torch.tensor([0.05, -10.0, 10.0, 0.0], dtype=torch.float64))
    place = TDMPC.place(x)
    assert place.below.tolist() == [50, 0, 99, 50]
    torch.testing.assert_close(place.upper, torch.tensor([0.25, 0, 1, 0], dtype=torch.float64))


def test_symexp_bins_golden():
    # Three bins at -(e^2 - 1), 0, e^2 - 1 (limit 2): x = (e^2 - 1) / 4 lies a quarter of the way, linear in raw space.
    bins = SymexpBins(limit=2.0, count=3)
    top = math.e**2 - 1
    weights = encode(bins, torch.tensor([top / 4, -top / 2, 0.0, 99.0, -99.0]))
    golden = [[0, 0.75, 0.25], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    torch.testing.assert_close(weights, torch.tensor(golden))


@BOTH
@settings(max_examples=50, deadline=None)
@given(x=st.floats(-20_000, 20_000))
def test_round_trip(bins, x):
    number = torch.tensor([x], dtype=torch.float64)
    weights = encode(bins, number)
    assert weights.count_nonzero() <= 2 and weights.min() >= 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, dtype=torch.float64))
    torch.testing.assert_close(bins.decode(weights.log()), number, rtol=1e-9, atol=1e-9)


@BOTH
def test_numbers_beyond_the_axis_stand_at_its_ends(bins):
    weights = encode(bins, torch.tensor([-1e12, 1e12]))
    torch.testing.assert_close(weights[0], torch.eye(bins.count)[0])
    torch.testing.assert_close(weights[1], torch.eye(bins.count)[-1])


@BOTH
def test_what_is_no_number_stays_none(bins):
    """A diverged learner must be told so by its loss, not stumble over an index."""
    ill, logits = torch.tensor([math.nan, 1.0]), torch.zeros(2, bins.count)
    assert encode(bins, ill).isfinite().all(-1).tolist() == [False, True]
    assert cross_entropy(bins, logits, ill).isfinite().tolist() == [False, True]
    assert encode(bins, torch.tensor([math.inf, -math.inf]))[:, [-1, 0]].tolist() == [[1, 0], [0, 1]]


def test_zero_logits_are_zero():
    assert (DREAMER.decode(torch.zeros(3, 255)) == 0).all()  # exactly: mirrored bins cancel
    assert TDMPC.decode(torch.zeros(3, 101)).abs().max() < 1e-6


def test_symexp_readout_is_the_mean():
    weights = torch.tensor([[0.1, 0.2, 0.7]])
    top = math.e**2 - 1
    torch.testing.assert_close(SymexpBins(limit=2.0, count=3).decode(weights.log()), torch.tensor([0.6 * top]))


@BOTH
def test_even_counts_have_no_bin_at_zero(bins):
    even = type(bins)(count=4)
    assert abs(float(even.decode(torch.zeros(4)))) < 1e-6
    three = torch.tensor([3.0], dtype=torch.float64)
    torch.testing.assert_close(even.decode(encode(even, three).log()), three)


@BOTH
def test_cross_entropy_is_its_definition_and_takes_a_target_for_all_members(bins):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, bins.count, generator=g, dtype=torch.float64, requires_grad=True)
    target = 100 * torch.randn(7, generator=g, dtype=torch.float64)
    plain = -(encode(bins, target) * logits.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(cross_entropy(bins, logits, target), plain)
    torch.testing.assert_close(cross_entropy_weights(logits, encode(bins, target)), plain)
    (ours,) = torch.autograd.grad(cross_entropy(bins, logits, target).sum(), logits)
    (slow,) = torch.autograd.grad(plain.sum(), logits)
    torch.testing.assert_close(ours, slow)


@BOTH
def test_the_mean_over_targets_is_the_cross_entropy_against_the_mean_weights(bins):
    # What makes several rollouts per state cost one evaluation: CE is linear in the weights.
    logits = torch.randn(6, bins.count, dtype=torch.float64)
    targets = 10 * torch.randn(4, 6, dtype=torch.float64)
    each = torch.stack([cross_entropy(bins, logits, target) for target in targets]).mean(0)
    torch.testing.assert_close(cross_entropy_weights(logits, encode(bins, targets).mean(0)), each)


@BOTH
def test_gradients(bins):
    logits = torch.randn(2, bins.count, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0.3, -7.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: cross_entropy(bins, x, target), logits)
    small = type(bins)(count=5)
    few = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(small.decode, few, atol=1e-3, rtol=1e-3)


def test_targets_take_no_gradient():
    target = torch.tensor([1.0], requires_grad=True)
    assert not cross_entropy(TDMPC, torch.zeros(1, 101), target).requires_grad
