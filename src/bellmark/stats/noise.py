"""The evaluation-noise floor: how far two arms may differ because each was evaluated on finitely many episodes.

It takes episodes as independent. Paired start states make the true floor of a difference smaller; start states shared
by all evaluations of a run make it larger than the number of episodes suggests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bellmark.stats.claim import FloatArray


def success_variance(
    arm: FloatArray, baseline: FloatArray, arm_episodes: FloatArray, base_episodes: FloatArray
) -> float:
    """Variance of the difference of two mean success rates if both arms had the same rate p: p(1-p)/episodes each.

    arm (n_x,), baseline (n_b,) rates; episodes behind each. The rate is pooled over both arms, as "noise alone explains
    it" means that there is only one rate.
    """
    episodes = np.concatenate([arm_episodes, base_episodes])
    rate = float(np.average(np.concatenate([arm, baseline]), weights=episodes))
    rate = min(max(rate, 0.0), 1.0)
    return rate * (1.0 - rate) * (_mean_inverse(arm_episodes) + _mean_inverse(base_episodes))


def _mean_inverse(episodes: FloatArray) -> float:
    """Sum of 1/episodes over n^2: the variance factor of a mean over n seeds."""
    return float((1.0 / episodes).sum()) / episodes.size**2


def return_variance(spread: FloatArray, episodes: FloatArray) -> float:
    """Variance of an arm's mean return from episodes alone: sum of s_episode^2 / episodes over n^2; both (n,)."""
    return float((spread**2 / episodes).sum()) / spread.size**2


def floor(variances: Sequence[float], confidence: float = 0.95) -> float:
    """Half-width within which the mean of T task differences stays by evaluation noise alone; variances (T,)."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + confidence / 2.0)) * math.sqrt(sum(variances)) / len(variances)
