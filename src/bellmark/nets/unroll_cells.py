"""The cells of the dreamer family along T steps, as the fused passes of `ops/native` follow them.

What each leaves for its gradient, and the gradients of its weights, which are products over all steps. States are rows.

Axes: T steps, B slices, D recurrent state, G blocks or GRUs of o = D / G, U units, C latents.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bellmark.nets.fused import BlockWeights, GruWeights, LayerWeights, pointers, structure

Rows = dict[str, Tensor]  # (T, B, .) by name
_P = ctypes.c_void_p


class Cell(Protocol):
    """A cell's weights, and what its steps leave."""

    @property
    def saved(self) -> dict[str, int]:
        """Numbers per state of everything that a step leaves for the gradient."""
        ...

    @property
    def left(self) -> dict[str, int]:
        """The same of what the gradient leaves for those of the weights; the first is that of the action's part."""
        ...

    def path(self, rows: Rows, *, back: bool) -> tuple[str, ctypes.Structure]:
        """Which path of `struct unroll` it is, and its struct; tensors must outlive it."""
        ...

    def gradients(self, rows: Rows) -> Sequence[Tensor]:
        """Of the weights, in their order."""
        ...


_BLOCK = ("normed", "deter_inverse", "stoch_inverse", "inputs", "hidden_normed", "hidden_inverse", "hidden", "gates")
_INTO_BLOCK = ("into_hidden", "into_inputs", "into_gates")
_BlockPath = structure("block_path", ("cell", _P), (" ".join((*_BLOCK, *_INTO_BLOCK)), _P), ("scales work", _P))


class BlockSteps(NamedTuple):
    """`cells.BlockCell`; what comes of the action and the hidden layer's bias is (T, B, D)."""

    deter_UD: Tensor  # recurrent state into the cell
    deter_bias_U: Tensor
    stoch_UC: Tensor  # latents into the cell
    stoch_bias_U: Tensor
    scale_2U: Tensor  # of the norms of both
    own: Tensor  # (G, o, o), a block of the state into the same block of the hidden layer
    shared_D2U: Tensor  # both inputs into every block of the hidden layer
    hidden_scale_D: Tensor
    gates: Tensor  # (G, 3 o, o)
    gates_bias: Tensor  # (G, 3 o, 1)

    @property
    def saved(self) -> dict[str, int]:
        """See `Cell`."""
        units, state = len(self.deter_bias_U), len(self.hidden_scale_D)
        return dict(zip(_BLOCK, (2 * units, 1, 1, 2 * units, state, 1, state, 3 * state), strict=True))

    @property
    def left(self) -> dict[str, int]:
        """See `Cell`."""
        units, state = len(self.deter_bias_U), len(self.hidden_scale_D)
        return dict(zip(_INTO_BLOCK, (state, 2 * units, 3 * state), strict=True))

    def path(self, rows: Rows, *, back: bool) -> tuple[str, ctypes.Structure]:
        """See `Cell`."""
        weights = BlockWeights(
            self.deter_UD, self.stoch_UC, self.own, self.shared_D2U, self.gates, self.deter_bias_U, self.stoch_bias_U,
            self.gates_bias, self.scale_2U[0], self.scale_2U[1], self.hidden_scale_D,
        )  # fmt: skip
        weights = weights if back else weights.turned()
        cell, units, state = weights.struct(not back), len(self.deter_bias_U), len(self.hidden_scale_D)
        if back:
            slices = rows["hidden"].shape[1]
            rows["scales"] = self.own.new_zeros(2, 2 * units + state)
            rows["work"] = self.own.new_empty(slices, state + 2 * units)
        names = (*_BLOCK, *_INTO_BLOCK, "scales", "work")
        made = _BlockPath(ctypes.addressof(cell), *pointers(rows.get(name) for name in names))
        made.kept = cell, weights
        return "block", made

    def gradients(self, rows: Rows) -> Sequence[Tensor]:
        """See `Cell`."""
        units, blocks = len(self.deter_bias_U), len(self.own)
        from_deter, from_stoch = _flat(rows["into_inputs"]).chunk(2, 1)
        hidden, gates, deter = (_flat(rows[name]) for name in ("into_hidden", "into_gates", "deter"))
        scales, biases = rows["scales"]
        return BlockSteps(
            deter_UD=from_deter.t() @ deter,
            deter_bias_U=biases[:units],
            stoch_UC=from_stoch.t() @ _flat(rows["stoch"]),
            stoch_bias_U=biases[units : 2 * units],
            scale_2U=scales[: 2 * units].view(2, units),
            own=_by_block(hidden, deter, blocks),
            shared_D2U=hidden.t() @ _flat(rows["inputs"]),
            hidden_scale_D=scales[2 * units :],
            gates=_by_block(gates, _flat(rows["hidden"]), blocks),
            gates_bias=gates.sum(0).view_as(self.gates_bias),
        )


_GRU, _INTO_GRU = ("before", "embedded", "gates", "own"), ("into_gates", "into_before", "into_own")
_GruPath = structure("gru_path", ("cell", _P), (" ".join((*_GRU, *_INTO_GRU)), _P))


class GruSteps(NamedTuple):
    """`cells.GruCells` whose latents are embedded without a norm; what comes of action and bias is (T, B, 3 D)."""

    stoch_UC: Tensor
    stoch_bias_U: Tensor
    inputs: Tensor  # (3 D, U)
    recurrent: Tensor  # (G, 3 o, o)
    activation: str

    @property
    def saved(self) -> dict[str, int]:
        """See `Cell`."""
        units, gates = len(self.stoch_bias_U), len(self.inputs)
        return dict(zip(_GRU, (units, units, gates, gates), strict=True))

    @property
    def left(self) -> dict[str, int]:
        """See `Cell`."""
        gates = len(self.inputs)
        return dict(zip(_INTO_GRU, (gates, len(self.stoch_bias_U), gates), strict=True))

    def path(self, rows: Rows, *, back: bool) -> tuple[str, ctypes.Structure]:
        """See `Cell`."""
        layer = LayerWeights(self.stoch_UC, self.stoch_bias_U, None, self.activation)
        weights = GruWeights(self.inputs, self.recurrent, None, layer)
        weights = weights if back else weights.turned()
        cell = weights.struct(not back)
        made = _GruPath(ctypes.addressof(cell), *pointers(rows.get(name) for name in (*_GRU, *_INTO_GRU)))
        made.kept = cell, weights
        return "grus", made

    def gradients(self, rows: Rows) -> Sequence[Tensor]:
        """See `Cell`."""
        before, gates, own = (_flat(rows[name]) for name in ("into_before", "into_gates", "into_own"))
        stoch = before.t() @ _flat(rows["stoch"])
        recurrent = _by_block(own, _flat(rows["deter"]), len(self.recurrent))
        return stoch, before.sum(0), gates.t() @ _flat(rows["embedded"]), recurrent


def _flat(x: Tensor) -> Tensor:
    return x.flatten(0, 1)


def _by_block(gradient: Tensor, met: Tensor, blocks: int) -> Tensor:
    """(N, G p) and (N, G q) -> (G, p, q)."""
    left, right = (x.unflatten(1, (blocks, -1)).transpose(0, 1) for x in (gradient, met))
    return torch.bmm(left.mT, right)
