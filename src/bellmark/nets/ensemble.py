"""E multi-layer perceptrons of one shape: parameters stacked (E, inputs, outputs), evaluated together or one by one.

An input comes in parts (a latent and an action, say) whose leading axes broadcast: where a latent is shared by many
actions, its share of the first layer is computed once. Axes: E members, B whatever leads, n features of a part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bellmark.nets.blocks import initial_weight
from bellmark.nets.fused_reduced import Perceptron, Shared, kept, pack
from bellmark.ops.activations import CACHED, mish, norm, norm_mish
from bellmark.ops.products import baddbmm, mm, reduced

LEAST_PRIOR_WIDTH = 8
PRIOR_SHARE = 16  # a random prior is this many times narrower than what it disturbs


class Stack(nn.Module):
    """One layer of all members; `normed` ones have a LayerNorm."""

    def __init__(
        self, members: int, inputs: int, outputs: int, generator: torch.Generator, *, normed: bool, zero: bool = False
    ) -> None:
        super().__init__()
        weight = torch.zeros(members, inputs, outputs)
        if not zero:
            weight = initial_weight((members, inputs, outputs), generator)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(members, outputs))
        self.normed = normed
        if normed:
            self.scale = nn.Parameter(torch.ones(members, outputs))
            self.shift = nn.Parameter(torch.zeros(members, outputs))

    def members(self, which: Sequence[int]) -> list[Layer]:
        """These members' layers; with gradient by one unbind each, so that the gradients come back in one piece."""
        kept = [self.weight, self.bias, *([self.scale, self.shift] if self.normed else [])]
        parts = [x.unbind() for x in kept] if torch.is_grad_enabled() else kept
        return [Layer(*(x[e] for x in parts)) for e in which]

    def linear(self, x: Tensor, chosen: Tensor | None) -> Tensor:
        """Of (E', B, inputs), or (1, B, inputs) for all: each chosen member's own layer."""
        weight, bias = _of(self.weight, chosen), _of(self.bias, chosen)
        return baddbmm(bias.unsqueeze(1), x.expand(len(weight), -1, -1), weight)

    def norm(self, x: Tensor, chosen: Tensor | None) -> Tensor:
        """LayerNorm of (E', B, outputs) with each chosen member's own scale and shift."""
        if not self.normed:
            return x
        scale, shift = _of(self.scale, chosen), _of(self.shift, chosen)
        if len(scale) == 1:
            return F.layer_norm(x, x.shape[-1:], scale.view(-1), shift.view(-1))
        return torch.addcmul(shift.unsqueeze(1), F.layer_norm(x, x.shape[-1:]), scale.unsqueeze(1))


class Layer(NamedTuple):
    """One member's layer."""

    weight: Tensor  # (inputs, outputs)
    bias: Tensor  # (outputs,)
    scale: Tensor | None = None
    shift: Tensor | None = None

    def finish(self, x: Tensor) -> Tensor:
        """x @ weight + bias, and the LayerNorm where there is one."""
        if self.scale is None or self.shift is None:
            return mm(x, self.weight).add_(self.bias)
        return norm(mm(x, self.weight), self.scale, self.shift, self.bias)

    def norm_mish(self, x: Tensor, *, biased: bool = False) -> Tensor:
        """Mish of the LayerNorm that a hidden layer has, of x + bias, or of x that has it already; x is used up."""
        assert self.scale is not None and self.shift is not None
        return norm_mish(x, self.scale, self.shift, None if biased else self.bias)


