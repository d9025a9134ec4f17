"""Categorical latents: a share of uniform mixed in, straight-through draws, divergences. Axes: S latents, K classes.

Functions take probabilities, not logits: mixed in once, a share of uniform keeps them all above zero, so that logarithms
are safe and draws need none. Source: Hafner et al. 2025; `embodied/jax/outs.py` for the order of operations.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def mixed(logits: Float[Tensor, "*B K"], share: float) -> Float[Tensor, "*B K"]:
    """Probabilities (1 - share) softmax(logits) + share / K."""
    probs = logits.softmax(-1)
    return probs * (1 - share) + share / logits.shape[-1] if share else probs


def noise(shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "..."]:
    """Exponential random numbers for `draw`: one call for a whole rollout is much cheaper than one per step."""
    return torch.empty(shape, device=generator.device).exponential_(generator=generator)


def draw(probs: Float[Tensor, "*B K"], noise: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
    """One-hot draws, without gradient: argmax_k p_k / E_k with E_k ~ Exp(1) is k with probability p_k."""
    return one_hot((probs.detach() / noise).argmax(-1), probs.shape[-1])


def mode(probs: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
    """The most likely class, one-hot."""
    return one_hot(probs.argmax(-1), probs.shape[-1])


def one_hot(index: Tensor, classes: int) -> Float[Tensor, "*B K"]:
    """float32 one-hot rows."""
    hot = torch.zeros((*index.shape, classes), device=index.device)
    return hot.scatter_(-1, index.unsqueeze(-1), 1.0)


def straight_through(hot: Float[Tensor, "*B K"], probs: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
    """The value of the draw, the gradient of the probabilities."""
    return hot + (probs - probs.detach())


def kl(p: Float[Tensor, "*B K"], q: Float[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
    """KL(p || q) per categorical, in nats; classes with p = 0 count nothing."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1)


def entropy(p: Float[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
    """In nats."""
    return -torch.xlogy(p, p).sum(-1)
