"""Rules on a configuration alone: what can be known to be wrong before the first step (`bellmark lint`)."""

from __future__ import annotations

import math
from collections.abc import Callable

from bellmark.health.case import Case, Finding

FEW_EPISODES = 10
FAIL = ("cartpole", "h1")  # tasks whose own end is a failure


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
    limit, bound = case.knob("model.bin_limit"), BOUNDS.get(str(case.knob("task")))
    if limit is None or bound is None:
        return None
    steps, reward = bound(case)
    top, gamma = math.expm1(float(limit)), _gamma(case, steps)
    if gamma is None:
        return None
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


def _gamma(case: Case, steps: float) -> float | None:
    """The discount per agent step of a configuration that learns values as distributions over bins."""
    horizon, fixed = case.knob("learning.discount.horizon"), case.knob("discount.gamma")
    if horizon is not None:
        return 1 - 1 / float(horizon)
    if fixed is not None:
        return float(fixed)
    low, high = case.knob("discount.low"), case.knob("discount.high")
    if low is None or high is None:
        return None
    return min(max(1 - 5 / steps, float(low)), float(high))  # TD-MPC2's heuristic


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

    Causes: with n episodes a success rate near one half is known to within 1 / sqrt(n), a mean return to within
    2 / sqrt(n) standard deviations of an episode's.
    Try: more episodes, or fewer evaluations with more episodes each.
    """
    episodes = case.knob("evaluation.episodes")
    if episodes is None or episodes >= FEW_EPISODES:
        return None
    error = 1 / math.sqrt(episodes)
    known = f"a success rate only to within {error:.0%}"
    if case.family != "finetune":
        known = f"a mean return only to within {2 * error:.2g} standard deviations of an episode's"
    return Finding(
        "short_evaluation",
        "info",
        None,
        f"{episodes} episodes per evaluation know {known}",
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


def strong_posterior_pull(case: Case) -> Finding | None:
    """Symptom: the posterior is drawn to the prior about as strongly as the prior to the posterior.

    Causes: `loss.rep` near `loss.dyn`. The latents then say what is easy to predict instead of what was seen.
    Try: 0.1 against 1, as published.
    """
    rep, dyn = case.knob("loss.rep"), case.knob("loss.dyn")
    if case.family != "dreamer" or rep is None or dyn is None or float(rep) <= 0.5 * float(dyn):
        return None
    return Finding(
        "strong_posterior_pull",
        "warning",
        None,
        f"loss.rep={float(rep):g} beside loss.dyn={float(dyn):g}: the posterior gives up what the prior cannot foresee",
        "a weight of the posterior's divergence that is as large as the prior's",
        "loss.rep=0.1",
        {"rep": float(rep), "dyn": float(dyn)},
        ("model/kl_dyn", "loss/rec"),
    )


def no_unimix(case: Case) -> Finding | None:
    """Symptom: the latents' distributions have no share of the uniform one.

    Causes: an older implementation. A probability may reach zero, and the divergence becomes infinite.
    Try: one percent, as published.
    """
    share = case.knob("model.unimix")
    if case.family != "dreamer" or share is None or float(share) > 0:
        return None
    return Finding(
        "no_unimix",
        "warning",
        None,
        "model.unimix=0: nothing bounds the divergence of posterior and prior",
        "an older implementation's latents",
        "model.unimix=0.01",
        {},
        ("model/kl_dyn",),
    )


def foreign_critic(case: Case) -> Finding | None:
    """Symptom: the critic begins as another policy's than the one that is to be improved.

    Causes: `critic.initial=pretrained` on an expert's episodes. Its values are too high where the weaker policy goes,
    so that nearly all its actions count as worse than expected.
    Try: a fresh critic, or one of the start checkpoint (`critic.initial=stored`).
    """
    expert, start = case.knob("critic.initial.expert"), case.knob("start.checkpoint")
    if case.knob("critic.initial") != "pretrained" or expert is None or expert == start:
        return None
    return Finding(
        "foreign_critic",
        "warning",
        None,
        f"the critic is pretrained on {expert}, the policy starts from {start or 'nothing'}",
        "values of states that this policy does not visit, under actions it does not take",
        "critic.initial=fresh, or critic.initial=stored",
        {},
        ("advantage/positive", "value/explained_variance"),
    )


def shared_bootstrap(case: Case) -> Finding | None:
    """Symptom: the planner reads the value members' disagreement, while all of them learn from one common target.

    Causes: a global bootstrap: where there is data, members become one function, and optimism reads noise.
    Try: a local bootstrap (`target.heads.values=local`, or `target.values=local`).
    """
    heads = float(case.knob("model.critic.heads", 0) or 0)
    reduction = case.knob("target.heads.values", case.knob("target.values"))
    optimism = float(case.knob("planner.optimism_train", 0) or 0)
    if case.family != "tdmpc" or heads == 1 or optimism == 0 or reduction in (None, "local"):
        return None
    key = "target.heads.values" if case.knob("target.heads.values") else "target.values"
    return Finding(
        "shared_bootstrap",
        "warning",
        None,
        f"planner.optimism_train={optimism:g} reads a disagreement that {key}={reduction} removes",
        "all members bootstrap from one common value",
        f"{key}=local",
        {"optimism": optimism},
        ("value/std_heads", "value/diversity"),
    )


def optimistic_evaluation(case: Case) -> Finding | None:
    """Symptom: the planner is judged with the optimism that is meant for exploring.

    Causes: `planner.optimism_eval` above zero. Evaluations then score exploration.
    Try: zero, or a negative number (the user's -1).
    """
    optimism = float(case.knob("planner.optimism_eval", 0) or 0)
    if case.family != "tdmpc" or optimism <= 0 or case.knob("planner.eval_heads") == "first":
        return None
    return Finding(
        "optimistic_evaluation",
        "warning",
        None,
        f"planner.optimism_eval={optimism:g}: what is judged explores",
        "the optimism of collection is on in evaluations",
        "planner.optimism_eval=0",
        {"optimism": optimism},
        ("eval/return", "train/return"),
    )


def bootstrap_past_ends(case: Case) -> Finding | None:
    """Symptom: values go on after the task's own end, in a task that ends by failing.

    Causes: `advantage.bootstrap=always`, which suits tasks that end by success. The value of a state that no row begins
    at is never learned: failing looks worth as much as going on, and values rise beyond what any policy can earn.
    Try: `advantage.bootstrap=truncation`.
    """
    if case.knob("advantage.bootstrap") != "always" or case.knob("task") not in FAIL:
        return None
    return Finding(
        "bootstrap_past_ends",
        "warning",
        None,
        f"advantage.bootstrap=always: what follows a failure in {case.knob('task')} counts as if it went on",
        "a setting for tasks that end by success",
        "advantage.bootstrap=truncation",
        {},
        ("value/start", "eval/discounted"),
    )
