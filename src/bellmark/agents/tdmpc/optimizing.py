"""The optimisers' numbers: which parts of the networks learn how fast."""

from __future__ import annotations

from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.agents.tdmpc.networks import Networks
from bellmark.nets.groups import Adam, Group


def adam(config: Tdmpc, eps: float) -> Adam:
    """The optimiser's numbers."""
    o = config.optimizer
    return Adam(lr=o.lr, eps=eps, weight_decay=o.weight_decay, clip=o.clip)


def model_groups(config: Tdmpc, nets: Networks) -> list[Group]:
    """The model's parts and their learning rates."""
    m, scaled = config.model, config.optimizer.by_heads
    factor = {
        "encoder": config.optimizer.encoder,
        "dynamics": m.dynamics.heads if scaled else 1,
        "reward": m.reward.heads if scaled else 1,
        "critic": m.values / 5 if scaled else 1,
        "termination": 1,
    }
    auxiliary = len(nets.auxiliary.gammas) / 5 if scaled else 1
    groups = [Group(name, list(getattr(nets.world, name).parameters()), scale) for name, scale in factor.items()]
    return [g for g in (*groups, Group("auxiliary", list(nets.auxiliary.parameters()), auxiliary)) if g.parameters]


def policy_groups(config: Tdmpc, nets: Networks) -> list[Group]:
    """The policies, one learning rate."""
    explorer = [] if nets.explorer is nets.world.policy else list(nets.explorer.parameters())
    scale = config.optimizer.policy
    groups = (Group("policy", list(nets.world.policy.parameters()), scale), Group("explorer", explorer, scale))
    return [group for group in groups if group.parameters]
