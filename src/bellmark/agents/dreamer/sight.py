"""How observations are seen and redrawn: vectors through symlog and layers, pictures through convolutions.

Axes: N states, O vector, C channels, D recurrent state, F features (recurrent state and latents). Observations are
rows, encoded observations and features columns (see `nets.rms`).
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bellmark.agents.api import Spec
from bellmark.agents.dreamer.model import Model
from bellmark.errors import UserError
from bellmark.nets.convolution import ConvLayer, Convolution
from bellmark.nets.rms import BlockDense, Dense, Layer, finish, mlp
from bellmark.ops.two_hot import symexp, symlog

FACTORS = (2, 3, 4, 4)  # channels of each layer, times `depth`
BLOCKS = 8  # of the recurrent state's way into a picture


class VectorEncoder(nn.Module):
    """symlog, then layers."""

    def __init__(self, spec: Spec, model: Model, generator: torch.Generator) -> None:
        super().__init__()
        self.width = model.widths.units
        widths = [spec.obs_shape[0], *[self.width] * model.encoder_layers]
        self.layers = mlp(widths, generator, norm=model.norm, activation=model.activation)

    def forward(self, obs: Tensor) -> Tensor:
        """(N, O) -> (width, N)."""
        tokens: Tensor = self.layers(symlog(obs.t()))
        return tokens


class VectorDecoder(nn.Module):
    """Layers to the symlog of the observation; its loss is the squared error summed over the vector."""

    def __init__(self, spec: Spec, model: Model, features: int, generator: torch.Generator) -> None:
        super().__init__()
        units = model.widths.units
        widths = [features, *[units] * model.decoder_layers]
        self.layers = mlp(widths, generator, norm=model.norm, activation=model.activation)
        self.output = Dense(units, spec.obs_shape[0], generator)

    def loss(self, seen: Tensor, obs: Tensor) -> Tensor:
        """(F, N) against (N, O) -> (N,)."""
        return (self.output(self.layers(seen)) - symlog(obs.t())).square().sum(0)

    def forward(self, seen: Tensor) -> Tensor:
        """The expected observation (N, O)."""
        return symexp(self.output(self.layers(seen))).t()


class PictureEncoder(nn.Module):
    """Four convolutions, each halved by its maxima."""

    def __init__(self, spec: Spec, model: Model, generator: torch.Generator) -> None:
        super().__init__()
        check_picture(spec)
        channels = [spec.obs_shape[2], *(model.widths.depth * f for f in FACTORS)]
        layers = [
            ConvLayer(a, b, generator, norm=model.norm, activation=model.activation) for a, b in pairwise(channels)
        ]
        self.layers = nn.ModuleList(layers)
        self.width = channels[-1] * (spec.obs_shape[0] // 16) * (spec.obs_shape[1] // 16)

    def forward(self, obs: Tensor) -> Tensor:
        """(N, height, width, 3) uint8 -> (width, N)."""
        x = obs.permute(0, 3, 1, 2).to(torch.get_default_dtype()) / 255 - 0.5
        for layer in self.layers:
            x = layer.finish(F.max_pool2d(layer(x), 2))  # type: ignore[operator]
        return x.flatten(1).t()


class PictureDecoder(nn.Module):
    """From features to a small picture, the recurrent state in blocks of channels; then doubled and convolved.

    The loss is the squared error of values in [0, 1], summed over the picture.
    """

    def __init__(self, spec: Spec, model: Model, features: int, generator: torch.Generator) -> None:
        super().__init__()
        check_picture(spec)
        size, layers = model.widths, {"norm": model.norm, "activation": model.activation}
        channels = [size.depth * f for f in FACTORS][::-1]
        self.deter = size.deter
        self.least = (spec.obs_shape[0] // 16, spec.obs_shape[1] // 16)
        pixels = self.least[0] * self.least[1]
        self.from_deter = BlockDense(BLOCKS, size.deter, pixels * channels[0], generator)
        self.from_stoch = Layer(features - size.deter, 2 * size.units, generator, **layers)
        self.from_units = Dense(2 * size.units, pixels * channels[0], generator)
        self.finish = finish(channels[0], model.norm, model.activation)
        self.layers = nn.ModuleList(ConvLayer(a, b, generator, **layers, doubles=True) for a, b in pairwise(channels))
        self.output = Convolution(channels[-1], spec.obs_shape[2], generator, doubles=True)

    def loss(self, seen: Tensor, obs: Tensor) -> Tensor:
        """(F, N) against (N, height, width, 3) -> (N,)."""
        return (self._brightness(seen) - obs.to(seen) / 255).square().sum((-3, -2, -1))

    def forward(self, seen: Tensor) -> Tensor:
        """The expected picture (N, height, width, 3), uint8."""
        return (self._brightness(seen) * 255).round().to(torch.uint8)

    def _brightness(self, seen: Tensor) -> Tensor:
        deter, stoch = seen[: self.deter], seen[self.deter :]
        high, wide = self.least
        own = self.from_deter(deter).unflatten(1, (high, wide, -1))  # (G, high, wide, C / G, N)
        own = own.permute(0, 3, 1, 2, 4).flatten(0, 1)  # a block makes its own channels
        shared = self.from_units(self.from_stoch(stoch)).unflatten(0, (high, wide, -1)).permute(2, 0, 1, 3)
        x = own + shared  # (C, high, wide, N)
        x = self.finish(x.flatten(1)).view_as(x).permute(3, 0, 1, 2)
        for layer in self.layers:
            x = layer.finish(layer(x))  # type: ignore[operator]
        return self.output(x).sigmoid().permute(0, 2, 3, 1)


def check_picture(spec: Spec) -> None:
    """Refuse pictures that do not halve four times.

    Raises:
        UserError: a side that is not a multiple of 16.
    """
    high, wide, _ = spec.obs_shape
    if high % 16 or wide % 16:
        raise UserError(f"pictures of {high}x{wide} cannot be halved four times: sides must be multiples of 16")
