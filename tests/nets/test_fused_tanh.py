"""The fused pass of tanh layers against PyTorch's own operations: values, gradients, edges."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bellmark.ops.native as native
from bellmark.nets.fused_tanh import PORTION
from bellmark.nets.mlp import TanhMlp, tanh_mlp

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiler")


def network(outputs: int = 3, layers: int = 3, hidden: int = 37) -> TanhMlp:
    made = tanh_mlp(5, outputs, hidden, layers, last_gain=1.0, generator=torch.Generator().manual_seed(0))
    for parameter in made.parameters():
        parameter.data.add_(0.3 * normal(*parameter.shape))
    return made


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gradients(net: TanhMlp, out: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad((out * normal(*out.shape, seed=2)).sum(), list(net.parameters())))


@pytest.mark.parametrize("rows", [1, PORTION - 1, PORTION, 2 * PORTION + 1])
@pytest.mark.parametrize(("outputs", "layers"), [(1, 1), (8, 3), (3, 0)])
def test_as_pytorch(rows, outputs, layers):
    net, x = network(outputs, layers), 2 * normal(rows, 5)
    fused, plain = net(x), nn.Sequential.forward(net, x)
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(gradients(net, fused), gradients(net, plain), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()) + 1e-7)
    with torch.no_grad():
        torch.testing.assert_close(net(x), plain, rtol=1e-5, atol=1e-5)


def test_axes_in_front_and_strides():
    net, x = network(), normal(5, 4, 6).permute(1, 2, 0)
    torch.testing.assert_close(net(x), nn.Sequential.forward(net, x), rtol=1e-5, atol=1e-5)
    assert net(x[:0]).shape == (0, 6, 3)


def test_gradients_of_inputs_and_double_precision_are_pytorchs():
    net, x = network(), normal(4, 5).requires_grad_()
    assert torch.autograd.grad(net(x).sum(), x)[0].abs().sum() > 0
    assert torch.autograd.gradcheck(net.double(), x.detach().double().requires_grad_())


def test_large_inputs_saturate_and_nothing_hides_nan():
    net = tanh_mlp(1, 1, 1, 1, last_gain=1.0, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), (1.0, 0.0, 1.0, 0.0), strict=True):
            parameter.fill_(value)
        x = torch.tensor([-1e9, -8.0, -1.0, -1e-6, 0.0, 1e-6, 1.0, 8.0, 1e9])[:, None]
        torch.testing.assert_close(net(x), x.tanh(), rtol=1e-6, atol=5e-7)
        assert net(torch.tensor([[torch.nan]])).isnan().all()


def test_rows_of_another_width_are_refused():
    for x in (normal(3, 4), normal(3, 6), torch.zeros(3, 5, dtype=torch.float64)):
        with pytest.raises(RuntimeError):
            network()(x)
