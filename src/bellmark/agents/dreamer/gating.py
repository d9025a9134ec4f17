"""When the actor-critic may learn, and how fast, while the world model catches up (the user's protocol, 01-17-26 on).

Four mechanisms, asked once per *update*: the earlier code asked once per time step of the batch and obeyed the last
answer, so that its ratio of four model updates to one trained the actor in each, and a focus of 20 was over within one.

* Warm-up: the world model alone.
* Ratio: the actor-critic learns in every n-th update; n constant, or on a cosine.
* Focus: a surprise above a threshold lets it learn only in every `ratio`-th of the next `duration` updates.
* Rate: its learning rates over 1 + k * smoothed surprise, for one update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import model_validator

from bellmark.agents.dreamer.surprise import PROTOCOL, Reading
from bellmark.config import Choice, knob, option

if TYPE_CHECKING:
    import torch
    from torch import Tensor

State = dict[str, int]


class Decision(NamedTuple):
    """What one update may do to actor and critic."""

    learns: bool  # False: they rest, with their moments and slow copies; their losses need not be computed
    rate: Tensor  # () factor of both learning rates in this update
    metrics: Mapping[str, Tensor]  # `gate/*`


class Always(Choice):
    """The actor-critic learns in every n-th update."""

    kind: Literal["constant"] = "constant"
    every: int = knob(1, "model updates per update of the actor-critic", unit="updates", source=PROTOCOL, ge=1)

    def at(self, progress: float) -> int:
        """The ratio at a share of the updates after the warm-up."""
        return self.every


class Cosine(Choice):
    """The ratio on half a cosine from the end of the warm-up to the last update: many model updates first, then few."""

    kind: Literal["cosine"] = "cosine"
    most: int = knob(8, "model updates per update of the actor-critic at the beginning", source=PROTOCOL, ge=1)
    least: int = knob(2, "the same at the end", source=PROTOCOL, ge=1)
    invert: bool = knob(False, "swap the ends: few first, many at the end", source=PROTOCOL)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"gating.ratio.least={self.least} is above most={self.most}; invert=true swaps the ends")
        return self

    def at(self, progress: float) -> int:
        """The ratio at a share of the updates after the warm-up: max(1, round(b + (a - b)(1 + cos(pi p)) / 2))."""
        a, b = (self.least, self.most) if self.invert else (self.most, self.least)
        return max(1, round(b + 0.5 * (a - b) * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))))


class NoFocus(Choice):
    """Surprise never holds the actor-critic back."""

    kind: Literal["off"] = "off"

    def initial(self) -> State:
        """Nothing to carry."""
        return {}

    def step(self, state: State, surprise: Tensor, ordinary: bool) -> tuple[State, bool]:
        """The ordinary answer."""
        return state, ordinary


class Focus(Choice):
    """After a surprise, a while of mostly model updates."""

    kind: Literal["on"] = "on"
    threshold: float = knob(0.05, "log ratio above which the focus begins", unit="nats", source=PROTOCOL, ge=0)
    ratio: int = knob(4, "while focused, updates per update of the actor-critic", source=PROTOCOL, ge=1)
    duration: int = knob(20, "how long a focus lasts", unit="updates", source=PROTOCOL, ge=1)
    cooldown: int = knob(50, "after a focus, how long none begins", unit="updates", source=PROTOCOL, ge=0)
    rearm: bool = knob(
        True,
        "a surprise within a focus begins it anew, its count of updates too: lasting surprise stops the actor-critic "
        "altogether, as in the run tuned_v1 of the protocol; false: a focus runs to its end",
        source=PROTOCOL,
    )

    def initial(self) -> State:
        """No focus: updates left of one, updates counted in it, updates until another may begin."""
        return {"left": 0, "counted": 0, "cooling": 0}

    def step(self, state: State, surprise: Tensor, ordinary: bool) -> tuple[State, bool]:
        """The next state and whether the actor-critic learns: while focused its own ratio, else the ordinary answer.

        The one place where the host waits for the surprise: what rests must rest whole, so the answer cannot stay a
        tensor.
        """
        left, counted, cooling = state["left"], state["counted"], state["cooling"]
        heeded = cooling == 0 and (self.rearm or left == 0)
        if heeded and float(surprise) > self.threshold:
            left, counted = self.duration, 0
        cooling = max(0, cooling - 1)
        if left == 0:
            return {"left": left, "counted": counted, "cooling": cooling}, ordinary
        left, counted = left - 1, counted + 1
        if left == 0:
            cooling = self.cooldown
        return {"left": left, "counted": counted, "cooling": cooling}, counted % self.ratio == 0


class Same(Choice):
    """Learning rates as configured."""

    kind: Literal["same"] = "same"

    def factor(self, smoothed: Tensor) -> Tensor:
        """One."""
        return smoothed.new_ones(smoothed.shape)


class Scaled(Choice):
    """Learning rates of actor and critic over 1 + k * smoothed surprise; the world model's stays."""

    kind: Literal["surprise"] = "surprise"
    k: float = knob(10.0, "how strongly surprise slows the actor-critic", source=PROTOCOL, gt=0)

    def factor(self, smoothed: Tensor) -> Tensor:
        """1 / (1 + k * smoothed)."""
        return 1 / (1 + self.k * smoothed)


