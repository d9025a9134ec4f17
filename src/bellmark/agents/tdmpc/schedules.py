"""What depends on how far a run is, and how often each part learns."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from bellmark.config import Choice, Config, knob

OFFICIAL = "tdmpc2 config.yaml"


def fraction(progress: float, begins: float, ends: float) -> float:
    """How much of the stretch from `begins` to `ends` has passed, in [0, 1]; shares of the run."""
    if progress <= begins:
        return 0.0
    return 1.0 if progress >= ends else (progress - begins) / (ends - begins)


class Constant(Choice):
    """The same all along."""

    kind: Literal["constant"] = "constant"
    coef: float = knob(1e-4, "weight of the entropy bonus", source=OFFICIAL, ge=0)

    def at(self, progress: float) -> float:
        """The weight at a share of the run."""
        return self.coef


class Change(Config):
    """When a change happens."""

    begins: float = knob(0.0, "where the change begins", unit="share of the run", ge=0, le=1)
    ends: float = knob(1.0, "where it is over", unit="share of the run", ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.begins > self.ends:
            raise ValueError(f"policy.entropy.begins={self.begins:g} must not lie behind ends={self.ends:g}")
        return self


class Linear(Change, Choice):
    """From one weight to another in a straight line."""

    kind: Literal["linear"] = "linear"
    start: float = knob(1e-4, "weight up to `begins`", source="value_stability_plan", ge=0)
    end: float = knob(1e-6, "weight from `ends` on", source="value_stability_plan", ge=0)

    def at(self, progress: float) -> float:
        """The weight at a share of the run."""
        return self.start + (self.end - self.start) * fraction(progress, self.begins, self.ends)


class Exponential(Change, Choice):
    """From one weight to another by a constant factor per step: start (end / start)^x."""

    kind: Literal["exponential"] = "exponential"
    start: float = knob(1e-4, "weight up to `begins`", source="value_stability_plan", gt=0)
    end: float = knob(1e-6, "weight from `ends` on; above 0, or no factor leads there", gt=0)

    def at(self, progress: float) -> float:
        """The weight at a share of the run."""
        factor: float = (self.end / self.start) ** fraction(progress, self.begins, self.ends)
        return self.start * factor


class Heuristic(Choice):
    """The discount of an episode's length E: clip((E / 5 - 1) / (E / 5)) (Hansen et al. 2024, section 4)."""

    kind: Literal["heuristic"] = "heuristic"
    low: float = knob(0.95, "least discount", source=OFFICIAL, gt=0, lt=1)
    high: float = knob(0.995, "largest discount", source=OFFICIAL, gt=0, lt=1)

    def of(self, horizon: int) -> float:
        """The discount per agent step where episodes have `horizon` of them."""
        return min(max(1 - 5 / horizon, self.low), self.high)


class Fixed(Choice):
    """A discount of one's own."""

    kind: Literal["fixed"] = "fixed"
    gamma: float = knob(0.99, "discount per agent step", gt=0, lt=1)

    def of(self, horizon: int) -> float:
        """The discount per agent step."""
        return self.gamma


class Cadence(Config):
    """Updates per agent step; the most frequent part sets the pace and the others must divide it."""

    world: int = knob(
        1, "of encoder, dynamics, reward and termination: the update-to-data ratio", source=OFFICIAL, ge=1
    )
    value: int = knob(0, "of values; 0: as the world model", ge=0)
    policy: int = knob(0, "of policies; 0: as the world model", ge=0)

    @model_validator(mode="after")
    def _divides(self) -> Self:
        for name in ("world", "value", "policy"):
            each = getattr(self, name) or self.world
            if self.pace % each:
                near = [n for n in range(1, self.pace + 1) if self.pace % n == 0]
                raise ValueError(
                    f"cadence.{name}={each} does not divide the {self.pace} updates of an agent step evenly; "
                    f"choose one of {', '.join(map(str, near))}"
                )
        return self

    @property
    def pace(self) -> int:
        """Minibatches per agent step."""
        return max(self.world, self.value, self.policy)

    def due(self, part: Literal["world", "value", "policy"], update: int) -> bool:
        """Whether a part learns from minibatch number `update`, counted from 0."""
        return update % (self.pace // (getattr(self, part) or self.world)) == 0


class Optimizer(Config):
    """Adam (AdamW where weights decay), one for the world model with its values, one for the policies."""

    lr: float = knob(3e-4, "learning rate", source=OFFICIAL, gt=0)
    encoder: float = knob(0.3, "factor of the encoder's rate", source=OFFICIAL, ge=0)
    policy: float = knob(1.0, "factor of the policies' rate", source=OFFICIAL, gt=0)
    by_heads: bool = knob(
        False, "rates of dynamics and reward times their heads, of values times members / 5, auxiliary discounts / 5"
    )
    encoder_step: float = knob(1.0, "further factor of the encoder's rate from `encoder_step_at` on", ge=0)
    encoder_step_at: float = knob(1.0, "where it sets in; 1: never", unit="share of the run", ge=0, le=1)
    encoder_frozen_at: float = knob(
        1.0, "from where on the encoder no longer learns; 1: never", unit="share of the run", ge=0, le=1
    )
    weight_decay: float = knob(0.0, "AdamW's decay", ge=0)
    clip: float = knob(20.0, "largest norm of either gradient", source=OFFICIAL, gt=0)
    eps: float = knob(1e-8, "denominator offset, world model and values", source="torch.optim.Adam", gt=0)
    policy_eps: float = knob(1e-5, "denominator offset, policies", source="tdmpc2.py", gt=0)

    def encoder_factor(self, progress: float) -> float:
        """The factor of the encoder's rate at a share of the run."""
        if progress >= self.encoder_frozen_at < 1:
            return 0.0
        return self.encoder * (self.encoder_step if progress >= self.encoder_step_at < 1 else 1.0)
