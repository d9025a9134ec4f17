"""The norm's and the unrolled sequence's gradients by hand, against automatic differentiation."""

from __future__ import annotations

import torch
from torch import Tensor

from bellmark.nets.cells import BlockCell
from bellmark.nets.rms import Norm, rms
from bellmark.nets.rssm import Rssm, States
from bellmark.ops.categorical import one_hot

LAYERS = {"norm": "rms", "activation": "silu"}


def rssm() -> Rssm:
    generator = torch.Generator().manual_seed(0)
    cell = BlockCell(16, 6, 2, 8, 4, generator, norm="rms", activation="silu")
    made = Rssm(
        cell, 16, 5, 2, 3, 8, generator,
        unimix=0.01, prior_layers=1, posterior_layers=1, sees_deter=True, norm="rms", activation="silu",
    ).double()  # fmt: skip
    with torch.no_grad():
        for p in made.parameters():  # biases and scales, too, must have something to say
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return made


def test_rms_by_hand() -> None:
    # mean of 3^2 and 4^2 is 12.5
    found = rms(torch.tensor([[3.0], [4.0]], dtype=torch.float64))
    assert torch.allclose(found, torch.tensor([[(12.5 + 1e-4) ** -0.5]], dtype=torch.float64))


def test_norms_gradient_is_the_derivative() -> None:
    norm = Norm(5).double()
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    scale = torch.linspace(0.5, 2, 5, dtype=torch.float64).requires_grad_()

    def run(x: Tensor, scale: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"scale": scale}, (x,))

    assert torch.autograd.gradcheck(run, (x, scale))


def followed(made: Rssm) -> tuple[States, list[Tensor | None]]:
    """States of a made-up sequence with two resets, and every gradient of a random weighing of them."""
    generator = torch.Generator().manual_seed(1)
    steps, slices = 5, 3

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    tokens = normal(5, steps, slices).requires_grad_()
    first = torch.zeros(steps, slices, dtype=torch.bool)
    first[0, 0] = first[3, 1] = True
    stoch = one_hot(torch.randint(3, (2, slices), generator=generator), 3, 1).double()
    uniform = torch.rand(steps, 2, slices, generator=generator, dtype=torch.float64)
    states = made.observe(normal(16, slices), stoch, 3 * normal(2, steps, slices), tokens, first, uniform)
    made.zero_grad()
    sum((normal(*s.shape) * s).sum() for s in states).backward()  # type: ignore[union-attr]
    return states, [tokens.grad, *(p.grad for p in made.parameters())]


def test_the_hand_written_gradient_through_time_is_the_loops() -> None:
    made = rssm()
    assert made.unrolls
    whole, gradients = followed(made)
    made.unrolls = False
    loop, expected = followed(made)
    for a, b in zip(whole, loop, strict=True):
        assert torch.allclose(a, b, atol=1e-12)
    assert sum(g is not None for g in gradients) > 15
    for mine, theirs in zip(gradients, expected, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            assert torch.allclose(mine, theirs, atol=1e-10)