class Open(Choice):
    """Actor and critic learn in every update at their own rates (the published choice)."""

    kind: Literal["open"] = "open"
    warmup: ClassVar[int] = 0
    ratio: ClassVar[Always] = Always()
    focus: ClassVar[NoFocus] = NoFocus()
    rate: ClassVar[Same] = Same()


class Gated(Choice):
    """The user's mechanisms, each on its own."""

    kind: Literal["gated"] = "gated"
    warmup: int = knob(0, "updates of the world model alone", unit="updates", source=f"{PROTOCOL}: 5000", ge=0)
    ratio: Always | Cosine = option(Always(), "model updates per update of the actor-critic")
    focus: NoFocus | Focus = option(NoFocus(), "whether a surprise makes the world model learn alone")
    rate: Same | Scaled = option(Same(), "what surprise does to the learning rates of actor and critic")


class Gate:
    """A gating option at work: asked once per update."""

    def __init__(self, chosen: Open | Gated, total: int, device: torch.device | str = "cpu") -> None:
        """`total` updates are planned for the run: where a cosine ends."""
        import torch

        self._chosen, self._total = chosen, total
        self._updates = self._waited = 0  # updates so far; updates since the ratio last let the actor-critic learn
        self._one = torch.ones((), device=device)
        self._focus = chosen.focus.initial()

    def decide(self, reading: Reading) -> Decision:
        """What this update may do, given the surprise of its own world-model loss."""
        chosen = self._chosen
        after = self._updates - chosen.warmup
        self._updates += 1
        if after < 0:
            return self._decision(False, reading, ratio=0)
        ratio = chosen.ratio.at(after / max(1, self._total - chosen.warmup))
        self._waited += 1
        ordinary = self._waited >= ratio
        if ordinary:
            self._waited = 0
        self._focus, learns = chosen.focus.step(self._focus, reading.total, ordinary)
        return self._decision(learns, reading, ratio=ratio)

    def state_dict(self) -> dict[str, Any]:
        """Counters, and the focus where it stands."""
        return {"updates": self._updates, "waited": self._waited, "focus": dict(self._focus)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting."""
        self._updates, self._waited = state["updates"], state["waited"]
        self._focus = dict(state["focus"])

    def _decision(self, learns: bool, reading: Reading, *, ratio: int) -> Decision:
        rate = self._chosen.rate.factor(reading.smoothed)
        metrics = {
            "gate/learns": self._one * learns,
            "gate/rate": rate,
            "gate/ratio": self._one * ratio,
            "gate/focus": self._one * self._focus.get("left", 0),
        }
        return Decision(learns, rate, metrics)
