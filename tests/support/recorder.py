"""Recording and replaying on the processor as CUDA graphs do it on a GPU.

The same operations run again on the same memory with the same numbers of Python; what asks a tensor for its value, or
makes one of Python's numbers in the host's memory, cannot be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
REFUSED = {aten._local_scalar_dense.default, aten.lift_fresh.default, aten.nonzero.default, aten.is_nonzero.default}


class Recorder(TorchDispatchMode):
    """Notes what runs; afterwards all is as if it had not run, but for the results' memory."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}  # of what was changed
        self._made: set[int] = set()

    def __call__(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """A `Record` of `bellmark.nets.graphs`."""
        recorder = Recorder(self.generator)
        state = self.generator.get_state()
        with recorder:
            results = function()
        self.generator.set_state(state)
        for memory, before in recorder._before.values():
            memory.copy_(before)
        return recorder.replay, results

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and note it."""
        assert func not in REFUSED, f"{func} cannot be recorded"
        kwargs = kwargs or {}
        for x in _written(func, args, kwargs):
            memory = x.untyped_storage()
            if memory.data_ptr() not in self._made:
                self._before.setdefault(memory.data_ptr(), (memory, memory.clone()))
        out = func(*args, **kwargs)
        if not _aliases(func):
            self._made.update(x.untyped_storage().data_ptr() for x in tree_leaves(out) if isinstance(x, Tensor))
        self.calls.append((func, args, kwargs, out))
        return out

    @property
    def launches(self) -> int:
        """How many of the operations launch kernels."""
        return sum(
            not _aliases(func) or next(_written(func, args, kwargs), None) is not None
            for func, args, kwargs, _ in self.calls
        )

    @torch.no_grad()
    def replay(self) -> None:
        """All of it again; what an operation makes goes where it went before."""
        for func, args, kwargs, former in self.calls:
            out = func(*args, **kwargs)
            if not _aliases(func):
                for old, new in zip(tree_leaves(former), tree_leaves(out), strict=True):
                    if isinstance(old, Tensor):
                        old.copy_(new)


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """The tensors that an operation changes."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[place] if place < len(args) else kwargs.get(argument.name)
            yield from (x for x in tree_leaves(given) if isinstance(x, Tensor))


def _aliases(func: Any) -> bool:
    """Whether what an operation returns lies in the memory of its arguments."""
    return any(r.alias_info is not None for r in func._schema.returns) or not func._schema.returns
