"""How observations are seen and redrawn: vectors through symlog and layers, pictures through convolutions.

Axes: B whatever leads, O vector, C channels, F features (recurrent state and latents).
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bellmark.agents.api import Spec
from bellmark.agents.dreamer.model import Model
from bellmark.errors import UserError
from bellmark.nets.rms import ACTIVATIONS, BlockDense, ConvLayer, Dense, Layer, mlp, norm_of
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
        """(*B, O) -> (*B, width)."""
        tokens: Tensor = self.layers(symlog(obs))
        return tokens


class VectorDecoder(nn.Module):
    """Layers to the symlog of the observation; its loss is the squared error summed over the vector."""

    def __init__(self, spec: Spec, model: Model, features: int, generator: torch.Generator) -> None:
        super().__init__()
        units = model.widths.units
        widths = [features, *[units] * model.decoder_layers]
        self.layers = mlp(widths, generator, norm=model.norm, activation=model.activation)
        self.output = Dense(units, spec.obs_shape[0], generator)

    def loss(self, deter: Tensor, stoch: Tensor, obs: Tensor) -> Tensor:
        """(*B, D), (*B, S K) against (*B, O) -> (*B,)."""
        seen = self.output(self.layers(torch.cat((deter, stoch), -1)))
        return (seen - symlog(obs)).square().sum(-1)

    def forward(self, deter: Tensor, stoch: Tensor) -> Tensor:
        """The expected observation (*B, O)."""
        return symexp(self.output(self.layers(torch.cat((deter, stoch), -1))))


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
        """(*B, height, width, 3) uint8 -> (*B, width)."""
        lead = obs.shape[:-3]
        x = obs.reshape(-1, *obs.shape[-3:]).permute(0, 3, 1, 2).float() / 255 - 0.5
        for layer in self.layers:
            x = layer.finish(F.max_pool2d(layer(x), 2))  # type: ignore[operator]
        return x.flatten(1).unflatten(0, lead)


class PictureDecoder(nn.Module):
    """From features to a small picture, the recurrent state in blocks of channels; then doubled and convolved.

    The loss is the squared error of values in [0, 1], summed over the picture.
    """

    def __init__(self, spec: Spec, model: Model, features: int, generator: torch.Generator) -> None:
        super().__init__()
        check_picture(spec)
        size, layers = model.widths, {"norm": model.norm, "activation": model.activation}
        channels = [size.depth * f for f in FACTORS][::-1]
        self.least = (spec.obs_shape[0] // 16, spec.obs_shape[1] // 16)
        pixels = self.least[0] * self.least[1]
        self.from_deter = BlockDense(BLOCKS, size.deter, pixels * channels[0], generator)
        self.from_stoch = Layer(features - size.deter, 2 * size.units, generator, **layers)
        self.from_units = Dense(2 * size.units, pixels * channels[0], generator)
        self.norm = norm_of(model.norm, channels[0])
        self.activation = ACTIVATIONS[model.activation]
        self.layers = nn.ModuleList(ConvLayer(a, b, generator, **layers) for a, b in pairwise(channels))
        self.output = ConvLayer(channels[-1], spec.obs_shape[2], generator, norm="none")

    def loss(self, deter: Tensor, stoch: Tensor, obs: Tensor) -> Tensor:
        """(*B, D), (*B, S K) against (*B, height, width, 3) -> (*B,)."""
        return (self._brightness(deter, stoch) - obs.float() / 255).square().sum((-3, -2, -1))

    def forward(self, deter: Tensor, stoch: Tensor) -> Tensor:
        """The expected picture (*B, height, width, 3), uint8."""
        return (self._brightness(deter, stoch) * 255).round().to(torch.uint8)

    def _brightness(self, deter: Tensor, stoch: Tensor) -> Tensor:
        lead, (high, wide) = deter.shape[:-1], self.least
        blocks = self.from_deter(deter.flatten(0, -2).unflatten(1, (BLOCKS, -1)))
        spread = blocks.view(-1, BLOCKS, high, wide, blocks.shape[1] // (BLOCKS * high * wide))
        own = spread.permute(0, 2, 3, 1, 4).flatten(3)  # a block makes its own channels
        x = own + self.from_units(self.from_stoch(stoch.flatten(0, -2))).view(-1, high, wide, own.shape[-1])
        x = self.activation(self.norm(x)).permute(0, 3, 1, 2)
        for layer in self.layers:
            x = layer.finish(layer(_doubled(x)))  # type: ignore[operator]
        return self.output(_doubled(x)).sigmoid().permute(0, 2, 3, 1).unflatten(0, lead)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def check_picture(spec: Spec) -> None:
    """Refuse pictures that do not halve four times.

    Raises:
        UserError: a side that is not a multiple of 16.
    """
    high, wide, _ = spec.obs_shape
    if high % 16 or wide % 16:
        raise UserError(f"pictures of {high}x{wide} cannot be halved four times: sides must be multiples of 16")
