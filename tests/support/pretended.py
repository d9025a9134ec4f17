"""A GPU that is not there: tensors on it have shapes, types and a device, and no numbers.

    PYTHONPATH=src:tests/support python tests/support/pretended.py dreamer published pictures

Runs a family's small agents of some bases there, three updates and an action while collecting and while judged. What
asks a tensor for its value, or mixes devices, fails. Printed are the lines that copy between device and host, of the
last update's (tables are made in the first). PyTorch takes such a device once in a process, so this is one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from traceback import extract_stack
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from bellmark.train.families import LEARNERS

_setup_privateuseone_for_python_backend("gpu")
DEVICE = torch.device("gpu:0")
HostGenerator = torch.Generator


class DeviceGenerator(HostGenerator):
    """A generator that says it is on the device."""

    device = DEVICE


class Copies(TorchDispatchMode):
    """Notes the lines of ours from which tensors are copied between devices."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation; where its tensors are on two devices, note it."""
        out = func(*args, **(kwargs or {}))
        devices = {x.device for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor) and x.dim()}
        if len(devices) > 1:
            ours = [frame for frame in extract_stack() if "bellmark/" in frame.filename][-1]
            self.lines.append(f"{ours.filename.rpartition('bellmark/')[2]} {ours.line}")
        return out


def moved(module: nn.Module, device: torch.device | str) -> nn.Module:
    """`Module.to` for parameters without numbers."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                there = torch.empty_like(parameter, device=device)
                part._parameters[name] = nn.Parameter(there, requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            part._buffers[name] = (
                None if buffer is None else torch.empty(buffer.shape, dtype=buffer.dtype, device=device)
            )
    return module


@contextmanager
def pretended() -> Iterator[None]:
    """Tensors without numbers, and PyTorch's ways to make them where these are not foreseen."""

    class Generator:
        """Stands for `torch.Generator`."""

        def __new__(cls, device: torch.device | str = "cpu") -> Any:
            return HostGenerator() if torch.device(device).type == "cpu" else DeviceGenerator()

    def copied(x: Tensor, memo: Any) -> Tensor:
        twin = x.detach().clone()
        return nn.Parameter(twin, requires_grad=x.requires_grad) if isinstance(x, nn.Parameter) else twin

    def exponential(x: Tensor, generator: torch.Generator) -> Tensor:
        return x.uniform_(generator=generator)

    with (
        FakeTensorMode(),
        patch.object(torch, "Generator", Generator),
        patch.object(nn.Module, "to", moved),
        patch.object(nn.init, "trunc_normal_", lambda x, *args, **kwargs: x),
        patch.object(Tensor, "exponential_", exponential),
        patch.object(FakeTensor, "__deepcopy__", copied, create=True),
    ):
        yield


def main(family: str, *bases: str) -> None:
    """Run a family's small agents there."""
    module, _, name = LEARNERS[family].partition(":")
    small, kind = import_module(f"{family}_small"), getattr(import_module(module), name)
    with pretended():
        for base in bases:
            run(small, kind, base)


def run(small: ModuleType, kind: Any, base: str) -> None:
    """Run a small agent there."""
    spec = getattr(small, "SPECS", {}).get(base, small.SPEC)
    made = kind(small.config(base=base), spec, DEVICE)
    batch = tree_map_only(Tensor, lambda x: torch.empty_like(x, device=DEVICE), small.batch(made))
    for _ in range(3):
        with Copies() as copies:
            metrics, _ = made.update(batch, 50)
        assert {x.device for x in metrics.values()} == {DEVICE}
    print("updates:", *dict.fromkeys(copies.lines), sep="\n")
    obs, first = (torch.empty_like(x[0], device="cpu") for x in (batch.obs, batch.first))
    finite, seed = patch.object(Tensor, "__bool__", lambda x: True), patch.object(Tensor, "__int__", lambda x: 0)
    with finite, seed, Copies() as copies:
        for deterministic in (False, True):
            state = made.policy.initial(len(obs))
            made.policy.act(obs, first, state, deterministic=deterministic, generator=torch.Generator())
    print("actions:", *dict.fromkeys(copies.lines), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
