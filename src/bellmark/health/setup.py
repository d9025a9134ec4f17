"""Rules on a configuration alone: what can be known to be wrong before the first step (`bellmark lint`)."""

from __future__ import annotations

import math
from collections.abc import Callable

from bellmark.health.case import Case, Finding

FEW_EPISODES = 10


# Of tasks whose rewards are bounded: (agent steps of an episode, largest reward of one), from the task's knobs.
BOUNDS: dict[str, Callable[[Case], tuple[float, float]]] = {
    "cartpole": lambda case: (500.0, 1.0),
    "dmc": lambda case: (1000.0 / case.knob("task.action_repeat", 1), float(case.knob("task.action_repeat", 1))),
    "h1": lambda case: (1000.0, 1.0),
}


def narrow_support(case: Case) -> Finding | None:
    """Symptom: the largest value bin lies below the return that an episode can reach.

    Causes: two-hot bins taken from another task. Values above the last bin cannot be expressed; the critic saturates.
    Try: wider bins.
    """
    limit, horizon = case.knob("model.bin_limit"), case.knob("learning.discount.horizon")
    bound = BOUNDS.get(str(case.knob("task")))
    if limit is None or horizon is None or bound is None:
        return None
    top, gamma = math.expm1(float(limit)), 1 - 1 / float(horizon)
    steps, reward = bound(case)
    reach = reward * (1 - gamma**steps) / (1 - gamma)
    if reach <= top:
        return None
    return Finding(
        "narrow_support",
        "critical",
        None,
        f"values end at {top:.4g} (model.bin_limit={limit}), an episode of {steps:.0f} steps can be worth {reach:.4g}",
        "two-hot bins too narrow for the task",
        f"model.bin_limit={math.ceil(math.log1p(reach))} or more",
        {"top": top, "reach": reach},
    )


def tight_kl(case: Case) -> Finding | None:
    """Symptom: many passes over the data are asked for, with a limit on the policy's move that ends them early.

    Causes: `update.target_kl` of 0.1 was meant for four passes.
    Try: fewer epochs, or a limit that does not bind.
    """
    epochs, limit = case.knob("update.epochs"), case.knob("update.target_kl")
    if epochs is None or limit is None or case.knob("update") != "ppo" or epochs < 20 or limit > 0.1:
        return None
    return Finding(
        "tight_kl",
        "warning",
        None,
        f"update.epochs={epochs} with update.target_kl={limit}: the limit will end most updates after a few steps",
        "a limit meant for few passes",
        "update.target_kl=100, or update.epochs=4",
        {"epochs": float(epochs), "target_kl": float(limit)},
    )


def short_evaluation(case: Case) -> Finding | None:
    """Symptom: too few episodes per evaluation to see the effects that people ask about.

    Causes: with n episodes a success rate near one half is known to within 1 / sqrt(n).
    Try: more episodes, or fewer evaluations with more episodes each.
    """
    episodes = case.knob("evaluation.episodes")
    if episodes is None or episodes >= FEW_EPISODES:
        return None
    return Finding(
        "short_evaluation",
        "info",
        None,
        f"{episodes} episodes per evaluation know a success rate only to within {1 / math.sqrt(episodes):.0%}",
        "evaluations kept cheap",
        f"evaluation.episodes={FEW_EPISODES} or more",
        {"episodes": float(episodes)},
    )


def no_entropy(case: Case) -> Finding | None:
    """Symptom: the actor's entropy coefficient is zero, with a policy over choices or a learned spread.

    Causes: an ablation, or a schedule that ends at zero.
    Try: the published coefficient (3e-4 for DreamerV3).
    """
    coefficient = case.knob("learning.entropy.coef")
    if case.family != "dreamer" or coefficient is None or float(coefficient) > 0:
        return None
    return Finding(
        "no_entropy",
        "warning",
        None,
        "the entropy coefficient is 0: nothing keeps the policy from settling on its first luck",
        "an ablation, or a schedule's end",
        "learning.entropy.coef=3e-4",
    )


def fast_actor(case: Case) -> Finding | None:
    """Symptom: the actor's learning rate is many times the world model's.

    Causes: a slip of a decimal. The policy then outruns the model that it is improved in.
    Try: equal learning rates, as published.
    """
    model, actor = case.knob("optimizer.lr"), case.knob("optimizer.actor_lr")
    if not model or not actor or float(actor) <= 5 * float(model):
        return None
    return Finding(
        "fast_actor",
        "warning",
        None,
        f"the actor learns at {float(actor):.3g}, the model at {float(model):.3g}",
        "a policy that outruns its model",
        "equal learning rates, as published",
        {"actor": float(actor), "model": float(model)},
    )
