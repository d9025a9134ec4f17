"""Small finetune agents for tests."""

from __future__ import annotations

from functools import cache
from typing import Any

from bellmark.agents.finetune.agent import FinetuneAgent
from bellmark.agents.finetune.config import Finetune
from bellmark.agents.finetune.networks import Critic, GaussianPolicy
from bellmark.config import build, knobs

SMALL = (
    "policy.hidden=16",
    "critic.hidden=16",
    "policy.layers=2",
    "critic.layers=2",
    "evaluation.episodes=4",
    "update.epochs=2",
    "update.minibatches=2",
    "critic.epochs=2",
    "critic.data.episodes=3",
    "critic.initial.worlds=3",
    "critic.initial.rollouts=1",
    "critic.initial.epochs=2",
    "critic.initial.rounds=2",
    "advantage.n_q=2",
    "advantage.n_v=2",
    "data.worlds=4",
    "data.steps=6",
)
QUICK = ("task=probe", "task.name=policy-from-obs")
ROOM = ("collect.envs=4", "collect.steps=6", "steps=48")


def config(*overrides: str) -> Finetune:
    """A small configuration; the last setting of a key wins, and keys of an option that is not chosen are left out."""
    names = [k.path for k in knobs(Finetune) if k.options]
    options = [o for o in overrides if o.partition("=")[0] in names]
    tree = build(Finetune, {}, [*ROOM, *options]).tree()
    small = [o for o in SMALL if _has(tree, o.partition("=")[0])]
    return build(Finetune, {}, [*ROOM, *options, *small, *(o for o in overrides if o not in options)])


@cache
def choices() -> dict[str, list[str]]:
    """Every option of the configuration and what it may be, from the types; an option of an option keeps all its."""
    found: dict[str, list[str]] = {}
    for k in knobs(Finetune):
        if k.options and not k.path.startswith("evaluation."):  # tested with the run loop
            found.setdefault(k.path, []).extend(o for o in k.options if o not in found.get(k.path, []))
    return found


def _has(tree: dict[str, Any], path: str) -> bool:
    """Whether a dotted path names something in a resolved tree."""
    for key in path.split("."):
        if not isinstance(tree, dict) or key not in tree:
            return False
        tree = tree[key]
    return True


def stored(policy: GaussianPolicy, critic: Critic | None = None) -> dict[str, Any]:
    """What a checkpoint's `state` holds of networks."""
    return {"policy": policy.state_dict(), "critic": critic.state_dict() if critic else {}}


def agent(*overrides: str, weights: dict[str, Any] | None = None) -> FinetuneAgent:
    """A small agent; every checkpoint name stands for `weights`, or for another small agent's networks."""
    made = config(*overrides)

    def load(name: str) -> dict[str, Any]:
        if weights is not None:
            return weights
        same_task = f"task={made.task.kind}"
        donor = agent(same_task, *(f"task.{k}={v}" for k, v in made.task.tree().items() if k != "kind"), "seed=77")
        assert isinstance(donor.critic, Critic)
        return stored(donor.policy, donor.critic)

    return FinetuneAgent(made, load)
