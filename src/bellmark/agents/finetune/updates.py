"""Policy updates: how advantages move the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bellmark import ops
from bellmark.config import Choice, knob

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def _identity(advantage: Tensor) -> Tensor:
    return advantage


def _normalise(advantage: Tensor) -> Tensor:
    return ops.policy_losses.normalise(advantage)


# Where advantages are scaled to zero mean and unit spread: (over the whole batch, over each minibatch).
NORMALISE: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "batch": (_normalise, _identity),
    "minibatch": (_identity, _normalise),
    "off": (_identity, _identity),
}


class Ppo(Choice):
    """The clipped surrogate (Schulman et al. 2017) in the shape of ManiSkill's and CleanRL's baselines."""

    kind: Literal["ppo"] = "ppo"
    epochs: int = knob(4, "passes over the batch", source="ManiSkill ppo.py", ge=1)
    minibatches: int = knob(32, "gradient steps per pass", source="ManiSkill ppo.py", ge=1)
    clip: float = knob(
        0.2, "how far the probability ratio may move before its gradient stops", source="PPO eq. 7", gt=0
    )
    target_kl: float = knob(0.1, "the update ends when the policy has moved this far", unit="nats", gt=0)
    normalise: Literal["minibatch", "batch", "off"] = knob("minibatch", "over what advantages are normalised")
    value_coef: float = knob(0.5, "weight of the critic's loss", ge=0)
    entropy_coef: float = knob(0.0, "weight of the entropy bonus", ge=0)

    def signal(self, advantage: Tensor) -> Tensor:
        """What each row of the batch (B,) weighs, computed once per update."""
        return NORMALISE[self.normalise][0](advantage)

    def loss(self, log_prob: Tensor, log_ratio: Tensor, signal: Tensor) -> Tensor:
        """The policy's loss on a minibatch (b,)."""
        return ops.policy_losses.clipped_surrogate(log_ratio.exp(), NORMALISE[self.normalise][1](signal), self.clip)

    def statistics(self, signal: Tensor) -> dict[str, float]:
        """Nothing beyond the advantage's own statistics."""
        return {}


class Awr(Choice):
    """Advantage-weighted regression (Peng et al. 2019): likelihood weighted by exp(normalised advantage / beta)."""

    kind: Literal["awr"] = "awr"
    epochs: int = knob(200, "passes over the batch", source="user's log, MC16 AWR", ge=1)
    minibatches: int = knob(5, "gradient steps per pass", source="user's log, MC16 AWR", ge=1)
    beta: float = knob(1.0, "temperature", unit="standard deviations of the advantage", gt=0)
    max_weight: float = knob(20.0, "cap of a row's weight", source="AWR section 4.2", gt=0)
    target_kl: float = knob(
        1e3, "the update ends when the policy has moved this far; the default never ends it", unit="nats", gt=0
    )
    value_coef: float = knob(0.5, "weight of the critic's loss, where there is a critic", ge=0)
    entropy_coef: float = knob(0.0, "weight of the entropy bonus", ge=0)

    def signal(self, advantage: Tensor) -> Tensor:
        """Weights (B,) from advantages normalised over the whole batch."""
        return ops.policy_losses.awr_weights(_normalise(advantage), self.beta, self.max_weight)

    def loss(self, log_prob: Tensor, log_ratio: Tensor, signal: Tensor) -> Tensor:
        """Weighted negative log-likelihood of a minibatch, its weights scaled to mean one."""
        return ops.policy_losses.weighted_likelihood(log_prob, signal)

    def statistics(self, signal: Tensor) -> dict[str, float]:
        """Largest weight and the share of the batch that effectively counts."""
        share = ops.policy_losses.effective_sample_share(signal)
        return {"weight/max": float(signal.max()), "weight/ess": float(share)}
