"""KL and log densities of diagonal Gaussians against torch's and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from bellmark.ops.gaussian import kl, log_prob, plain_log_prob

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


def test_log_prob_golden():
    # Two dimensions, one of deviation 2, at one and two deviations: -ln 2 pi - ln 2 - (1 + 4) / 2.
    found = log_prob(torch.tensor([[1.0, 4.0]]), torch.zeros(1, 2), torch.tensor([0.0, math.log(2)]))
    torch.testing.assert_close(found, torch.tensor([-math.log(2 * math.pi) - math.log(2) - 2.5]))


@pytest.mark.parametrize(("rows", "actions"), [(1, 1), (37, 8), (3, 21)])
def test_the_fused_log_prob_and_its_gradients_are_pytorchs(rows, actions):
    g = torch.Generator().manual_seed(0)
    action, mean = (torch.randn(rows, actions, generator=g) for _ in range(2))
    log_std, weight = torch.randn(actions, generator=g) - 1, torch.randn(rows, generator=g)
    found = []
    for density in (log_prob, plain_log_prob):
        of = mean.clone().requires_grad_(), log_std.clone().requires_grad_()
        out = density(action, *of)
        found.append((out, *torch.autograd.grad((weight * out).sum(), of)))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * float(theirs.detach().abs().max()))


def test_axes_in_front_strides_and_gradients_of_actions_are_pytorchs():
    action, mean = torch.randn(4, 5, 3, requires_grad=True), torch.randn(3, 5, 4).transpose(0, 2)
    assert torch.equal(log_prob(action, mean, torch.zeros(3)), plain_log_prob(action, mean, torch.zeros(3)))
    rows = torch.randn(3, 6).t()
    torch.testing.assert_close(log_prob(rows, rows + 1, torch.zeros(3)), plain_log_prob(rows, rows + 1, torch.zeros(3)))
