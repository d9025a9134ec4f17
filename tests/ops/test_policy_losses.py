"""Golden values, limits and gradients of policy losses and Gaussian densities."""

from __future__ import annotations

import math

import pytest
import torch

from bellmark.ops import gaussian, policy_losses


def test_log_prob_golden():
    # N(0, 1) at 1 and N(2, 0.5^2) at 2: -0.5 - 0.919 and 0 + 0.693 - 0.919, summed.
    value = gaussian.log_prob(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0]), torch.tensor([0.0, math.log(0.5)]))
    assert value.item() == pytest.approx(-0.5 + math.log(2) - math.log(2 * math.pi), rel=1e-6)


def test_log_prob_equals_torch_distributions():
    g = torch.Generator().manual_seed(0)
    mean, action = torch.randn(5, 3, generator=g), torch.randn(5, 3, generator=g)
    log_std = torch.randn(3, generator=g)
    reference = torch.distributions.Normal(mean, log_std.exp())
    torch.testing.assert_close(gaussian.log_prob(action, mean, log_std), reference.log_prob(action).sum(-1))
    torch.testing.assert_close(gaussian.entropy(log_std), reference.entropy()[0].sum())


def test_clipped_surrogate_golden():
    # Clip 0.2. A=+1, r=1.5: the clip holds 1.2. A=-1, r=1.5: the pessimistic side is unclipped, -1.5.
    # A=+1, r=0.5: unclipped 0.5. A=-1, r=0.5: clipped, -0.8. Mean of -(1.2 - 1.5 + 0.5 - 0.8) over 4 = 0.15.
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5])
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert policy_losses.clipped_surrogate(ratio, advantage, 0.2).item() == pytest.approx(0.15, abs=1e-6)


def test_clipped_surrogate_stops_the_gradient_where_it_clips():
    log_ratio = torch.tensor([0.5, 0.5, -0.5, -0.5], requires_grad=True)
    policy_losses.clipped_surrogate(log_ratio.exp(), torch.tensor([1.0, -1.0, 1.0, -1.0]), 0.2).backward()
    assert log_ratio.grad is not None
    assert (log_ratio.grad != 0).tolist() == [False, True, True, False]


def test_kl_estimate_is_zero_at_no_move_and_positive_elsewhere():
    assert policy_losses.kl_estimate(torch.zeros(4)).item() == 0.0
    # (e - 1 - 1) and (1/e - 1 + 1) averaged: (0.71828 + 0.36788) / 2.
    value = policy_losses.kl_estimate(torch.tensor([1.0, -1.0])).item()
    assert value == pytest.approx((math.e - 2 + math.exp(-1)) / 2, rel=1e-6)


def test_awr_weights_golden_and_cap():
    # exp(1 / 0.5) = 7.389; exp(5 / 0.5) = 22026 is cut to 20; exp(0) = 1.
    weight = policy_losses.awr_weights(torch.tensor([1.0, 5.0, 0.0]), beta=0.5, cap=20.0)
    torch.testing.assert_close(weight, torch.tensor([math.exp(2.0), 20.0, 1.0]))


def test_weighted_likelihood_golden():
    # Weights 1.5 and 0.5: -(1.5 x -1 + 0.5 x -3) / 2 = 1.5.
    value = policy_losses.weighted_likelihood(torch.tensor([-1.0, -3.0]), torch.tensor([1.5, 0.5]))
    assert value.item() == pytest.approx(1.5)


def test_recap_golden_and_floor():
    # beta 1, cap 20. Better rows A = ln 3, 0.5 ln 4: w = 3, 2; log pi = -1, -2: (3 x -1 + 2 x -2) / 5 = -1.4.
    # Worse rows A = -ln 2, -ln 5: w' = 2, 5; log pi = -1 and -50 held at -20: (2 x -1 + 5 x -20) / 2 = -51.
    # alpha 0.1: 0.1 x -51 - (-1.4) = -3.7.
    advantage = torch.tensor([math.log(3), 0.5 * math.log(4), -math.log(2), -math.log(5)])
    log_prob = torch.tensor([-1.0, -2.0, -1.0, -50.0], requires_grad=True)
    loss = policy_losses.recap(log_prob, advantage, 1.0, 20.0, 0.1, -20.0)
    assert loss.item() == pytest.approx(-3.7, rel=1e-5)
    loss.backward()
    assert log_prob.grad is not None
    # Towards the first two, away from the third, the one at the floor is left alone.
    assert log_prob.grad.sign().tolist() == [-1, -1, 1, 0]


def test_normalise():
    x = policy_losses.normalise(torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(x, torch.tensor([-1.0, 0.0, 1.0]))


def test_effective_sample_share():
    assert policy_losses.effective_sample_share(torch.ones(8)).item() == pytest.approx(1.0)
    assert policy_losses.effective_sample_share(torch.tensor([1.0, 0.0, 0.0, 0.0])).item() == pytest.approx(0.25)


def test_gradcheck():
    g = torch.Generator().manual_seed(1)
    x, y = (torch.randn(6, generator=g, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weight = torch.rand(6, generator=g, dtype=torch.float64) + 0.1
    assert torch.autograd.gradcheck(lambda a: policy_losses.weighted_likelihood(a, weight), (x,))
    assert torch.autograd.gradcheck(lambda a, b: policy_losses.clipped_surrogate(a.exp(), b, 0.2), (x, y))
    assert torch.autograd.gradcheck(policy_losses.normalise, (x,))
