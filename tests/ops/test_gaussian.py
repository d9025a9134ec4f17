"""KL of diagonal Gaussians against torch's and by hand."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from bellmark.ops.gaussian import kl

NUMBERS, SPREADS = st.floats(-3, 3), st.floats(0.05, 3)


def as_tensor(x):
    return torch.tensor([x], dtype=torch.float64)


def test_golden():
    # Unit deviations, one apart: 1/2. Equal means, twice the deviation: ln(1/2) + 4/2 - 1/2.
    golden = torch.tensor([0.5, 1.5 - math.log(2)])
    ours = kl(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]), torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(ours, golden)


@settings(max_examples=50, deadline=None)
@given(NUMBERS, SPREADS, NUMBERS, SPREADS)
def test_equals_torch_and_is_zero_for_the_same(mean, std, other_mean, other_std):
    p, q = (as_tensor(mean), as_tensor(std)), (as_tensor(other_mean), as_tensor(other_std))
    torch.testing.assert_close(kl(*p, *q), kl_divergence(Normal(*p), Normal(*q)))
    assert kl(*p, *q) >= -1e-12
    assert kl(*p, *p).abs() < 1e-12


def test_gradients():
    g = torch.Generator().manual_seed(0)
    mean, std, other_mean, other_std = (torch.rand(3, generator=g, dtype=torch.float64) + 0.5 for _ in range(4))
    inputs = tuple(x.requires_grad_() for x in (mean, std, other_mean, other_std))
    assert torch.autograd.gradcheck(kl, inputs)
