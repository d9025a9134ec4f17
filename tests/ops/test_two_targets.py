"""Two cross entropies in one pass equal the two, gradients too."""

from __future__ import annotations

import torch

from bellmark.ops.two_hot import SymexpBins, cross_entropy
from bellmark.ops.two_targets import cross_entropy_two


def test_value_and_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    bins = SymexpBins(limit=3, count=7)
    logits = torch.randn(5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    first, second = (4 * torch.randn(5, generator=generator, dtype=torch.float64) for _ in range(2))
    second[0] = first[0]  # both on the same bins
    weight = torch.rand(5, generator=generator, dtype=torch.float64)
    found = cross_entropy_two(bins, logits, first, second, 0.3)
    expected = cross_entropy(bins, logits, first) + 0.3 * cross_entropy(bins, logits, second)
    assert torch.allclose(found, expected)
    (mine,) = torch.autograd.grad((weight * found).sum(), logits)
    (theirs,) = torch.autograd.grad((weight * expected).sum(), logits)
    assert torch.allclose(mine, theirs)
