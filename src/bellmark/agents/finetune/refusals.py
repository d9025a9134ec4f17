"""Which combinations of the finetune family's options make no sense, each with the reason.

Every function gives pairs of whether to refuse and what to say: the first that applies is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bellmark.agents.finetune.advantages import Gae, MonteCarlo, QMinusV
from bellmark.agents.finetune.allocation import Needed
from bellmark.agents.finetune.branches import Branch, Frozen, Nothing, TimestepMean
from bellmark.agents.finetune.critics import Continued, FromStart, GaePretrained, Iql, Joint, NoCritic, Returns, Td
from bellmark.agents.finetune.schedules import Iterate, Offline, Once, Replay
from bellmark.agents.finetune.updates import Pg, Ppo

if TYPE_CHECKING:
    from bellmark.agents.finetune.config import Finetune

Refusals = list[tuple[bool, str]]


def refusals(config: Finetune) -> Refusals:
    """All of them."""
    return [*_values(config), *_data(config), *_continued(config), *_simulation(config)]


def _values(c: Finetune) -> Refusals:
    """Values that are needed and missing, or learned and not read."""
    source, critic = f"advantage={c.advantage.kind}", f"critic={c.critic.kind}"
    simulated = isinstance(c.advantage, Branch | TimestepMean)
    unread = isinstance(c.advantage, TimestepMean) or (
        isinstance(c.advantage, Branch) and isinstance(c.advantage.beyond, Nothing)
    )
    to_targets = isinstance(c.critic, Joint) and (isinstance(c.critic.initial, GaePretrained) or c.critic.extra_epochs)
    return [
        (
            isinstance(c.critic, NoCritic) and isinstance(c.advantage, Gae | MonteCarlo),
            f"{source} needs a value network: set critic=joint, or advantage=branch",
        ),
        (
            isinstance(c.advantage, QMinusV) and not isinstance(c.critic, Iql | Returns),
            f"{source} needs a critic with action values: set critic=iql or critic=returns",
        ),
        (
            isinstance(c.critic, Joint) and isinstance(c.critic.initial, FromStart) and c.start.kind == "scratch",
            "critic.initial=stored needs start=stored",
        ),
        (
            isinstance(c.critic, NoCritic) and simulated and not unread,
            "advantage.beyond needs values of the continuation: set critic=continued",
        ),
        (
            isinstance(c.critic, Continued) and not simulated,
            f"critic=continued starts from saved states, and {source} saves none: use advantage=branch",
        ),
        (
            isinstance(c.critic, Td | Continued | Iql | Returns) and unread,
            f"{critic} would be trained for nothing, as {source} reads no values: set critic=none"
            + (", or advantage.beyond=bootstrap or corrected" if isinstance(c.advantage, Branch) else ""),
        ),
        (
            bool(to_targets) and simulated,
            f"critic.initial=targets and critic.extra_epochs regress values to targets that {source} would re-roll "
            "every time: use critic.initial=td or pretrained",
        ),
    ]


def _data(c: Finetune) -> Refusals:
    """Updates, critics and sources that the data does not suit."""
    source, update, data = f"advantage={c.advantage.kind}", f"update={c.update.kind}", f"data={c.data.kind}"
    simulated = isinstance(c.advantage, Branch | TimestepMean)
    return [
        (
            isinstance(c.update, Ppo | Pg) and isinstance(c.data, Offline),
            f"{update} is for data of the policy itself, and data=offline is another policy's: "
            "use update=awr, recap or filtered_bc",
        ),
        (
            isinstance(c.update, Pg) and not isinstance(c.data, Iterate),
            f"{update} weighs no row by how likely the present policy is to do the same, and {data} keeps rows of "
            "earlier policies: use data=iterate, or update=ppo, awr, recap or filtered_bc",
        ),
        (
            isinstance(c.critic, Continued) and isinstance(c.data, Offline | Replay),
            f"critic=continued goes on from the states of one rollout, not of {data}",
        ),
        (
            isinstance(c.advantage, TimestepMean) and not isinstance(c.data, Iterate | Once),
            f"{source} compares environments at the same time of one rollout: use data=iterate or data=once",
        ),
        (
            simulated and isinstance(c.data, Replay),
            f"{source} would re-roll every kept rollout again at every iteration: use data=iterate or data=once",
        ),
    ]


def _continued(c: Finetune) -> Refusals:
    """A critic of a continuation that is not the one that replicas follow."""
    if not isinstance(c.critic, Continued) or not isinstance(c.advantage, Branch):
        return []
    followed = c.advantage.continuation
    return [
        (
            not isinstance(followed, Frozen),
            "critic=continued learns a stored policy's values, and advantage.continuation=current is the one in "
            "training: use critic=joint or td",
        ),
        (
            isinstance(followed, Frozen) and followed.checkpoint != c.critic.checkpoint,
            f"critic.checkpoint={c.critic.checkpoint} is not the policy that replicas follow "
            f"(advantage.continuation.checkpoint={getattr(followed, 'checkpoint', '')}): set both to the same",
        ),
    ]


def _simulation(c: Finetune) -> Refusals:
    """Re-rollouts that cannot be done as asked."""
    advantage = c.advantage
    if not isinstance(advantage, Branch | TimestepMean):
        return []
    source = f"advantage={advantage.kind}"
    return [
        (
            isinstance(advantage, Branch)
            and isinstance(advantage.allocation, Needed)
            and not advantage.n_q == advantage.n_v >= advantage.allocation.pilot,
            "advantage.allocation=needed shares pairs out: n_q and n_v must be equal, and at least its pilot",
        ),
        (
            c.reward_scale != 1,
            f"reward_scale={c.reward_scale} is for learned values; {source} simulates its own",
        ),
    ]
