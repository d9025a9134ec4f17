"""Small finetune agents for tests."""

from __future__ import annotations

from typing import Any

from bellmark.agents.finetune.agent import FinetuneAgent
from bellmark.agents.finetune.config import Finetune
from bellmark.agents.finetune.networks import Critic, GaussianPolicy
from bellmark.config import build

SMALL = (
    "policy.hidden=16",
    "critic.hidden=16",
    "policy.layers=2",
    "critic.layers=2",
    "collect.envs=4",
    "collect.steps=6",
    "steps=48",
    "evaluation.episodes=4",
    "update.epochs=2",
    "update.minibatches=2",
)


def config(*overrides: str) -> Finetune:
    """A small configuration; the last setting of a key wins, and keys of an option that is not chosen are left out."""
    chosen = [*SMALL, *overrides]
    if "critic=none" in chosen:
        chosen = [o for o in chosen if not o.startswith("critic.")]
    options = [o for o in chosen if o.split("=")[0] in ("task", "start", "critic", "advantage", "update")]
    return build(Finetune, {}, [*options, *(o for o in chosen if o not in options)])


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
