"""Options of the optimiser: clipping, learning rates and their course. `nets/optim.py` does the work."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from bellmark.config import Choice, Config, knob, option

if TYPE_CHECKING:
    from bellmark.nets.optim import Clip

OFFICIAL = "dreamerv3 configs.yaml"
PROTOCOL = "research protocol"


class Agc(Choice):
    """Adaptive clipping: a tensor's gradient is at most `clip` times its own norm (Brock et al. 2021)."""

    kind: Literal["agc"] = "agc"
    clip: float = knob(0.3, "largest ratio of a gradient's norm to its tensor's", source=OFFICIAL, gt=0)
    least: float = knob(1e-3, "a tensor's norm counts as at least this", source=OFFICIAL, gt=0)

    def cut(self) -> Clip:
        """What clips in place."""
        from bellmark.nets.optim import agc

        return agc(self.clip, self.least)


class Norm(Choice):
    """The norm of the gradients of each part (model, policy, value) is cut."""

    kind: Literal["norm"] = "norm"
    clip: float = knob(100.0, "largest norm", source="dreamerv3-torch: 1000 model, 100 policy and value", gt=0)

    def cut(self) -> Clip:
        """What clips in place."""
        from bellmark.nets.optim import by_part

        return by_part(self.clip)


class NoClip(Choice):
    """Gradients as they are."""

    kind: Literal["none"] = "none"

    def cut(self) -> Clip:
        """Nothing does."""
        from bellmark.nets.optim import unclipped

        return unclipped


class Steady(Choice):
    """The learning rate stays."""

    kind: Literal["steady"] = "steady"

    def at(self, progress: float) -> float:
        """Factor of all learning rates."""
        return 1.0


class CosineRate(Choice):
    """All learning rates on half a cosine from 1 to `end`."""

    kind: Literal["cosine"] = "cosine"
    end: float = knob(0.1, "factor from `until` on", source=PROTOCOL, ge=0, le=1)
    until: float = knob(1.0, "where the end is reached", unit="share of the run", gt=0, le=1)

    def at(self, progress: float) -> float:
        """Factor of all learning rates at a share of the run."""
        done = min(max(progress / self.until, 0.0), 1.0)
        return self.end + 0.5 * (1 - self.end) * (1 + math.cos(math.pi * done))


class Optimizer(Config):
    """LaProp over all parts; a part's own learning rate makes it an optimiser of its own."""

    lr: float = knob(4e-5, "learning rate of the world model", source=OFFICIAL, gt=0)
    actor_lr: float = knob(0.0, "learning rate of the policy; 0: as the model's", ge=0)
    critic_lr: float = knob(0.0, "learning rate of the value; 0: as the model's", ge=0)
    warmup: int = knob(1000, "updates over which learning rates rise from 0", unit="updates", source=OFFICIAL, ge=0)
    course: Steady | CosineRate = option(Steady(), "learning rates over the run")
    beta1: float = knob(0.9, "decay of the momentum, taken after scaling", source=OFFICIAL, ge=0, lt=1)
    beta2: float = knob(0.999, "decay of the squared gradients", source=OFFICIAL, ge=0, lt=1)
    eps: float = knob(1e-20, "added to the root of the squared gradients", source=OFFICIAL, gt=0)
    clipping: Agc | Norm | NoClip = option(Agc(), "what keeps gradients small")
