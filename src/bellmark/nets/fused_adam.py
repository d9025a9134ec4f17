"""Cutting gradients to a norm and one step of Adam, by two passes of `ops/native` over all tensors.

It works on the state of a `torch.optim.Adam`, so that checkpoints are that one's. With g cut, plus decay times p:

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  p <- p - lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)

(Kingma & Ba 2015, algorithm 1). Where there is no compiler, or for other tensors, PyTorch's own operations do it.
"""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor, nn

from bellmark.nets.fused import structure
from bellmark.ops.native import fused

CUT_EPS = 1e-6  # as torch's clip_grad_norm_
_Moved = structure(
    "moved",
    ("value mean square gradient", ctypes.c_void_p),
    ("count", ctypes.c_int64),
    ("step unbias", ctypes.c_float),
)


@torch.no_grad()
def cut_and_step(optimizer: torch.optim.Adam, max_norm: float) -> Tensor:
    """Cut the gradient of all parameters together to `max_norm`, step, and drop the gradients.

    Returns the norms (P,) of the parameters' gradients before the cut, in the optimiser's order, 0 where there is none.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    given = [p for p in parameters if p.grad is not None]
    norms = _fused(optimizer, given, max_norm) if _alike(optimizer, given) else _plain(optimizer, given, max_norm)
    for parameter in given:
        parameter.grad = None
    if len(given) == len(parameters):
        return norms
    every, known = dict.fromkeys(parameters, norms.new_zeros(())), zip(given, norms.unbind(), strict=True)
    return torch.stack(list({**every, **dict(known)}.values()))


def _alike(optimizer: torch.optim.Adam, given: list[nn.Parameter]) -> bool:
    """Whether the passes can do it: one group, moments that exist, numbers that lie in a row."""
    state = optimizer.state
    known = len(optimizer.param_groups) == 1 and bool(given) and all("exp_avg" in state[p] for p in given)
    return known and all(
        fused(p) is not None and p.is_contiguous() and p.grad is not None and p.grad.is_contiguous() for p in given
    )


def _plain(optimizer: torch.optim.Adam, given: list[nn.Parameter], max_norm: float) -> Tensor:
    norms = torch.stack(torch._foreach_norm([p.grad for p in given if p.grad is not None]))
    nn.utils.clip_grads_with_norm_(given, max_norm, norms.norm())
    optimizer.step()
    return norms


def _fused(optimizer: torch.optim.Adam, given: list[nn.Parameter], max_norm: float) -> Tensor:
    lib = fused(given[0])
    assert lib is not None
    group, states = optimizer.param_groups[0], [optimizer.state[p] for p in given]
    torch._foreach_add_([s["step"] for s in states], 1)
    counts = [s["step"].item() for s in states]
    (beta1, beta2), lr = group["betas"], group["lr"]
    pace = {t: (lr / (1 - beta1**t), math.sqrt(1 - beta2**t)) for t in set(counts)}
    rows = [
        (p.data_ptr(), s["exp_avg"].data_ptr(), s["exp_avg_sq"].data_ptr(), g.data_ptr(), p.numel(), *pace[t])
        for p, s, t in zip(given, states, counts, strict=True)
        if (g := p.grad) is not None
    ]
    tensors = (_Moved * len(rows))(*rows)  # type: ignore[misc]  # tuples become structs
    squares = torch.empty(len(rows), dtype=torch.float64)
    lib.gradient_squares(tensors, len(rows), squares.data_ptr())
    cut = min(1.0, max_norm / (math.sqrt(squares.sum().item()) + CUT_EPS))
    lib.adam(tensors, len(rows), cut, group["weight_decay"], 1 - beta1, beta2, 1 - beta2, group["eps"])
    return squares.sqrt().float()
