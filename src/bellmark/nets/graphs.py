"""CUDA graphs: what a function launches on a GPU is recorded once and launched again as a whole.

A plan or an update is about a thousand small kernels, and most take longer to be launched by Python than to run.
A recording runs on the same memory with the same numbers of Python ever after. So a function to be recorded reads what
changes from its arguments, changes other tensors in place only, asks no tensor for its value, and whatever else it
depends on is part of its key.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

T = TypeVar("T")
EAGER = 2  # calls of a kind before it is recorded: moments of optimisers, tables and workspaces come into being then
KINDS = 64  # not recorded yet that are remembered: numbers that change with every call are never recorded


class Launch(Protocol):
    """How a function of tensors is run: at once, or recorded."""

    def __call__(self, key: Hashable, function: Callable[..., T], *inputs: Any) -> T:
        """function(*inputs); inputs and results are tensors, in tuples and dictionaries."""
        ...


class Record(Protocol):
    """How kernels are recorded."""

    def __call__(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """What runs the kernels that `function` launches, and where its results will be; nothing has run yet."""
        ...


def launcher(generator: torch.Generator) -> Launch:
    """How functions that draw from a generator are run: recorded on CUDA devices, where BELLMARK_CUDA_GRAPHS is 1."""
    if os.environ.get("BELLMARK_CUDA_GRAPHS") == "1" and generator.device.type == "cuda":
        return Recorded(partial(_record, generator))
    return at_once


def at_once(key: Hashable, function: Callable[..., T], *inputs: Any) -> T:
    """function(*inputs)."""
    return function(*inputs)


class Recorded:
    """Replays functions that have been called before with the same key and the same shapes; results are copies."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._calls: Counter[Hashable] = Counter()
        self._recordings: dict[Hashable, _Recording[Any]] = {}

    def __call__(self, key: Hashable, function: Callable[..., T], *inputs: Any) -> T:
        """function(*inputs), its first calls at once, later ones by replay."""
        leaves: list[Tensor] = tree_leaves(inputs)
        kind = (key, *((x.shape, x.dtype) for x in leaves))
        recording = self._recordings.get(kind)
        if recording is None:
            if self._calls[kind] < EAGER:
                if len(self._calls) > KINDS:
                    self._calls.clear()
                self._calls[kind] += 1
                return _copy(function(*inputs))
            recording = self._recordings[kind] = _Recording(self._record, function, inputs)
        result: T = recording(leaves)
        return result


class _Recording(Generic[T]):
    """One function at one set of shapes, with the memory that it reads and writes."""

    def __init__(self, record: Record, function: Callable[..., T], inputs: tuple[Any, ...]) -> None:
        held = _copy(inputs)
        self._held: list[Tensor] = tree_leaves(held)
        self._replay, self._results = record(lambda: function(*held))

    def __call__(self, leaves: list[Tensor]) -> T:
        for held, given in zip(self._held, leaves, strict=True):
            held.copy_(given)
        self._replay()
        return _copy(self._results)


def _copy(tree: T) -> T:
    copied: T = tree_map(lambda x: x.detach().clone(), tree)
    return copied


def _record(generator: torch.Generator, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
    """By PyTorch's `CUDAGraph`; the generator's numbers go on from replay to replay.

    Raises:
        RuntimeError: the device, or something that `function` does, cannot be recorded.
    """
    try:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        with torch.cuda.device(generator.device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            results = function()
    except RuntimeError as error:
        raise RuntimeError(f"no CUDA graph could be recorded ({error}): set BELLMARK_CUDA_GRAPHS=0") from error
    return graph.replay, results
