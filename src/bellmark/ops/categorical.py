"""Categorical latents: a share of uniform mixed in, straight-through draws, divergences. Axes: S latents, K classes.

Functions take probabilities, not logits: mixed in once, a share of uniform keeps them all above zero, so that
logarithms are safe and draws need none. Classes lie on axis `dim`: where columns are states, a middle axis, on which
a processor works on many states at once. Source: Hafner et al. 2025; `embodied/jax/outs.py` for the order of
operations.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def mixed(logits: Float[Tensor, "*B"], share: float, dim: int = -1) -> Float[Tensor, "*B"]:
    """Probabilities (1 - share) softmax(logits) + share / K."""
    probs = logits.softmax(dim)
    return probs * (1 - share) + share / logits.shape[dim] if share else probs


def uniforms(shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "..."]:
    """Random numbers for `draw`, one per categorical: one call for a whole rollout is cheaper than one per step."""
    return torch.rand(shape, generator=generator, device=generator.device)


def draw(probs: Float[Tensor, "*B"], uniform: Float[Tensor, "*C"], dim: int = -1) -> Float[Tensor, "*B"]:
    """One-hot draws, without gradient: the first class at which the cumulated probabilities exceed a uniform number.

    Args:
        uniform: in [0, 1), the shape of `probs` without its axis `dim`.
    """
    reached = (probs.detach().cumsum(dim) > uniform.unsqueeze(dim)).to(probs.dtype)
    classes = probs.shape[dim]
    reached.select(dim, classes - 1).fill_(1.0)  # rounding may leave the sum below one
    later, former = reached.narrow(dim, 1, classes - 1), reached.narrow(dim, 0, classes - 1)
    return torch.cat((reached.narrow(dim, 0, 1), later - former), dim)


def mode(probs: Float[Tensor, "*B"], dim: int = -1) -> Float[Tensor, "*B"]:
    """The most likely class, one-hot."""
    return one_hot(probs.argmax(dim), probs.shape[dim], dim)


def one_hot(index: Tensor, classes: int, dim: int = -1) -> Float[Tensor, "*B"]:
    """float32, the classes on a new axis `dim`."""
    at = index.unsqueeze(dim)
    shape = [*at.shape]
    shape[dim] = classes
    return torch.zeros(shape, device=index.device).scatter_(dim, at, 1.0)


def straight_through(hot: Float[Tensor, "*B"], probs: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """The value of the draw, the gradient of the probabilities."""
    return hot + (probs - probs.detach())


def kl(p: Float[Tensor, "*B"], q: Float[Tensor, "*B"], dim: int = -1) -> Float[Tensor, "*C"]:
    """KL(p || q) per categorical, in nats; classes with p = 0 count nothing."""
    return (p * (_log(p) - _log(q))).sum(dim)


def entropy(p: Float[Tensor, "*B"], dim: int = -1) -> Float[Tensor, "*C"]:
    """In nats."""
    return -(p * _log(p)).sum(dim)


def _log(p: Tensor) -> Tensor:
    """ln p, finite at 0, where a factor of 0 then makes it nothing; several times faster than `torch.xlogy`."""
    return p.clamp(min=torch.finfo(p.dtype).tiny).log()
