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


# How a minibatch's weights enter its likelihood: scaled to mean one, or as they are.
SCALED: dict[str, Callable[[Tensor], Tensor]] = {"mean_one": lambda weight: weight / weight.mean(), "raw": _identity}


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
    normalise: Literal["batch", "minibatch", "off"] = knob(
        "batch", "over what advantages are normalised; the user's awr_finetune does it in each minibatch"
    )
    weights: Literal["mean_one", "raw"] = knob(
        "mean_one", "a minibatch's weights are scaled to mean one, or stay as they are (the user's awr_finetune)"
    )
    target_kl: float = knob(
        1e3, "the update ends when the policy has moved this far; the default never ends it", unit="nats", gt=0
    )
    value_coef: float = knob(0.5, "weight of the critic's loss, where there is a critic", ge=0)
    entropy_coef: float = knob(0.0, "weight of the entropy bonus", ge=0)

    def signal(self, advantage: Tensor) -> Tensor:
        """Advantages (B,), normalised where that is done over the whole batch."""
        return NORMALISE[self.normalise][0](advantage)

    def loss(self, log_prob: Tensor, log_ratio: Tensor, signal: Tensor) -> Tensor:
        """Weighted negative log-likelihood of a minibatch."""
        weight = ops.policy_losses.awr_weights(NORMALISE[self.normalise][1](signal), self.beta, self.max_weight)
        return ops.policy_losses.weighted_likelihood(log_prob, SCALED[self.weights](weight))

    def statistics(self, signal: Tensor) -> dict[str, float]:
        """Largest weight and the share of the batch that effectively counts."""
        return _weights(NORMALISE[self.normalise][1](signal), self.beta, self.max_weight)


class Recap(Choice):
    """As AWR on rows better than the mean, and away from the others (the user's `_recap`)."""

    kind: Literal["recap"] = "recap"
    epochs: int = knob(200, "passes over the batch", source="user's log, MC16 AWR", ge=1)
    minibatches: int = knob(5, "gradient steps per pass", source="user's log, MC16 AWR", ge=1)
    beta: float = knob(1.0, "temperature", unit="standard deviations of the advantage", gt=0)
    max_weight: float = knob(20.0, "cap of a row's weight", source="AWR section 4.2", gt=0)
    alpha: float = knob(1.0, "weight of moving away from worse rows", source="user's recap_alpha", ge=0)
    floor: float = knob(
        -20.0, "a worse row's log-probability is not pushed below this; the user's script has no floor", unit="nats"
    )
    target_kl: float = knob(1e3, "the update ends when the policy has moved this far", unit="nats", gt=0)
    value_coef: float = knob(0.5, "weight of the critic's loss, where there is a critic", ge=0)
    entropy_coef: float = knob(0.0, "weight of the entropy bonus", ge=0)

    def signal(self, advantage: Tensor) -> Tensor:
        """Advantages (B,) normalised over the whole batch."""
        return _normalise(advantage)

    def loss(self, log_prob: Tensor, log_ratio: Tensor, signal: Tensor) -> Tensor:
        """Towards better rows, away from worse ones."""
        return ops.policy_losses.recap(log_prob, signal, self.beta, self.max_weight, self.alpha, self.floor)

    def statistics(self, signal: Tensor) -> dict[str, float]:
        """Largest weight and the share of the batch that effectively counts."""
        return _weights(signal.abs(), self.beta, self.max_weight)


class Pg(Choice):
    """The plain policy gradient: likelihood weighted by the advantage, without clip or ratio."""

    kind: Literal["pg"] = "pg"
    epochs: int = knob(1, "passes over the batch; after the first gradient step the data is another policy's", ge=1)
    minibatches: int = knob(5, "gradient steps per pass", ge=1)
    normalise: Literal["minibatch", "batch", "off"] = knob("minibatch", "over what advantages are normalised")
    target_kl: float = knob(0.1, "the update ends when the policy has moved this far", unit="nats", gt=0)
    value_coef: float = knob(0.5, "weight of the critic's loss", ge=0)
    entropy_coef: float = knob(0.0, "weight of the entropy bonus", ge=0)

    def signal(self, advantage: Tensor) -> Tensor:
        """Advantages (B,), normalised where that is done over the whole batch."""
        return NORMALISE[self.normalise][0](advantage)

    def loss(self, log_prob: Tensor, log_ratio: Tensor, signal: Tensor) -> Tensor:
        """Minus the mean of A log pi."""
        return ops.policy_losses.weighted_likelihood(log_prob, NORMALISE[self.normalise][1](signal))

    def statistics(self, signal: Tensor) -> dict[str, float]:
        """Nothing beyond the advantage's own statistics."""
        return {}


class FilteredBc(Choice):
    """Behaviour cloning of the rows whose advantage is positive."""

    kind: Literal["filtered_bc"] = "filtered_bc"
    epochs: int = knob(4, "passes over the batch", ge=1)
    minibatches: int = knob(32, "gradient steps per pass", ge=1)
    target_kl: float = knob(0.1, "the update ends when the policy has moved this far", unit="nats", gt=0)
    value_coef: float = knob(0.5, "weight of the critic's loss", ge=0)
    entropy_coef: float = knob(0.0, "weight of the entropy bonus", ge=0)

    def signal(self, advantage: Tensor) -> Tensor:
        """One for rows (B,) with a positive advantage, zero for the others."""
        return (advantage > 0).to(advantage.dtype)

    def loss(self, log_prob: Tensor, log_ratio: Tensor, signal: Tensor) -> Tensor:
        """Mean negative log-likelihood over all rows of the minibatch, the filtered ones counting nothing."""
        return ops.policy_losses.weighted_likelihood(log_prob, signal)

    def statistics(self, signal: Tensor) -> dict[str, float]:
        """The share of rows that are imitated."""
        return {"weight/ess": float(signal.mean())}


def _weights(advantage: Tensor, beta: float, cap: float) -> dict[str, float]:
    """Mean and largest weight, the share of rows at the cap, and the share of the batch that effectively counts."""
    weight = ops.policy_losses.awr_weights(advantage, beta, cap)
    return {
        "weight/mean": float(weight.mean()),
        "weight/max": float(weight.max()),
        "weight/capped": float((weight >= cap).float().mean()),
        "weight/ess": float(ops.policy_losses.effective_sample_share(weight)),
    }
