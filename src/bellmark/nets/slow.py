"""Slow copies: modules that follow another at a small rate and take no gradient."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def slow_copy(module: M) -> M:
    """A copy that takes no gradient; fixed buffers (random priors) come along."""
    return deepcopy(module).requires_grad_(False).eval()


@torch.no_grad()
def follow(slow: nn.Module, module: nn.Module, rate: float) -> None:
    """slow <- slow + rate (module - slow), all parameters in one call; `rate` 1 copies."""
    parameters: list[Tensor] = list(slow.parameters())
    if parameters:
        torch._foreach_lerp_(parameters, list(module.parameters()), rate)
