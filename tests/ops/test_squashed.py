"""Squashed and clipped Gaussians against torch's distributions, and the odd entropy term of TD-MPC2."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from bellmark.ops import squashed


@pytest.fixture
def draw():
    g = torch.Generator().manual_seed(0)
    return [torch.randn(9, 4, generator=g, dtype=torch.float64) for _ in range(3)]


def test_log_std_map():
    # tanh(0) = 0 is the middle of the range; far out its ends.
    raw = torch.tensor([0.0, 50.0, -50.0])
    torch.testing.assert_close(squashed.bounded_log_std(raw, -10.0, 2.0), torch.tensor([-4.0, 2.0, -10.0]))


def test_residual_log_prob_is_the_density_of_the_sample(draw):
    mean, log_std, noise = draw
    normal = Normal(mean, log_std.exp())
    expected = normal.log_prob(mean + log_std.exp() * noise).sum(-1)
    torch.testing.assert_close(squashed.residual_log_prob(noise, log_std), expected)


def test_entropy_with_jacobian_is_that_of_the_squashed_density(draw):
    mean, log_std, noise = draw
    action = squashed.tanh_sample(mean, log_std, noise)
    squash = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform(cache_size=1)])
    inside = action.abs().amax(-1) < 0.99  # the 1e-6 under the logarithm weighs at the faces
    ours = squashed.scaled_entropy(noise, log_std, action, jacobian=1.0, power=0.0)
    expected = -squash.log_prob(action).sum(-1)
    torch.testing.assert_close(ours[inside], expected[inside], rtol=1e-3, atol=1e-3)


def test_entropy_of_the_official_code(draw):
    # Its three steps as it takes them: the scaled log-probability over the squashed one, times the squashed one.
    mean, log_std, noise = draw
    action = squashed.tanh_sample(mean, log_std, noise)
    before = (-0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)
    after = before - torch.log(1 - action**2 + 1e-6).sum(-1)
    ratio = 4 * before / (after + 1e-8)
    torch.testing.assert_close(squashed.scaled_entropy(noise, log_std, action), -after * ratio, rtol=1e-5, atol=1e-5)


def test_entropy_golden():
    # One dimension, noise 0, std 1: -log N = ln sqrt(2 pi). Three equal ones: three times that, times A^power.
    zero = torch.zeros(3)
    one = 0.5 * math.log(2 * math.pi)
    assert float(squashed.scaled_entropy(zero, zero, zero)) == pytest.approx(9 * one)
    assert float(squashed.scaled_entropy(zero, zero, zero, power=0.0)) == pytest.approx(3 * one)


def test_samples_stay_in_the_box_and_clipping_stops_the_gradient():
    mean = torch.tensor([0.5, 0.5], requires_grad=True)
    noise, log_std = torch.tensor([0.1, 3.0]), torch.zeros(2)
    clipped = squashed.clipped_sample(mean, log_std, noise)
    torch.testing.assert_close(clipped, torch.tensor([0.6, 1.0]))
    clipped.sum().backward()
    assert mean.grad.tolist() == [1.0, 0.0]
    assert squashed.tanh_sample(mean, log_std, 100 * noise).abs().max() <= 1


def test_gradients(draw):
    mean, log_std, noise = (x.requires_grad_() for x in draw)
    assert torch.autograd.gradcheck(squashed.tanh_sample, (mean, log_std, noise))
    action = 0.9 * noise.detach().tanh()
    assert torch.autograd.gradcheck(
        lambda n, s, a: squashed.scaled_entropy(n, s, a, jacobian=0.5),
        (noise, log_std, action.requires_grad_()),
    )
