"""What an update reports of values and policies beside their losses.

Axes: P positions, M value members, B slices.
"""

from __future__ import annotations

import math

from torch import Tensor

from bellmark.agents.tdmpc.targets import Target
from bellmark.ops.gaussian import Gaussian
from bellmark.ops.heads import spread

Metrics = dict[str, Tensor]


def value_metrics(value_MPB: Tensor, target: Target) -> Metrics:
    """Predicted values against what they regress to."""
    target_PB = target.value_NPB.mean(-3)
    return {
        "value/mean": value_MPB.mean(),
        "value/target": target_PB.mean(),
        "value/error": (value_MPB - target_PB).abs().mean(),
        "value/std_heads": target.spread,
        "value/std_heads_predicted": spread(value_MPB, 0).mean(),
    }


def policy_metrics(gaussian: Gaussian, states: Tensor) -> Metrics:
    """How wide the policy is, and how widely its loss spreads over states."""
    entropy = (gaussian.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)
    return {
        "policy/log_std": gaussian.log_std.mean(),
        "policy/entropy": entropy.mean(),
        "policy/loss_std": states.std(),
    }