class Ensemble(nn.Module):
    """`members` perceptrons: normed Mish layers through `hidden`, then a linear one, normed when `normed_output`.

    Args:
        inputs: features of each part of the input.
        dropout: share of the first layer's outputs that is dropped where a generator is handed in.
        zero_output: the last weights start at zero (a prediction of zero), as published for rewards and values.
    """

    def __init__(
        self,
        members: int,
        inputs: Sequence[int],
        hidden: Sequence[int],
        outputs: int,
        generator: torch.Generator,
        *,
        normed_output: bool = False,
        zero_output: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.size = members
        self.inputs = tuple(inputs)
        self.dropout = dropout
        widths = [sum(inputs), *hidden]
        stacks = [Stack(members, a, b, generator, normed=True) for a, b in pairwise(widths)]
        last = Stack(members, widths[-1], outputs, generator, normed=normed_output, zero=zero_output)
        self.stacks = nn.ModuleList([*stacks, last])

    def forward(
        self,
        *parts: Tensor,
        own: bool = False,
        chosen: Tensor | None = None,
        dropout: torch.Generator | None = None,
    ) -> Tensor:
        """Every (chosen) member's output.

        Args:
            parts: (*B, n) each, leading axes broadcast; with `own`, (E, *B, n), member e reads parts[e].
            chosen: (E',) indices of the members to evaluate; all by default.
            dropout: where its random numbers come from; none: no dropout.

        Returns:
            (E, *B, outputs), or (E', *B, outputs).
        """
        if parts[0].device.type == "cpu":
            return self._one_by_one(parts, own, chosen, dropout)
        return self._together(parts, own, chosen, dropout)

    def _one_by_one(
        self, parts: Sequence[Tensor], own: bool, chosen: Tensor | None, dropout: torch.Generator | None
    ) -> Tensor:
        """A processor runs through one member after the other: its activations stay in the cache."""
        who = range(self.size) if chosen is None else chosen.tolist()
        read = [[part[place] for part in parts] if own else parts for place in range(len(who))]
        dropout = dropout if self.dropout else None
        passes = None if dropout or torch.is_grad_enabled() else reduced(parts[0])
        if passes is not None:
            outputs = [self._reduced(passes, e, read[place]) for place, e in enumerate(who)]
        else:
            members = zip(*(stack.members(who) for stack in self._layers()), strict=True)
            outputs = [self._member(layers, read[place], dropout) for place, layers in enumerate(members)]
        return torch.stack(outputs) if len(outputs) > 1 else outputs[0].unsqueeze(0)

    def _member(self, layers: Sequence[Layer], parts: Sequence[Tensor], dropout: torch.Generator | None) -> Tensor:
        """A member's output; dropout, where a generator comes, is of what has its bias."""
        first, *hidden, last = layers
        x = _join(parts, first.weight, first.bias if dropout else None)
        return _through(self._hit(x, dropout), first, hidden, last, biased=dropout is not None)

    def _reduced(self, passes: str, member: int, parts: Sequence[Tensor]) -> Tensor:
        """A member's output without gradient, its products in reduced precision.

        Parts that have all axes are read row by row; the first layer's products of the others are shared by rows.
        """
        shape = _lead(parts)
        whole = [place for place, part in enumerate(parts) if part.shape[:-1].numel() == shape.numel()] or [0]
        others = [place for place in range(len(parts)) if place not in whole]

        def packed() -> Perceptron:
            first, *rest = (stack.members([member])[0] for stack in self._layers())
            if others:
                weights = first.weight.split(self.inputs)
                first = first._replace(weight=torch.cat([weights[place] for place in whole]))
            return pack(passes, [first, *rest])

        net = kept((self, member, passes, *whole), packed)
        rows = [parts[place].expand(*shape, -1).reshape(-1, self.inputs[place]) for place in whole]
        if not others:
            return net(rows).view(*shape, -1)
        weights = self._layers()[0].weight[member].split(self.inputs)
        return net(rows, _shared(sum(parts[place] @ weights[place] for place in others), shape)).view(*shape, -1)

    def _together(
        self, parts: Sequence[Tensor], own: bool, chosen: Tensor | None, dropout: torch.Generator | None
    ) -> Tensor:
        """An accelerator runs all members in one batched product per layer."""
        shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
        flat = torch.cat([part.expand(*shape, -1) for part in parts], -1)
        x = flat.reshape(len(flat) if own else 1, -1, flat.shape[-1])
        for depth, stack in enumerate(self._layers()):
            x = stack.linear(x, chosen)
            x = stack.norm(self._spared(x, None if depth else dropout), chosen)
            x = x if depth == len(self.stacks) - 1 else mish(x)
        return x.view(len(x), *shape[own:], -1)

    def _layers(self) -> list[Stack]:
        return cast("list[Stack]", list(self.stacks))

    def _spared(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Each element 0 with probability p, else over 1 - p; a mask, as accelerators like it."""
        p = self.dropout
        if generator is None or not p:
            return x
        return x * torch.empty_like(x).bernoulli_(1 - p, generator=generator).div_(1 - p)

    def _hit(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """The same by Poisson many hits, each anywhere: an element is spared with probability e^(-rate) = 1 - p."""
        p = self.dropout
        if generator is None or not p:
            return x
        rate = torch.tensor(-x.numel() * math.log1p(-p))
        hits = int(torch.poisson(rate, generator=generator))
        at = torch.randint(x.numel(), (hits,), generator=generator)
        return (x.reshape(-1) / (1 - p)).index_fill_(0, at, 0.0).view_as(x)


class RandomPrior(nn.Module):
    """E fixed random perceptrons added to what is learned, so that members disagree where there is no data.

    ReLU layers a sixteenth as wide as the learned ones (at least 8), Xavier-uniform weights, no gradient to weights
    or input (Osband et al. 2018, randomised prior functions).
    """

    def __init__(
        self, members: int, inputs: Sequence[int], hidden: Sequence[int], outputs: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        widths = [sum(inputs), *(max(LEAST_PRIOR_WIDTH, width // PRIOR_SHARE) for width in hidden), outputs]
        self.depth = len(widths) - 1
        for layer, (a, b) in enumerate(pairwise(widths)):
            bound = (6 / (a + b)) ** 0.5
            weight = torch.empty(members, a, b).uniform_(-bound, bound, generator=generator)
            self.register_buffer(f"weight{layer}", weight)

    @torch.no_grad()
    def forward(self, *parts: Tensor, own: bool = False, chosen: Tensor | None = None) -> Tensor:
        """(E, *B, outputs), inputs as an `Ensemble`'s."""
        shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
        flat = torch.cat([part.expand(*shape, -1) for part in parts], -1)
        x = flat.reshape(len(flat) if own else 1, -1, flat.shape[-1])
        for layer in range(self.depth):
            weight = _of(getattr(self, f"weight{layer}"), chosen)
            x = torch.bmm(x.expand(len(weight), -1, -1), weight)
            x = x if layer == self.depth - 1 else x.relu_()
        return x.view(len(x), *shape[own:], -1)


def _of(x: Tensor, chosen: Tensor | None) -> Tensor:
    """Some members' parameters; those of all as they are, for a slice would have a gradient to be copied."""
    return x if chosen is None else x[chosen]


def _through(x: Tensor, first: Layer, hidden: Sequence[Layer], last: Layer, *, biased: bool) -> Tensor:
    """What comes of a first layer's products, `biased` or not.

    Without gradient in portions whose activations stay in the cache.
    """
    flat = x.reshape(-1, x.shape[-1])
    portions = [flat] if torch.is_grad_enabled() else flat.split(max(1, 2 * CACHED // flat.shape[-1]))
    outputs = []
    for portion in portions:
        y = first.norm_mish(portion, biased=biased)
        for layer in hidden:
            y = layer.norm_mish(mm(y, layer.weight))
        outputs.append(last.finish(y))
    whole = torch.cat(outputs) if len(outputs) > 1 else outputs[0]
    return whole.view(*x.shape[:-1], -1)


def _lead(parts: Sequence[Tensor]) -> torch.Size:
    """The leading axes that parts have together; torch.broadcast_shapes where none has all of them."""
    shapes = [part.shape[:-1] for part in parts]
    longest = max(shapes, key=len)
    if all(shape == longest[len(longest) - len(shape) :] for shape in shapes):
        return longest
    return torch.broadcast_shapes(*shapes)


def _shared(made: Tensor, shape: torch.Size) -> Shared:
    """What a first layer made of parts that lack axes of `shape`, as rows that many rows share."""
    lead = (1,) * (len(shape) - made.dim() + 1) + made.shape[:-1]
    long = [axis for axis, size in enumerate(lead) if size > 1]
    begin, end = (long[0], long[-1] + 1) if long else (0, 0)
    if lead[begin:end] != shape[begin:end]:
        end, made = len(shape), made.expand(*shape, -1)
    return Shared(made.reshape(-1, made.shape[-1]), shape[end:].numel())


def _join(parts: Sequence[Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
    """[parts] @ weight + bias without repeating a part along the axes it lacks."""
    shape = _lead(parts)
    if all(part.shape[:-1].numel() == shape.numel() for part in parts):
        flat = [part.reshape(-1, part.shape[-1]) for part in parts]
        return _linear(torch.cat(flat, -1) if len(flat) > 1 else flat[0], weight, bias).view(*shape, -1)
    rows = weight.split([part.shape[-1] for part in parts])
    first, *others = sorted(zip(parts, rows, strict=True), key=lambda pair: -pair[0].shape[:-1].numel())
    total = _linear(first[0].reshape(-1, first[0].shape[-1]), first[1], bias).view(*first[0].shape[:-1], -1)
    for part, row in others:
        total = total.add_(part @ row) if total.shape[:-1] == shape else total + part @ row
    return total


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return mm(x, weight) if bias is None else mm(x, weight).add_(bias)
