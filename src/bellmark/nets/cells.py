"""The recurrent cells of the dreamer family: DreamerV3's (Hafner et al. 2025), and the users' independent GRUs.

Axes: T steps, B slices, D recurrent state, U units, S latents, K classes, A action. States are columns (see
`nets.rms`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from bellmark.nets.fused import BlockWeights, GruWeights
from bellmark.nets.rms import BlockDense, Layer, Norm, finish, initial
from bellmark.nets.unroll_cells import BlockSteps, Cell, GruSteps

Along = tuple[Tensor, Callable[..., Cell], tuple[Tensor, ...]]  # see `BlockCell.along`
UPDATE_BIAS = -1.0  # of the update gate, so that a new cell remembers


class BlockCell(nn.Module):
    """A GRU whose hidden layer and gates are block-diagonal; inputs are projected and handed to every block."""

    def __init__(
        self, deter: int, stoch: int, actions: int, units: int, blocks: int, generator: torch.Generator,
        *, norm: str, activation: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.blocks, self.own = blocks, deter // blocks
        layers = {"norm": norm, "activation": activation}
        self.from_deter = Layer(deter, units, generator, **layers)
        self.from_stoch = Layer(stoch, units, generator, **layers)
        self.from_action = Layer(actions, units, generator, **layers)
        fan = self.own + 3 * units
        self.hidden = initial((deter, fan), fan, generator)
        self.bias = nn.Parameter(torch.zeros(deter))
        self.finish = finish(deter, norm, activation)
        self.gates = BlockDense(blocks, deter, 3 * deter, generator)

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """(D, B), (S K, B), (A, B) -> (D, B)."""
        inputs = torch.cat((self.from_deter(deter), self.from_stoch(stoch), self.from_action(action)))
        x = torch.addmm(self.bias.unsqueeze(1), self.hidden[:, self.own :], inputs)
        own = self.hidden[:, : self.own].unflatten(0, (self.blocks, -1))
        former = deter.unflatten(0, (self.blocks, -1))
        x = self.finish(torch.baddbmm(x.view_as(former), own, former).flatten(0, 1))
        reset, candidate, update = self.gates(x).chunk(3, 1)
        candidate = torch.tanh(reset.sigmoid() * candidate)
        return torch.lerp(former, candidate, (update + UPDATE_BIAS).sigmoid()).flatten(0, 1)

    def weights(self) -> BlockWeights | None:
        """What the fused passes multiply with; None where they do not know a norm or an activation."""
        one, other, acted = (layer.weights() for layer in (self.from_deter, self.from_stoch, self.from_action))
        if not (isinstance(self.finish, Norm) and one and other and acted and one.scale is not None):
            return None
        return BlockWeights(
            one.weight, other.weight, self.hidden[:, : self.own].unflatten(0, (self.blocks, -1)),
            self.hidden[:, self.own :], self.gates.weight, one.bias, other.bias, self.gates.bias,
            one.scale, other.scale, self.finish.scale, self.bias, acted,
        )  # fmt: skip

    def along(self, action_ATB: Tensor) -> Along:
        """What comes of the actions at all steps, (T B, D), and weights for the hand-written loop over them."""
        one, other = self.from_deter.weights(), self.from_stoch.weights()
        assert isinstance(self.finish, Norm) and one and other
        assert one.scale is not None and other.scale is not None
        units = len(one.bias)
        inner, outer = self.hidden[:, self.own :].split((2 * units, units), 1)
        weights = BlockSteps(
            deter_UD=one.weight,
            deter_bias_U=one.bias,
            stoch_UC=other.weight,
            stoch_bias_U=other.bias,
            scale_2U=torch.stack((one.scale, other.scale)),
            own=self.hidden[:, : self.own].unflatten(0, (self.blocks, -1)),
            shared_D2U=inner,
            hidden_scale_D=self.finish.scale,
            gates=self.gates.weight,
            gates_bias=self.gates.bias,
        )
        rows = self.from_action(bounded(action_ATB).flatten(1)).t()
        return torch.addmm(self.bias, rows, outer.t()), BlockSteps, weights


class GruCells(nn.Module):
    """GRUs side by side: each sees its own part of the state, the embedded latents and the action."""

    def __init__(
        self, deter: int, stoch: int, actions: int, units: int, cells: int, generator: torch.Generator,
        *, norm: str, activation: str,
    ) -> None:  # fmt: skip
        super().__init__()
        own = deter // cells
        self.from_stoch = Layer(stoch, units, generator, norm=norm, activation=activation)
        self.inputs = initial((3 * deter, units + actions), units + actions, generator)
        self.recurrent = initial((cells, 3 * own, own), own, generator)
        self.bias = nn.Parameter(torch.zeros(3 * deter))

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """(D, B), (S K, B), (A, B) -> (D, B)."""
        cells = len(self.recurrent)
        former = deter.unflatten(0, (cells, -1))
        seen = torch.addmm(self.bias.unsqueeze(1), self.inputs, torch.cat((self.from_stoch(stoch), action)))
        reset_x, update_x, new_x = seen.unflatten(0, (cells, -1)).chunk(3, 1)
        reset_h, update_h, new_h = torch.bmm(self.recurrent, former).chunk(3, 1)
        new = torch.tanh(new_x + (reset_x + reset_h).sigmoid() * new_h)
        return torch.lerp(former, new, (update_x + update_h + UPDATE_BIAS).sigmoid()).flatten(0, 1)

    def weights(self) -> GruWeights | None:
        """What the fused passes multiply with; None where they do not know the layer of the latents."""
        layer = self.from_stoch.weights()
        return layer and GruWeights(self.inputs, self.recurrent, self.bias, layer)

    def along(self, action_ATB: Tensor) -> Along:
        """What comes of the actions at all steps, (T B, 3 D), and weights for the fused loop over them."""
        layer, action = self.from_stoch.weights(), bounded(action_ATB).flatten(1)
        assert layer is not None
        seen, acting = self.inputs.split((len(layer.bias), len(action)), 1)
        kind = partial(GruSteps, activation=layer.activation)
        return torch.addmm(self.bias, action.t(), acting.t()), kind, (layer.weight, layer.bias, seen, self.recurrent)


def bounded(action: Tensor) -> Tensor:
    """Actions beyond [-1, 1] divided by their size."""
    return action / action.detach().abs().clamp(min=1)
