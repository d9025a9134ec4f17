"""The world model: encoder, dynamics, reward, value, policy and termination in one module.

Source: Hansen et al. 2024 (TD-MPC2), widened to ensembles of every head with random priors. One deviation: SimNorm
groups strided features (see `ops.activations.simnorm`). Axes: B whatever leads, O observation, L latent, A action,
H dynamics heads, R reward heads, E value heads, K bins.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bellmark.agents.tdmpc import model
from bellmark.nets.blocks import Linear, NormedLinear, normed_mlp
from bellmark.nets.ensemble import Ensemble, RandomPrior
from bellmark.nets.memory import keep_freed_memory
from bellmark.ops.activations import simnorm
from bellmark.ops.gaussian import Gaussian
from bellmark.ops.two_hot import Bins, SymlogBins, encode


class Encoder(nn.Module):
    """Observations (*B, O) to latents (*B, L) on simplices."""

    def __init__(self, observations: int, config: model.Model, generator: torch.Generator) -> None:
        super().__init__()
        sizes = model.SIZES[config.size]
        widths = [observations, *[sizes.encoder_width] * max(sizes.encoder_layers - 1, 1)]
        last = NormedLinear(widths[-1], sizes.latent, generator, active=False)
        self.layers = nn.Sequential(*normed_mlp(widths, generator), last)
        self.group = config.group

    def forward(self, obs: Tensor) -> Tensor:
        """(*B, O) -> (*B, L)."""
        return simnorm(self.layers(obs), self.group)


class Dynamics(nn.Module):
    """H heads that predict the next latent from a latent and an action."""

    def __init__(self, actions: int, config: model.Model, generator: torch.Generator) -> None:
        super().__init__()
        sizes, c = model.SIZES[config.size], config.dynamics
        parts, hidden = (sizes.latent, actions), (sizes.width, sizes.width)
        self.heads = Ensemble(c.heads, parts, hidden, sizes.latent, generator, normed_output=c.norm)
        self.prior = (
            LatentPrior(RandomPrior(c.heads, parts, hidden, sizes.latent, generator), c.prior_scale)
            if c.prior_scale
            else NoPrior()
        )
        self.group = config.group

    def forward(self, z: Tensor, action: Tensor, *, own: bool = False, chosen: Tensor | None = None) -> Tensor:
        """Latents (*B, L) and actions (*B, A) -> (H, *B, L); leading axes broadcast.

        With `own` the latents are (H, *B, L) and each head goes on from its own; `chosen` evaluates some heads only.
        """
        parts = (z, action.expand(len(z), *action.shape) if own and action.dim() < z.dim() else action)
        logits = self.heads(*parts, own=own, chosen=chosen)
        return simnorm(self.prior(logits, *parts, own=own, chosen=chosen), self.group)


class Scalars(nn.Module):
    """An ensemble that predicts numbers as distributions over bins, at first all zero; with or without random priors.

    Parts of the input beyond those it was built for are ignored, so that V(z) and Q(z, a) are called alike.
    """

    def __init__(
        self,
        heads: int,
        parts: Sequence[int],
        config: model.Reward | model.ActionValue | model.StateValue,
        of: model.Model,
        generator: torch.Generator,
        *,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = model.SIZES[of.size].width
        hidden = (width, width)
        self.bins: Bins = SymlogBins(low=-of.bin_limit, high=of.bin_limit, count=of.bins)
        self.reads = len(parts)
        self.heads = Ensemble(heads, parts, hidden, of.bins, generator, zero_output=True, dropout=dropout)
        self.prior = (
            ScalarPrior(
                RandomPrior(heads, parts, hidden, 1, generator), config.prior_scale, config.prior_logit, self.bins
            )
            if config.prior_scale
            else NoPrior()
        )

    def logits(
        self,
        *parts: Tensor,
        own: bool = False,
        chosen: Tensor | None = None,
        dropout: torch.Generator | None = None,
    ) -> Tensor:
        """(heads, *B, K); arguments as `Ensemble.forward`."""
        parts = parts[: self.reads]
        logits = self.heads(*parts, own=own, chosen=chosen, dropout=dropout)
        return self.prior(logits, *parts, own=own, chosen=chosen)

    def forward(self, *parts: Tensor, chosen: Tensor | None = None, dropout: torch.Generator | None = None) -> Tensor:
        """The numbers (heads, *B)."""
        return self.bins.decode(self.logits(*parts, chosen=chosen, dropout=dropout))


class NoPrior(nn.Module):
    """Heads as they were learned."""

    def forward(self, logits: Tensor, *parts: Tensor, own: bool = False, chosen: Tensor | None = None) -> Tensor:
        """`logits`."""
        return logits


class LatentPrior(nn.Module):
    """A fixed random network's output added to the learned one's, before SimNorm."""

    def __init__(self, network: RandomPrior, scale: float) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, logits: Tensor, *parts: Tensor, own: bool = False, chosen: Tensor | None = None) -> Tensor:
        """logits + scale * prior, (H, *B, L)."""
        return logits + self.scale * self.network(*parts, own=own, chosen=chosen)


class ScalarPrior(nn.Module):
    """A fixed random number per input, whose two-hot is added to the learned logits."""

    def __init__(self, network: RandomPrior, scale: float, logit: float, bins: Bins) -> None:
        super().__init__()
        self.network, self.scale, self.logit, self.bins = network, scale, logit, bins

    def forward(self, logits: Tensor, *parts: Tensor, own: bool = False, chosen: Tensor | None = None) -> Tensor:
        """logits + logit * twohot(scale * prior), (E, *B, K)."""
        number = self.scale * self.network(*parts, own=own, chosen=chosen).squeeze(-1)
        return logits + self.logit * encode(self.bins, number)


class Policy(nn.Module):
    """Latents to a Gaussian over actions; the option says how its samples are squashed or clipped."""

    def __init__(self, actions: int, config: model.Model, generator: torch.Generator) -> None:
        super().__init__()
        sizes = model.SIZES[config.size]
        self.network = Ensemble(1, (sizes.latent,), (sizes.width, sizes.width), 2 * actions, generator)
        self.option = config.policy

    def forward(self, z: Tensor) -> Gaussian:
        """(*B, L) -> mean and log_std (*B, A)."""
        return self.option.read(self.network(z)[0])

    def sample(self, policy: Gaussian, noise: Tensor) -> Tensor:
        """Actions in the box from standard normal noise."""
        return self.option.sample(policy, noise)

    def act(self, z: Tensor, noise: Tensor) -> Tensor:
        """Sampled actions (*B, A) at latents (*B, L)."""
        return self.sample(self(z), noise)

    def act_for_reanalysis(self, z: Tensor, noise: Tensor) -> Tensor:
        """The same from the Gaussian that seeds a replan."""
        return self.sample(self.option.read_for_reanalysis(self.network(z)[0]), noise)


class Termination(nn.Module):
    """Whether a latent is an end of the task."""

    def __init__(self, config: model.Model, generator: torch.Generator) -> None:
        super().__init__()
        sizes = model.SIZES[config.size]
        hidden = normed_mlp((sizes.latent, sizes.width, sizes.width), generator)
        self.layers = nn.Sequential(*hidden, Linear(sizes.width, 1, generator))

    def logit(self, z: Tensor) -> Tensor:
        """(*B, L) -> (*B)."""
        return self.layers(z).squeeze(-1)

    def forward(self, z: Tensor) -> Tensor:
        """1 where the task goes on, 0 where its end is more probable than not; (*B, L) -> (*B)."""
        return (self.logit(z) <= 0).to(z.dtype)


class Endless(nn.Module):
    """A task that does not end."""

    def logit(self, z: Tensor) -> Tensor:
        """Minus infinity in every state."""
        return z.new_full(z.shape[:-1], -torch.inf)

    def forward(self, z: Tensor) -> Tensor:
        """Ones (*B)."""
        return z.new_ones(z.shape[:-1])


class World(nn.Module):
    """What plans are made with: `encoder, dynamics, reward, critic, policy, termination`.

    Args:
        observations: features of an observation.
        actions: dimensions of an action.
        generator: where the initial parameters come from (on the processor).
    """

    def __init__(self, observations: int, actions: int, config: model.Model, generator: torch.Generator) -> None:
        super().__init__()
        keep_freed_memory()
        latent = model.SIZES[config.size].latent
        critic = config.critic
        value_parts = (latent, actions) if critic.sees_action else (latent,)
        self.config, self.actions, self.latent = config, actions, latent
        self.encoder = Encoder(observations, config, generator)
        self.dynamics = Dynamics(actions, config, generator)
        self.reward = Scalars(config.reward.heads, (latent, actions), config.reward, config, generator)
        self.termination = Termination(config, generator) if config.episodic else Endless()
        self.policy = Policy(actions, config, generator)
        self.critic = Scalars(config.values, value_parts, critic, config, generator, dropout=critic.dropout)

    def encode(self, obs: Tensor) -> Tensor:
        """Observations (*B, O) -> latents (*B, L)."""
        return self.encoder(obs)

    def next(self, z: Tensor, action: Tensor, *, own: bool = False) -> Tensor:
        """Every head's next latent, (H, *B, L); see `Dynamics.forward`."""
        return self.dynamics(z, action, own=own)
