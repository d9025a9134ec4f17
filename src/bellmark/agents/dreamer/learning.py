"""Options of the losses: free bits, entropy, scales, critic. Each class holds its knobs and the function reading them.

Importable without PyTorch; Hafner et al. 2025 unless said otherwise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from bellmark import ops
from bellmark.config import Choice, Config, knob, option, part

if TYPE_CHECKING:
    from torch import Tensor

OFFICIAL = "dreamerv3 configs.yaml"
PROTOCOL = "research protocol"


class Losses(Config):
    """Weights of the terms of the one loss."""

    rec: float = knob(1.0, "of the reconstruction", source=OFFICIAL, ge=0)
    rew: float = knob(1.0, "of predicted rewards", source=OFFICIAL, ge=0)
    con: float = knob(1.0, "of predicted continuation", source=OFFICIAL, ge=0)
    dyn: float = knob(1.0, "of KL(sg posterior || prior), which trains the prior", source=OFFICIAL, ge=0)
    rep: float = knob(0.1, "of KL(posterior || sg prior), which trains the posterior", source=OFFICIAL, ge=0)
    policy: float = knob(1.0, "of the policy in imagination", source=OFFICIAL, ge=0)
    value: float = knob(1.0, "of values in imagination", source=OFFICIAL, ge=0)
    repval: float = knob(0.3, "of values on replayed rewards", source=OFFICIAL, ge=0)


class Hard(Choice):
    """max(KL, nats): no gradient below."""

    kind: Literal["hard"] = "hard"
    nats: float = knob(1.0, "KL that is free", unit="nats", source=OFFICIAL, ge=0)

    def of(self, kl: Tensor) -> Tensor:
        """The clipped divergence."""
        return kl.clamp(min=self.nats)


class StraightThrough(Choice):
    """The value of max(KL, nats), the gradient of KL (the user's agent, 01-15-26)."""

    kind: Literal["straight_through"] = "straight_through"
    nats: float = knob(1.0, "least value shown", unit="nats", source=PROTOCOL, ge=0)

    def of(self, kl: Tensor) -> Tensor:
        """The divergence, its value raised to the free bits."""
        return kl + (self.nats - kl).clamp(min=0).detach()


class Divergence(Config):
    """How the posterior's distance from the prior is measured."""

    free: Hard | StraightThrough = option(Hard(), "the free bits")
    over_latents: Literal["sum", "mean"] = knob(
        "sum", "over latents; the mean of 32 never reaches one free nat", source="RSSM.loss; user's agent: mean"
    )


class Constant(Choice):
    """The same all along."""

    kind: Literal["constant"] = "constant"
    coef: float = knob(3e-4, "weight of the policy's entropy", source=OFFICIAL, ge=0)

    def at(self, progress: float) -> float:
        """The weight at a share of the run."""
        return self.coef


class Cosine(Choice):
    """Half a cosine from one weight to another."""

    kind: Literal["cosine"] = "cosine"
    start: float = knob(0.15, "weight at the beginning", source=f"{PROTOCOL} 12-31-25", ge=0)
    end: float = knob(0.001, "weight from `until` on", source=f"{PROTOCOL} 12-31-25", ge=0)
    until: float = knob(1.0, "where the end is reached", unit="share of the run", gt=0, le=1)

    def at(self, progress: float) -> float:
        """The weight at a share of the run."""
        done = min(max(progress / self.until, 0.0), 1.0)
        return self.end + 0.5 * (self.start - self.end) * (1 + math.cos(math.pi * done))


class NoScale(Choice):
    """As it is."""

    kind: Literal["none"] = "none"

    def next(self, scale: Tensor, x: Tensor) -> Tensor:
        """One."""
        return scale.new_ones(())


class Percentile(Choice):
    """Divided by a running distance between two percentiles, at least `least`; no correction of its start at 0."""

    kind: Literal["percentile"] = "percentile"
    rate: float = knob(0.01, "how fast the percentiles are followed, per update", source=OFFICIAL, gt=0, le=1)
    low: float = knob(5.0, "lower percentile", unit="%", source=OFFICIAL, ge=0, le=100)
    high: float = knob(95.0, "upper percentile", unit="%", source=OFFICIAL, ge=0, le=100)

    def next(self, scale: Tensor, x: Tensor) -> Tensor:
        """The running distance after a batch of returns."""
        return scale.lerp(ops.scale.percentile_range(x, self.low / 100, self.high / 100), self.rate)


class Deviation(Choice):
    """Divided by a running standard deviation, at least `least`."""

    kind: Literal["deviation"] = "deviation"
    rate: float = knob(0.01, "how fast the deviation is followed, per update", source=OFFICIAL, gt=0, le=1)

    def next(self, scale: Tensor, x: Tensor) -> Tensor:
        """The running deviation after a batch."""
        return scale.lerp(x.detach().std(correction=0), self.rate)


class Scales(Config):
    """What advantages are divided by, before they teach the policy."""

    returns: NoScale | Percentile | Deviation = option(Percentile(), "running scale of returns")
    returns_least: float = knob(1.0, "smallest scale of returns: small ones are not magnified", source=OFFICIAL, gt=0)
    advantages: NoScale | Deviation = option(NoScale(), "running scale of advantages, after that of returns")
    advantages_least: float = knob(1e-8, "smallest scale of advantages", source=OFFICIAL, gt=0)


class Imagination(Config):
    """Dreams from replayed states."""

    horizon: int = knob(15, "steps of a dream", source=OFFICIAL, ge=1)
    last: int = knob(0, "dreams begin at so many last states of each slice; 0: at all", source=OFFICIAL, ge=0)
    weights: Literal["continue", "one"] = knob(
        "continue", "a dreamed step counts by the probability that the dream has got there, or fully", source=OFFICIAL
    )


class Inside(Choice):
    """The continue head predicts discounted continuation, (1 - terminal) gamma: dreams need none of their own."""

    kind: Literal["inside"] = "inside"

    def target(self, alive: Tensor, gamma: float) -> Tensor:
        """What the continue head regresses to."""
        return alive * gamma

    def discount(self, gamma: float) -> float:
        """What dreams are discounted by beside the head."""
        return 1.0


class Outside(Choice):
    """The continue head predicts continuation alone; dreams are discounted (the user's agent)."""

    kind: Literal["outside"] = "outside"

    def target(self, alive: Tensor, gamma: float) -> Tensor:
        """What the continue head regresses to."""
        return alive

    def discount(self, gamma: float) -> float:
        """What dreams are discounted by beside the head."""
        return gamma


class Discounting(Config):
    """How future rewards count."""

    horizon: float = knob(333.0, "gamma is 1 - 1 / horizon", unit="agent steps", source=OFFICIAL, gt=1)
    continuation: Inside | Outside = option(Inside(), "where the discount is applied")

    @property
    def gamma(self) -> float:
        """Discount per agent step."""
        return 1 - 1 / self.horizon


class Critic(Config):
    """What values regress to."""

    lambda_: float = knob(0.95, "lambda of the returns", source=OFFICIAL, ge=0, le=1)
    target: Literal["online", "slow"] = knob("online", "whose values returns bootstrap from", source=OFFICIAL)
    slow_weight: float = knob(1.0, "weight of regressing to the slow critic's mean", source=OFFICIAL, ge=0)
    slow_rate: float = knob(0.02, "how fast the slow critic follows", source=OFFICIAL, gt=0, le=1)
    slow_every: int = knob(1, "updates between its steps", source=OFFICIAL, ge=1)
    into_model: bool = knob(True, "the replayed value loss has a gradient into the world model", source=OFFICIAL)


class Learning(Config):
    """Everything about the losses but their weights."""

    divergence: Divergence = part(Divergence(), "posterior against prior")
    discount: Discounting = part(Discounting(), "how future rewards count")
    imagination: Imagination = part(Imagination(), "dreams")
    critic: Critic = part(Critic(), "what values regress to")
    entropy: Constant | Cosine = option(Constant(), "weight of the policy's entropy")
    scales: Scales = part(Scales(), "what advantages are divided by")
