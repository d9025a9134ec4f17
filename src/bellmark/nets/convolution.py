"""Convolutions of the dreamer family: 5x5, keeping the size or doubling it first, and the norm over channels.

Pictures are (B, channels, H, W) whose channels lie together in memory (`torch.channels_last`): convolutions are up to
three times as fast as with planes, and the norm over channels runs along rows.

Axes: B pictures, C channels in, O out, H height, W width, P and Q which of the two rows and columns of a doubled pixel.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bellmark.nets.fused_places import normed_places
from bellmark.nets.rms import Norm, finish, initial
from bellmark.ops.native import fused

# Five taps around the first and around the second of two equal pixels: which of three small pixels each falls on.
FOLD = (
    ((1, 1, 0, 0, 0), (0, 0, 1, 1, 0), (0, 0, 0, 0, 1)),
    ((1, 0, 0, 0, 0), (0, 1, 1, 0, 0), (0, 0, 0, 1, 1)),
)


def doubled_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The 5x5 convolution of a picture doubled to nearest neighbours, without drawing the doubled one.

    Taps that fall on the same small pixel are summed first: 3x3 products per value instead of 5x5, and no picture of
    four times the size between. A border of one small pixel is the doubled picture's border of two.

    Args:
        x: (B, C, H, W). weight: (O, C, 5, 5). bias: (O,).

    Returns:
        (B, O, 2 H, 2 W), channels together.
    """
    fold = _fold(weight.dtype, weight.device)
    kernels = torch.einsum("pai,ocij,qbj->pqocab", fold, weight, fold).flatten(0, 2)
    small = F.conv2d(x, kernels, bias.repeat(4), padding=1)  # (B, P Q O, H, W)
    placed = small.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1)).transpose(2, 3)  # (B, H, P, W, Q, O)
    return placed.reshape(len(x), 2 * x.shape[2], 2 * x.shape[3], -1).permute(0, 3, 1, 2)


@cache
def _fold(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(FOLD, dtype=dtype).to(device)


class Convolution(nn.Module):
    """5x5, linear.

    Args:
        doubles: the picture is doubled first.
    """

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator, *, doubles: bool = False) -> None:
        super().__init__()
        self.weight = initial((outputs, inputs, 5, 5), inputs * 25, generator)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.doubles = doubles

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W), or twice the sides."""
        x = x.contiguous(memory_format=torch.channels_last)
        if self.doubles:
            return doubled_convolution(x, self.weight, self.bias)
        return F.conv2d(x, self.weight, self.bias, padding=2)


class ConvLayer(Convolution):
    """A convolution whose norm over channels and activation are a call of their own."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        generator: torch.Generator,
        *,
        norm: str,
        activation: str,
        doubles: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, generator, doubles=doubles)
        self._finish = finish(outputs, norm, activation)

    def finish(self, x: Tensor) -> Tensor:
        """Norm over channels at each place, then the activation; (B, outputs, H, W) -> the same."""
        places = x.permute(0, 2, 3, 1)
        rows = places.flatten(0, 2)
        if isinstance(self._finish, Norm) and fused(rows):
            out = normed_places(rows, self._finish.scale)
        else:
            out = self._finish(rows.t()).t()
        return out.view(places.shape).permute(0, 3, 1, 2)
