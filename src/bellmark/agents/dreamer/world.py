"""The networks of the dreamer family: world model, policy, value and its slow copy.

Axes: D recurrent state, S latents, K classes, F features = D + S K, N states. States are columns (see `nets.rms`) until
they leave a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bellmark.agents.api import Spec
from bellmark.agents.dreamer.actors import Actor, Chooser, Mover
from bellmark.agents.dreamer.model import BlockGru, Model
from bellmark.agents.dreamer.sight import PictureDecoder, PictureEncoder, VectorDecoder, VectorEncoder
from bellmark.nets.cells import BlockCell, GruCells
from bellmark.nets.fused import perceptron
from bellmark.nets.rms import Dense, mlp, rows
from bellmark.nets.rssm import Rssm
from bellmark.nets.slow import slow_copy
from bellmark.ops.native import fused
from bellmark.ops.two_hot import SymexpBins

POLICY_SCALE = 0.01  # of the policy's last weights: it starts out almost uniform


class Head(nn.Module):
    """Hidden layers and a linear one on features."""

    def __init__(
        self, inputs: int, layers: int, outputs: int, model: Model, generator: torch.Generator, *, scale: float
    ) -> None:
        super().__init__()
        widths = [inputs, *[model.widths.units] * layers]
        self.hidden = mlp(widths, generator, norm=model.norm, activation=model.activation)
        self.output = Dense(widths[-1], outputs, generator, scale=scale)

    def forward(self, features: Tensor) -> Tensor:
        """(F, N) -> (outputs, N)."""
        return self.rows(features).t()

    def rows(self, features: Tensor) -> Tensor:
        """(F, N) -> (N, outputs)."""
        return self.hidden.then(self.output, features)

    @torch.no_grad()
    def mean_bin(self, features: Tensor, bins: SymexpBins) -> Tensor:
        """(F, N) -> (N,) the numbers that outputs over bins stand for, without gradient."""
        stack = self.hidden.stack(self.output) if fused(features) else None
        if stack is None:
            return bins.decode(self.rows(features))
        return perceptron(stack, rows(features), bins.upper(features))


class Networks(nn.Module):
    """Everything that learns, and the slow copy of the value."""

    def __init__(self, spec: Spec, model: Model, generator: torch.Generator) -> None:
        super().__init__()
        size = model.widths
        self.bins = SymexpBins(limit=model.bin_limit, count=model.bins)
        self.actions = spec.actions
        self.actor: Actor = (
            Chooser(spec.actions, model.policy_unimix)
            if spec.discrete
            else Mover(spec.actions, model.min_std, model.max_std)
        )
        stoch = model.latents * size.classes
        features = size.deter + stoch
        self.encoder = (PictureEncoder if spec.pixels else VectorEncoder)(spec, model, generator)
        self.rssm = Rssm(
            _cell(spec, model, generator),
            size.deter,
            self.encoder.width,
            model.latents,
            size.classes,
            size.units,
            generator,
            unimix=model.unimix,
            prior_layers=model.prior_layers,
            posterior_layers=model.posterior_layers,
            sees_deter=model.posterior == "recurrent",
            norm=model.norm,
            activation=model.activation,
        )
        self.decoder = (PictureDecoder if spec.pixels else VectorDecoder)(spec, model, features, generator)
        self.reward = Head(features, model.reward_layers, model.bins, model, generator, scale=0.0)
        self.continuation = Head(features, model.continue_layers, 1, model, generator, scale=1.0)
        self.policy = Head(features, model.policy_layers, self.actor.outputs, model, generator, scale=POLICY_SCALE)
        self.value = Head(features, model.value_layers, model.bins, model, generator, scale=0.0)
        self.slow_value = slow_copy(self.value)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """What learns, by the part whose learning rate it has."""
        world = (self.encoder, self.rssm, self.decoder, self.reward, self.continuation)
        return {
            "model": [p for module in world for p in module.parameters()],
            "policy": list(self.policy.parameters()),
            "value": list(self.value.parameters()),
        }


def features(deter_TDB: Tensor, stoch_TSKB: Tensor) -> Tensor:
    """What heads read: states of T steps as the columns of (F, T B)."""
    rows = torch.cat((deter_TDB.mT, stoch_TSKB.movedim(3, 1).flatten(2)), -1)  # rows: the first layers read them so
    return rows.flatten(0, 1).t()


def _cell(spec: Spec, model: Model, generator: torch.Generator) -> BlockCell | GruCells:
    size, cell = model.widths, model.cell
    make, pieces = (BlockCell, cell.blocks) if isinstance(cell, BlockGru) else (GruCells, cell.cells)
    stoch, layers = model.latents * size.classes, {"norm": model.norm, "activation": model.activation}
    return make(size.deter, stoch, spec.actions, size.units, pieces, generator, **layers)
