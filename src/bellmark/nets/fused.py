"""The dreamer family's layers and cell by the fused passes of `ops/native`: their arguments, and gradients of layers.

Here states are rows, (N, features), whose transposes are the columns that `rms.py` and `rssm.py` speak of. What is
computed is said there.

Axes: T steps, B slices, N states, D recurrent state, U units, S latents, K classes, C = S K, A action, F = D + C.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bellmark.ops.native import call

X = TypeVar("X")
PORTION = 256  # rows that are worked on at a time: what a cache holds
WORTH_TURNING = 64  # rows from which on transposing weights first, for a faster product, pays


def structure(name: str, *fields: tuple[str, Any]) -> type[ctypes.Structure]:
    """A struct from names, separated by blanks, and their kind."""
    return type(name, (ctypes.Structure,), {"_fields_": [(f, kind) for names, kind in fields for f in names.split()]})


_P, _N = ctypes.c_void_p, ctypes.c_int64
ACTIVE = {"": 0, "silu": 1, "relu": 2}
_Layer = structure("layer", ("weight bias scale", _P), ("inputs outputs turned active", _N))
_Cell = structure(
    "cell",
    ("deter stoch own shared gates deter_bias stoch_bias gates_bias deter_scale stoch_scale hidden_scale bias", _P),
    ("from_action", _P),
    ("D G U C turned ld_deter ld_stoch ld_own own_step ld_shared ld_gates", _N),
)
_Grus = structure("grus", ("inputs recurrent bias from_stoch", _P), ("D G A turned ld_inputs", _N))
_Advance = structure(
    "advance",
    ("cell grus deter stoch action after", _P),
    ("ld_deter ld_stoch ld_action ld_after", _N),
    ("head logits_bias uniform hot work", _P),
    ("count n portion widest S K ld_hot", _N),
    ("share", ctypes.c_float),
)


class LayerWeights(NamedTuple):
    """One layer: linear, or with an activation, or with a norm and SiLU."""

    weight: Tensor  # (outputs, inputs)
    bias: Tensor
    scale: Tensor | None = None  # of the norm
    activation: str = ""


class BlockWeights(NamedTuple):
    """What a step multiplies with and adds, see `cells.BlockCell`; G blocks of o = D / G."""

    deter: Tensor  # (U, D)
    stoch: Tensor  # (U, C)
    own: Tensor  # (G, o, o), rows may be further apart
    shared: Tensor  # (D, 2 U or 3 U) both inputs, or the action too, into the hidden layer; rows may be further apart
    gates: Tensor  # (G, 3 o, o)
    deter_bias: Tensor
    stoch_bias: Tensor
    gates_bias: Tensor
    deter_scale: Tensor | None
    stoch_scale: Tensor | None
    hidden_scale: Tensor
    bias: Tensor | None = None  # of the hidden layer; without it and the next, what comes of the action is known
    from_action: LayerWeights | None = None

    def turned(self) -> BlockWeights:
        """Copies whose matrices are transposed."""
        acted = self.from_action and turn([self.from_action])[0]
        matrices = {name: getattr(self, name).mT.contiguous() for name in self._fields[:5]}
        return self._replace(**matrices, from_action=acted)

    @property
    def work(self) -> int:
        """Numbers per state that a step keeps meanwhile: 3 U + 4 D + A; asked before anything is turned."""
        assert self.from_action is not None
        return 3 * len(self.deter_bias) + 4 * len(self.hidden_scale) + self.from_action.weight.shape[1]

    def struct(self, turned: bool) -> ctypes.Structure:
        """`struct cell` of the C file; the tensors must outlive it."""
        state, units, wide = len(self.hidden_scale), len(self.deter_bias), self.stoch.shape[turned ^ 1]
        pitches = (self.deter.stride(0), self.stoch.stride(0), self.own.stride(1), self.own.stride(0))
        acted = self.from_action and _layers([self.from_action], turned)
        places = (*pointers(self[:-1]), acted and ctypes.addressof(acted))
        sizes = (state, len(self.own), units, wide, turned, *pitches, self.shared.stride(0), self.gates.stride(1))
        made = _Cell(*places, *sizes)
        made.kept = acted
        return made


class GruWeights(NamedTuple):
    """What a step multiplies with and adds, see `cells.GruCells`; G cells of o = D / G."""

    inputs: Tensor  # (3 D, U + A), or (3 D, U) where what comes of the action is known; rows may be further apart
    recurrent: Tensor  # (G, 3 o, o)
    bias: Tensor | None  # (3 D,), or none likewise
    from_stoch: LayerWeights

    def turned(self) -> GruWeights:
        """Copies whose matrices are transposed."""
        inputs, recurrent = (x.mT.contiguous() for x in (self.inputs, self.recurrent))
        return GruWeights(inputs, recurrent, self.bias, turn([self.from_stoch])[0])

    @property
    def work(self) -> int:
        """Numbers per state that a step keeps meanwhile: U + A + 6 D; asked before anything is turned."""
        return self.inputs.shape[1] + 2 * len(self.inputs)

    def struct(self, turned: bool) -> ctypes.Structure:
        """`struct grus` of the C file; the tensors must outlive it."""
        layer, (cells, *own) = _layers([self.from_stoch], turned), self.recurrent.shape
        actions = self.inputs.shape[turned ^ 1] - len(self.from_stoch.bias)
        sizes = (cells * min(own), cells, actions, turned, self.inputs.stride(0))
        made = _Grus(*pointers(self[:3]), ctypes.addressof(layer), *sizes)
        made.kept = layer
        return made


def pointers(tensors: Iterable[Tensor | None]) -> list[int | None]:
    """Where their numbers begin; none for none."""
    return [None if t is None else t.data_ptr() for t in tensors]


def _pitch(x: Tensor) -> int:
    """Numbers from a row to the next; of a single row, its width: strides of axes of length one may be anything."""
    return max(x.stride(0), x.shape[1])


def turn(layers: Sequence[LayerWeights]) -> list[LayerWeights]:
    """Copies whose matrices are (inputs, outputs)."""
    return [layer._replace(weight=layer.weight.t().contiguous()) for layer in layers]


def _layers(layers: Sequence[LayerWeights], turned: bool) -> ctypes.Array[Any]:
    rows = [
        (*pointers(layer[:3]), layer.weight.shape[turned ^ 1], layer.weight.shape[turned], turned, ACTIVE[layer[3]])
        for layer in layers
    ]
    return (_Layer * len(rows))(*rows)  # type: ignore[misc]  # tuples become structs


class _NormedLayer(torch.autograd.Function):
    """silu(scale norm(x w^T + b)) of rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
        normed = torch.mm(x, weight.t())
        out, inverse = torch.empty_like(normed), normed.new_empty(len(normed))
        norm_rows(normed, bias, scale, out, inverse)
        ctx.save_for_backward(x, weight, scale, normed, inverse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale, normed, inverse = ctx.saved_tensors
        into, of_scale, of_bias = norm_rows_back(gradient, normed, inverse, scale)
        return (into @ weight if ctx.needs_input_grad[0] else None), into.t() @ x, of_bias, of_scale


def normed_layer(x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
    """(N, inputs) -> (N, outputs)."""
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        out: Tensor = _NormedLayer.apply(x, weight, bias, scale)
        return out
    linear = torch.mm(x, weight.t())
    norm_rows(linear, bias, scale, linear, None)
    return linear


def norm_rows(x: Tensor, bias: Tensor | None, scale: Tensor, out: Tensor, inverse: Tensor | None) -> None:
    """`x` becomes what is normed."""
    width = len(scale)
    call("norm_silu", len(x), width, x, width, bias, scale, x, width, out, width, inverse)


def norm_rows_back(gradient: Tensor, normed: Tensor, inverse: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of what was normed, of the scale and of a bias."""
    gradient, width = gradient.contiguous(), len(scale)
    into, sums = torch.empty_like(gradient), gradient.new_zeros(2, width)
    given = (gradient, width, normed, width, inverse, scale, into, width, *sums)
    call("norm_silu_back", len(normed), width, *given)
    return into, sums[0], sums[1]


class Stack:
    """Layers for `perceptron`, which stay those of now even where a module gets other parameters."""

    def __init__(self, layers: Sequence[LayerWeights]) -> None:
        self.layers = layers
        self.outputs, self.widest = len(layers[-1].bias), max(len(layer.bias) for layer in layers)
        self.struct = _layers(layers, False)


@torch.no_grad()
def perceptron(stack: Stack, x: Tensor, upper: Tensor | None = None) -> Tensor:
    """(N, inputs), rows contiguous in themselves, through layers without gradient, in one call.

    Args:
        upper: the bins above the middle: outputs are logits, and what is given are their mean bins (N,).
    """
    count, outputs = len(x), stack.outputs
    portion, turned = min(PORTION, count), turn(stack.layers) if count >= WORTH_TURNING else None
    struct = stack.struct if turned is None else _layers(turned, True)
    work = x.new_empty(2, max(portion * stack.widest, outputs + 16))  # a row of bins is read in whole vectors
    out = x.new_empty((count, outputs) if upper is None else count)
    last = None if upper is None else x.new_empty(portion, outputs)
    call("perceptron", struct, len(stack.layers), count, portion, _pitch(x), x, *work, out, upper, last)
    return out


_remembered: WeakKeyDictionary[nn.Module, dict[str, tuple[Tensor, Any]]] = WeakKeyDictionary()


def remembered(owner: nn.Module, name: str, witness: Tensor, make: Callable[[], X]) -> X:
    """What `make` gave for a module last time, unless the witness, one of its parameters, has moved since.

    For addresses of parameters, which learning changes in place; moving a module moves all of them. The witness's
    memory is held on to, or it could be handed out again and a moved witness stand where the former one stood.
    """
    known = _remembered.setdefault(owner, {})
    if name not in known or known[name][0].data_ptr() != witness.data_ptr():
        known[name] = witness.detach(), make()
    found: X = known[name][1]
    return found


class Advance:
    """Steps without gradient of a cell and a head on it, the prior or the posterior.

    Args:
        many: so many states that weights are transposed first; they are those of now from then on.
    """

    def __init__(
        self, cell: BlockWeights | GruWeights, head: Sequence[LayerWeights], latents: int, unimix: float, *, many: bool
    ) -> None:
        self._logits_bias, self._widest = head[-1].bias, max(len(layer.bias) for layer in head)
        self._latents, self._unimix, self._work = latents, unimix, cell.work
        if many:
            cell, head = cell.turned(), turn(head)
        self._kept = cell, head  # whose numbers the structs point to
        self._cell, self._head = cell.struct(many), _layers(head, many)
        self._head[-1].bias = None  # added with the share of uniform
        place = ctypes.addressof(self._cell)
        self._cells = (place, None) if isinstance(cell, BlockWeights) else (None, place)

    @torch.no_grad()
    def __call__(
        self, deter: Tensor, stoch: Tensor, action: Tensor, uniform: Tensor | None, after: Tensor, hot: Tensor
    ) -> None:
        """One step of N states; all are rows that are contiguous in themselves.

        Args:
            uniform: (S, N) for the draws of the latents; none: the most likely ones.
            after, hot: where the recurrent state (N, D) and the latents (N, C) go; the head reads a row of `after` and
                what follows it in memory.
        """
        count, wide = deter.shape[0], hot.shape[1]
        portion = min(PORTION, count)
        work = deter.new_empty(portion * (self._work + wide + 2 * self._widest))
        states = (deter, stoch, action, after)
        places = (*self._cells, *pointers(states), *map(_pitch, states), ctypes.addressof(self._head))
        rest = pointers((self._logits_bias, uniform, hot, work))
        sizes = (len(self._head), count, portion, self._widest, self._latents, wide // self._latents, _pitch(hot))
        call("advance", ctypes.byref(_Advance(*places, *rest, *sizes, self._unimix)))
