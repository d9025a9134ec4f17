"""All networks of an agent: the world model, slow copies, values of other discounts, a policy that explores.

Axes: B whatever leads, G discounts, L latent, K bins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bellmark.agents.tdmpc.auxiliary import Joint, NoAuxiliary, Separate
from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.agents.tdmpc.improvement import NoExplorer
from bellmark.agents.tdmpc.model import SIZES
from bellmark.agents.tdmpc.world import Policy, World
from bellmark.nets.ensemble import Ensemble
from bellmark.nets.slow import slow_copy

HIDDEN_LAYERS = 2


class Auxiliary(nn.Module):
    """State values under G other discounts, as distributions over bins: first all zero."""

    def __init__(self, options: NoAuxiliary | Joint | Separate, config: Tdmpc, generator: torch.Generator) -> None:
        super().__init__()
        self.gammas = () if isinstance(options, NoAuxiliary) else options.gammas
        self.bins = config.model.bins
        self.gamma_G111: Tensor
        self.register_buffer("gamma_G111", torch.tensor(self.gammas).view(-1, 1, 1, 1), persistent=False)
        count = len(self.gammas)
        members, outputs = (1, count) if isinstance(options, Joint) else (count, 1)
        sizes = SIZES[config.model.size]
        hidden = (sizes.width,) * HIDDEN_LAYERS
        self.network = (
            Ensemble(members, (sizes.latent,), hidden, outputs * self.bins, generator, zero_output=True)
            if count
            else nn.Identity()
        )

    def logits(self, z: Tensor) -> Tensor:
        """(*B, L) -> (G, *B, K)."""
        if not self.gammas:
            return z.new_zeros(0, *z.shape[:-1], self.bins)
        output = self.network(z)  # (members, *B, outputs K), and members or outputs is 1
        return output.unflatten(-1, (-1, self.bins)).movedim(-2, 0).flatten(0, 1)


class Networks(nn.Module):
    """The world model (`world`, with the policy in it) and what goes with it."""

    def __init__(self, observations: int, actions: int, config: Tdmpc, generator: torch.Generator) -> None:
        """Build on the processor; parameters come from `generator`."""
        super().__init__()
        self.world = World(observations, actions, config.model, generator)
        self.slow_critic = slow_copy(self.world.critic)
        self.slow_policy = slow_copy(self.world.policy)
        self.auxiliary = Auxiliary(config.auxiliary, config, generator)
        self.slow_auxiliary = slow_copy(self.auxiliary)
        single = isinstance(config.policy.explorer, NoExplorer)
        self.explorer = self.world.policy if single else Policy(actions, config.model, generator)


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Gradients pass through these modules and stop at their parameters."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
