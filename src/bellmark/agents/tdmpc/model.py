"""What a world model consists of: the published sizes, the heads of each part, and how the policy's output is read.

Nothing here needs PyTorch; `world.py` builds the networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import model_validator

from bellmark.config import Choice, Config, knob, option, part

if TYPE_CHECKING:
    from torch import Tensor

    from bellmark.ops.gaussian import Gaussian

Size = Literal[1, 5, 19, 48, 317]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """One row of the published table (Hansen et al. 2024, appendix; names are millions of parameters)."""

    encoder_width: int
    encoder_layers: int
    width: int  # of the hidden layers of every other network
    latent: int
    values: int  # members of the value ensemble


SIZES: Mapping[int, Sizes] = {
    1: Sizes(encoder_width=256, encoder_layers=2, width=384, latent=128, values=2),
    5: Sizes(encoder_width=256, encoder_layers=2, width=512, latent=512, values=5),
    19: Sizes(encoder_width=1024, encoder_layers=3, width=1024, latent=768, values=5),
    48: Sizes(encoder_width=1792, encoder_layers=4, width=1792, latent=768, values=5),
    317: Sizes(encoder_width=4096, encoder_layers=5, width=4096, latent=1376, values=8),
}


class Tanh(Choice):
    """a = tanh(mean + std noise)."""

    kind: Literal["tanh"] = "tanh"
    jacobian: ClassVar[float] = 1.0  # the density of its actions has tanh's
    log_std_min: float = knob(-10.0, "least log standard deviation", unit="nats", source="tdmpc2 config.yaml")
    log_std_max: float = knob(2.0, "largest log standard deviation", unit="nats", source="tdmpc2 config.yaml")

    def read(self, raw: Tensor) -> Gaussian:
        """The Gaussian before squashing, from the network's (..., 2A)."""
        return _read(raw, self.log_std_min, self.log_std_max)

    def read_for_reanalysis(self, raw: Tensor) -> Gaussian:
        """The same: replanning draws its seeds as acting does."""
        return self.read(raw)

    def sample(self, policy: Gaussian, noise: Tensor) -> Tensor:
        """Actions in (-1, 1) from standard normal noise (..., A)."""
        from bellmark.ops import squashed

        return squashed.tanh_sample(policy.mean, policy.log_std, noise)

    def mode(self, policy: Gaussian) -> Tensor:
        """The action of no noise."""
        return policy.mean.tanh()


class Clipped(Choice):
    """a = clip(tanh(mean) + std noise, -1, 1) (BMPC): comparable with a planner's Gaussian by KL."""

    kind: Literal["clipped"] = "clipped"
    jacobian: ClassVar[float] = 0.0
    log_std_min: float = knob(-3.0, "least log standard deviation", unit="nats", source="bmpc config.yaml")
    log_std_max: float = knob(1.0, "largest log standard deviation", unit="nats", source="bmpc config.yaml")
    reanalysis_log_std_min: float | None = knob(
        -2.0,
        "least log standard deviation of the policy that seeds a replan; null: log_std_min",
        unit="nats",
        source="bmpc, reanalyze",
    )

    def read(self, raw: Tensor) -> Gaussian:
        """The Gaussian before clipping, its mean inside the box, from the network's (..., 2A)."""
        return self._inside(raw, self.log_std_min)

    def read_for_reanalysis(self, raw: Tensor) -> Gaussian:
        """The same with a least spread of its own."""
        least = self.reanalysis_log_std_min
        return self._inside(raw, self.log_std_min if least is None else least)

    def sample(self, policy: Gaussian, noise: Tensor) -> Tensor:
        """Actions in [-1, 1] from standard normal noise (..., A)."""
        from bellmark.ops import squashed

        return squashed.clipped_sample(policy.mean, policy.log_std, noise)

    def mode(self, policy: Gaussian) -> Tensor:
        """The action of no noise."""
        return policy.mean

    def _inside(self, raw: Tensor, least: float) -> Gaussian:
        policy = _read(raw, least, self.log_std_max)
        return policy._replace(mean=policy.mean.tanh())


def _read(raw: Tensor, low: float, high: float) -> Gaussian:
    from bellmark.ops import squashed
    from bellmark.ops.gaussian import Gaussian

    mean, spread = raw.chunk(2, -1)
    return Gaussian(mean, squashed.bounded_log_std(spread, low, high))


class Dynamics(Config):
    """Heads that predict the next latent, all from the same data."""

    heads: int = knob(1, "independent dynamics networks", scope="model", ge=1)
    norm: bool = knob(True, "layer norm before SimNorm on the predicted latent", scope="model", source="tdmpc2: yes")
    prior_scale: float = knob(0.0, "weight of a fixed random network added before SimNorm", scope="model", ge=0)


class Reward(Config):
    """Heads that predict the reward of a step."""

    heads: int = knob(1, "independent reward networks", scope="model", ge=1)
    prior_scale: float = knob(0.0, "weight of a fixed random reward", unit="reward", scope="model", ge=0)
    prior_logit: float = knob(1.0, "logits with which the random reward's two-hot is added", scope="model", ge=0)


class ActionValue(Choice):
    """Q(z, a): a state's value needs an action of the policy."""

    kind: Literal["action"] = "action"
    heads: int = knob(0, "members of the ensemble; 0: as many as the size has", scope="model", ge=0)
    dropout: float = knob(0.01, "share of the first layer that is dropped while learning", scope="model", ge=0, lt=1)
    prior_scale: float = knob(0.0, "weight of a fixed random value", unit="return", scope="model", ge=0)
    prior_logit: float = knob(1.0, "logits with which the random value's two-hot is added", scope="model", ge=0)
    sees_action: ClassVar[bool] = True


class StateValue(Choice):
    """V(z): the value of the policy that acts (BMPC)."""

    kind: Literal["state"] = "state"
    heads: int = knob(0, "members of the ensemble; 0: as many as the size has", scope="model", ge=0)
    dropout: float = knob(0.01, "share of the first layer that is dropped while learning", scope="model", ge=0, lt=1)
    prior_scale: float = knob(0.0, "weight of a fixed random value", unit="return", scope="model", ge=0)
    prior_logit: float = knob(1.0, "logits with which the random value's two-hot is added", scope="model", ge=0)
    sees_action: ClassVar[bool] = False


class Model(Config):
    """The world model's networks."""

    size: Size = knob(5, "published size, in millions of parameters", scope="model", source="tdmpc2 MODEL_SIZE")
    dynamics: Dynamics = part(Dynamics(), "the next latent")
    reward: Reward = part(Reward(), "the reward of a step")
    critic: ActionValue | StateValue = option(ActionValue(), "what a value is a value of", scope="model")
    policy: Tanh | Clipped = option(Tanh(), "how the policy's output becomes an action", scope="model")
    episodic: bool = knob(False, "the task can end: a network predicts whether a latent is an end", scope="model")
    group: int = knob(8, "latent features that share one simplex", scope="model", source="tdmpc2 simnorm_dim", ge=2)
    bins: int = knob(101, "bins of reward and value", scope="model", source="tdmpc2 num_bins", ge=2)
    bin_limit: float = knob(
        10.0, "the outermost bins, plus and minus", unit="symlog", scope="model", source="tdmpc2 vmin, vmax", gt=0
    )

    @model_validator(mode="after")
    def _whole_simplices(self) -> Self:
        latent = SIZES[self.size].latent
        if latent % self.group:
            raise ValueError(f"model.group={self.group} must divide the {latent} latent features of size {self.size}")
        return self

    @property
    def values(self) -> int:
        """Members of the value ensemble."""
        return self.critic.heads or SIZES[self.size].values
