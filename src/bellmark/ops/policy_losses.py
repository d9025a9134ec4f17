"""Losses and weights of policy updates, each a function of log-probabilities and advantages."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def normalise(x: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Zero mean, unit standard deviation (n - 1 in the denominator, plus 1e-8)."""
    return (x - x.mean()) / (x.std() + 1e-8)


def clipped_surrogate(ratio: Float[Tensor, " B"], advantage: Float[Tensor, " B"], clip: float) -> Float[Tensor, ""]:
    """PPO's pessimistic surrogate, to be minimised (Schulman et al. 2017, eq. 7)."""
    return torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip)).mean()


def kl_estimate(log_ratio: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Low-variance estimate of KL(old || new) from the old policy's samples: E[(r - 1) - log r] (Schulman 2020, k3)."""
    return (log_ratio.exp() - 1 - log_ratio).mean()


def awr_weights(advantage: Float[Tensor, " B"], beta: float, cap: float) -> Float[Tensor, " B"]:
    """Exponential advantage weights min(exp(A / beta), cap) (Peng et al. 2019, eq. 11 and section 4.2)."""
    return (advantage / beta).exp().clamp(max=cap)


def weighted_likelihood(log_prob: Float[Tensor, " B"], weight: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Weighted negative log-likelihood, to be minimised; with advantages for weights, the policy gradient."""
    return -(weight * log_prob).mean()


def recap(
    log_prob: Float[Tensor, " B"], advantage: Float[Tensor, " B"], beta: float, cap: float, alpha: float, floor: float
) -> Float[Tensor, ""]:
    """Imitate rows of positive advantage, move away from the others, to be minimised.

    -sum_+ w log pi / sum_+ w + alpha mean_-(w' max(log pi, floor)) with w = min(exp(A / beta), cap) and
    w' = min(exp(|A| / beta), cap). Without the floor the second term has no minimum. Source: user's `_recap` script.
    """
    better = advantage > 0
    weight = awr_weights(advantage.abs(), beta, cap)
    towards = torch.where(better, weight, 0.0)
    away = torch.where(better, 0.0, weight)
    likely = (towards * log_prob).sum() / towards.sum().clamp(min=1e-8)
    unlikely = (away * log_prob.clamp(min=floor)).sum() / (~better).sum().clamp(min=1)
    return alpha * unlikely - likely


def effective_sample_share(weight: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Kish's effective sample size over the sample size: (sum w)^2 / (n sum w^2), in (0, 1]."""
    return weight.sum().square() / (len(weight) * weight.square().sum())
