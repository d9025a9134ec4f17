"""Convolutions on channels that lie together: doubling folded into the kernel, the norm over channels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bellmark.nets.convolution import ConvLayer, Convolution, doubled_convolution
from bellmark.nets.rms import Norm
from bellmark.ops import native

GENERATOR = torch.Generator().manual_seed(3)


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=dtype).requires_grad_()


def scale_of(layer: ConvLayer) -> Tensor:
    assert isinstance(layer._finish, Norm)
    return layer._finish.scale


def planes(x: Tensor, scale: Tensor) -> Tensor:
    """The norm over channels and SiLU, from their definition."""
    return F.silu(x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-4) * scale.view(1, -1, 1, 1))


def test_a_picture_of_one_pixel_is_doubled_by_hand() -> None:
    """Doubled, one pixel of 2 is a square of four; the kernel's entry (i, j) is 10 i + j. At the first of the four the
    square lies under taps (2..3, 2..3): 22 + 23 + 32 + 33 = 110, at the last under (1..2, 1..2): 11 + 12 + 21 + 22."""
    kernel = torch.tensor([[10.0 * i + j for j in range(5)] for i in range(5)]).view(1, 1, 5, 5)
    got = doubled_convolution(torch.full((1, 1, 1, 1), 2.0), kernel, torch.tensor([0.5]))
    assert got.flatten().tolist() == [
        2 * 110 + 0.5,
        2 * (21 + 22 + 31 + 32) + 0.5,
        2 * (12 + 13 + 22 + 23) + 0.5,
        132.5,
    ]


@pytest.mark.parametrize("sides", [(4, 4), (3, 5)])
def test_folding_changes_nothing(sides: tuple[int, int]) -> None:
    x, weight, bias = drawn(2, 3, *sides), drawn(4, 3, 5, 5), drawn(4)
    folded = doubled_convolution(x, weight, bias)
    drawn_out = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=2)
    torch.testing.assert_close(folded, drawn_out)
    upstream = torch.randn(drawn_out.shape, generator=GENERATOR, dtype=torch.float64)
    ours = torch.autograd.grad(folded, (x, weight, bias), upstream)
    torch.testing.assert_close(ours, torch.autograd.grad(drawn_out, (x, weight, bias), upstream))


@pytest.mark.parametrize("channels", [3, 8, 12, 32, 48])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norm_over_channels(channels: int, dtype: torch.dtype) -> None:
    """2 x 5 x 7 = 70 places: four blocks of 16 and six left over. In single precision by C, in double by PyTorch."""
    layer = ConvLayer(2, channels, GENERATOR, norm="rms", activation="silu").to(dtype)
    scale = scale_of(layer)
    with torch.no_grad():
        scale.copy_(torch.rand(channels, generator=GENERATOR) + 0.5)
    x = drawn(2, channels, 5, 7, dtype=dtype)
    got, expected = layer.finish(x), planes(x, scale)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    upstream = torch.randn(expected.shape, generator=GENERATOR, dtype=dtype)
    ours = torch.autograd.grad(got, (x, scale), upstream)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, (x, scale), upstream), rtol=1e-4, atol=1e-5)


def test_without_the_compiled_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", lambda: None)
    layer = ConvLayer(2, 8, GENERATOR, norm="rms", activation="silu")
    x = drawn(2, 8, 4, 4, dtype=torch.float32)
    torch.testing.assert_close(layer.finish(x), planes(x, scale_of(layer)), rtol=1e-5, atol=1e-5)


def test_channels_stay_together() -> None:
    layer = ConvLayer(3, 8, GENERATOR, norm="rms", activation="silu")
    out = layer.finish(F.max_pool2d(layer(torch.rand(2, 3, 8, 8, generator=GENERATOR)), 2))
    doubled = Convolution(8, 3, GENERATOR, doubles=True)(out)
    assert out.shape == (2, 8, 4, 4) and out.is_contiguous(memory_format=torch.channels_last)
    assert doubled.shape == (2, 3, 8, 8) and doubled.is_contiguous(memory_format=torch.channels_last)
