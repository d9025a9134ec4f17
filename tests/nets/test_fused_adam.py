"""Cutting and stepping in one pass against PyTorch's own, over many steps, with parameters that sometimes rest."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import bellmark.ops.native as native
from bellmark.nets.fused_adam import cut_and_step

needs_compiler = pytest.mark.skipif(native.library() is None, reason="no compiler")
SHAPES = ((1,), (7, 5), (40, 60), (3000,))


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def adam(of: list[nn.Parameter], decay: float = 0.0) -> torch.optim.Adam:
    return torch.optim.Adam(of, lr=1e-2, eps=1e-5, weight_decay=decay, fused=True)


def gradients(step: int) -> list[Tensor | None]:
    """The first parameter rests at every third step, as a policy does while only its critic learns."""
    generator = torch.Generator().manual_seed(step)
    drawn = [torch.randn(shape, generator=generator) * 10.0 ** (step % 3 - 1) for shape in SHAPES]
    return [None if not i and step % 3 == 1 else g for i, g in enumerate(drawn)]


def give(to: list[nn.Parameter], step: int) -> None:
    for parameter, gradient in zip(to, gradients(step), strict=True):
        parameter.grad = gradient


@needs_compiler
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_as_pytorch(decay, max_norm):
    mine, theirs = parameters(), parameters()
    my, their = adam(mine, decay), adam(theirs, decay)
    for step in range(30):
        give(mine, step)
        give(theirs, step)
        norms = cut_and_step(my, max_norm)
        expected = nn.utils.clip_grad_norm_(theirs, max_norm)
        their.step()
        torch.testing.assert_close(norms.norm(), expected, rtol=1e-5, atol=0.0)
        assert (norms[0] == 0) == (step % 3 == 1)
        assert all(p.grad is None for p in mine)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        for name in ("step", "exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(my.state[a][name], their.state[b][name], rtol=1e-5, atol=1e-6)


@needs_compiler
def test_a_saved_optimiser_goes_on_as_before_and_as_pytorchs():
    mine = parameters()
    optimizer = adam(mine)
    for step in range(3):
        give(mine, step)
        cut_and_step(optimizer, 0.5)
    again = copy.deepcopy(mine)
    restored = adam(again)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for learner, of in ((optimizer, mine), (restored, again)):
        give(of, 3)
        cut_and_step(learner, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(mine, again, strict=True))


def test_numbers_that_the_pass_cannot_take_are_pytorchs():
    mine = [nn.Parameter(torch.ones(3, 4).double()), nn.Parameter(torch.arange(12.0).view(4, 3).t())]
    theirs = copy.deepcopy(mine)
    my, their = (torch.optim.Adam(of, lr=1e-2) for of in (mine, theirs))
    for _ in range(3):
        for of in (mine, theirs):
            sum(p.square().sum() for p in of).backward()
        cut_and_step(my, 0.5)
        nn.utils.clip_grad_norm_(theirs, 0.5)
        their.step()
        their.zero_grad()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)
