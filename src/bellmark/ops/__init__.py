"""Pure functions on tensors: the mathematics that the agent families share.

Submodules load on first use (`ops.returns.gae`), so that configuration classes whose methods call them can be imported
where PyTorch is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bellmark.ops import activations, gaussian, heads, policy_losses, returns, scale, squashed, two_hot

__all__ = ["activations", "gaussian", "heads", "policy_losses", "returns", "scale", "squashed", "two_hot"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
