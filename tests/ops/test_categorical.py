"""Categorical latents against numbers worked out by hand and against frequencies."""

from __future__ import annotations

import math

import pytest
import torch

from bellmark.ops.categorical import draw, entropy, kl, mixed, mode, one_hot, straight_through, uniforms


def test_mixed_by_hand() -> None:
    # softmax(ln 3, 0) = (3/4, 1/4); 0.9 of it plus 0.1/2 each: 0.725, 0.275
    assert mixed(torch.tensor([math.log(3.0), 0.0]), 0.1).tolist() == pytest.approx([0.725, 0.275])
    assert mixed(torch.tensor([math.log(3.0), 0.0]), 0.0).tolist() == pytest.approx([0.75, 0.25])


def test_kl_and_entropy_by_hand() -> None:
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    # 1/2 ln 2 + 1/2 ln(2/3) = 1/2 ln(4/3)
    assert float(kl(p, q)) == pytest.approx(0.5 * math.log(4 / 3))
    assert float(kl(p, p)) == 0.0
    assert float(entropy(p)) == pytest.approx(math.log(2))
    assert float(kl(torch.tensor([1.0, 0.0]), q)) == pytest.approx(math.log(4))  # 0 ln 0 counts nothing


def test_draws_have_the_probabilities_on_any_axis() -> None:
    probs = torch.tensor([0.1, 0.2, 0.7])
    uniform = uniforms((20_000,), torch.Generator().manual_seed(0))
    hot = draw(probs.expand(20_000, 3), uniform)
    assert torch.equal(hot.sum(-1), torch.ones(20_000))
    # five standard errors of a frequency of 1/2 over 20,000: 0.018
    assert hot.mean(0).tolist() == pytest.approx(probs.tolist(), abs=0.018)
    assert torch.equal(draw(probs[:, None].expand(3, 20_000), uniform, 0), hot.t())


def test_the_last_class_takes_what_rounding_leaves() -> None:
    probs = torch.tensor([[0.5, 0.49999]])  # sums to less than one
    assert draw(probs, torch.tensor([0.999995])).tolist() == [[0.0, 1.0]]


def test_straight_through_has_the_gradient_of_the_probabilities() -> None:
    probs = torch.tensor([0.3, 0.7], requires_grad=True)
    through = straight_through(mode(probs), probs)
    assert through.tolist() == [0.0, 1.0]
    (through * torch.tensor([2.0, 3.0])).sum().backward()
    assert probs.grad is not None
    assert probs.grad.tolist() == [2.0, 3.0]


def test_one_hot_on_a_middle_axis() -> None:
    assert one_hot(torch.tensor([[2, 0]]), 3, 1).tolist() == [[[0, 1], [0, 0], [1, 0]]]
