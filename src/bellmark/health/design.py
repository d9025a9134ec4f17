"""Rules on a configuration's schedule and on a sweep's design: what cannot come about, and what cannot be seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bellmark.health.case import Case, Finding
from bellmark.health.setup import BOUNDS

FEW_UPDATES = 0.5  # of a replay: a batch larger than this share of it
TYPICAL_SPREAD = 0.25  # of a bounded return, between one policy's episodes; measured: 0.1 to 0.4


def long_sequences(case: Case) -> Finding | None:
    """Symptom: slices are longer than any episode of the task.

    Causes: a slice length taken from another task. Whole slices are then never found; others always cross a reset.
    Try: a shorter slice.
    """
    bound = BOUNDS.get(str(case.knob("task")))
    length = {"dreamer": case.knob("length"), "tdmpc": case.knob("slices.horizon")}.get(case.family)
    if bound is None or length is None or float(length) <= bound(case)[0]:
        return None
    never = case.family == "tdmpc"
    return Finding(
        "long_sequences",
        "critical" if never else "warning",
        None,
        f"slices of {length} rows, episodes of at most {bound(case)[0]:.0f} steps",
        "no slice lies inside an episode: nothing can be drawn" if never else "every slice crosses a reset",
        "slices.horizon=3" if never else "a smaller length",
        {"length": float(length), "episode": bound(case)[0]},
    )


def unmet_ratio(case: Case) -> Finding | None:
    """Symptom: the updates that the configuration asks for cannot be paid as asked.

    Causes: updates owed before a row can be drawn (`collect.insert_every=-1` gives rows only when an episode has
    ended); a replay that is smaller than a few batches.
    Try: more random steps, `collect.insert_every=1`, a larger `collect.capacity`.
    """
    bound, random = BOUNDS.get(str(case.knob("task"))), case.knob("collect.random_steps")
    capacity, steps = case.knob("collect.capacity"), float(case.knob("steps", 0) or 0)
    rows = {
        "dreamer": float(case.knob("batch", 0) or 0) * float(case.knob("length", 0) or 0),
        "tdmpc": float(case.knob("slices.size", 0) or 0) * (float(case.knob("slices.horizon", 0) or 0) + 1),
    }.get(case.family, 0.0)
    reason, advice = "", ""
    if capacity is not None and rows and rows > FEW_UPDATES * float(capacity):
        reason = f"one batch is {rows:.0f} rows, replay holds {float(capacity):.0f}: rows are learned over and over"
        advice = "a larger collect.capacity, or smaller batches"
    late = float(case.knob("collect.envs", 1) or 1) * (bound(case)[0] if bound else 0.0)
    if not reason and case.knob("collect.insert_every") == -1 and random is not None and 0 <= float(random) < late:
        reason = f"updates are owed from step {random} on, the first episode may be over at step {late:.0f} only"
        advice = f"collect.random_steps={late:.0f}, or collect.insert_every=1"
    if not reason and bound and case.knob("collect.insert_every") == -1 and steps and steps < 2 * late:
        reason, advice = f"{steps:.0f} steps are hardly {steps / late:.1f} episodes per world", "collect.insert_every=1"
    if not reason:
        return None
    return Finding("unmet_ratio", "warning", None, reason, "a schedule of another task or size", advice)


def never_learns(case: Case) -> Finding | None:
    """Symptom: a part with an optimiser is held still for the whole run.

    Causes: a warm-up that is longer than the run; a mode in which actor and critic do not learn.
    Try: a shorter warm-up; if it is meant (a bootstrapped world model), nothing.
    """
    steps = float(case.knob("steps", 0) or 0)
    batch, length = float(case.knob("batch", 0) or 0), float(case.knob("length", 0) or 0)
    iteration = float(case.knob("collect.envs", 0) or 0) * float(case.knob("collect.steps", 0) or 0)
    warmup = float(case.knob("critic.warmup_iterations", 0) or 0)
    if case.family == "finetune" and iteration and warmup * iteration >= steps > 0:
        what, where = (
            f"the policy waits for {warmup:.0f} iterations of the critic",
            f"{steps / iteration:.0f} iterations",
        )
        return _still("critic.warmup_iterations", what, where)
    gate, ratio = float(case.knob("gating.warmup", 0) or 0), case.knob("train_ratio")
    if case.family == "dreamer" and gate and ratio and batch * length:
        updates = (steps - float(case.knob("collect.random_steps", 0) or 0)) * float(ratio) / (batch * length)
        if gate >= updates:
            return _still("gating.warmup", f"actor and critic wait for {gate:.0f} updates", f"{updates:.0f} updates")
    return None


def _still(key: str, what: str, run: str) -> Finding:
    return Finding(
        "never_learns",
        "critical",
        None,
        f"{what}, the run has {run}",
        "a warm-up longer than the run",
        f"a smaller {key}",
    )


def _set(case: Case, key: str) -> bool:
    return bool(case.knob(key))


# Per family: (the knob, whether it is set to something that nobody reads, why).
IDLE: dict[str, tuple[tuple[str, Callable[[Case], bool], str], ...]] = {
    "dreamer": (
        (
            "learning.critic.slow_rate",
            lambda c: c.knob("learning.critic.slow_weight") == 0
            and c.knob("learning.critic.target") == "online"
            and c.knob("learning.critic.slow_rate") != 0.02,
            "nothing reads the slow critic (slow_weight=0, target=online)",
        ),
        (
            "optimizer.actor_lr",
            lambda c: c.knob("start") == "bootstrap" and _set(c, "optimizer.actor_lr"),
            "start=bootstrap: the actor does not learn",
        ),
        (
            "optimizer.lr",
            lambda c: c.knob("start.world") == "frozen"
            and _set(c, "optimizer.actor_lr")
            and _set(c, "optimizer.critic_lr"),
            "start.world=frozen, and actor and critic have rates of their own: the model's optimiser rests",
        ),
    ),
    "tdmpc": (
        (
            "planner.optimism_train",
            lambda c: c.knob("model.critic.heads") == 1 and c.knob("model.reward.heads") == 1
            and _set(c, "planner.optimism_train"),
            "one value member and one reward head never disagree",
        ),
        (
            "slices.hot_rows",
            lambda c: c.knob("slices.hot") == 0 and c.knob("slices.hot_rows") != 10_000,
            "slices.hot=0: no slice is drawn from the newest rows",
        ),
        (
            "planner.disagreement",
            lambda c: c.knob("model.dynamics.heads") == 1 and _set(c, "planner.disagreement"),
            "one dynamics head never disagrees with itself",
        ),
    ),
    "finetune": (
        (
            "update.value_coef",
            lambda c: c.knob("critic") == "none" and c.knob("update.value_coef") not in (None, 0.5),
            "critic=none: there is no critic's loss",
        ),
    ),
}  # fmt: skip


def idle_knob(case: Case) -> Finding | None:
    """Symptom: a knob is set that nothing reads in this combination.

    Causes: an option beside it was changed. A sweep over it compares a run with itself.
    Try: leave it out, or choose the option that reads it.
    """
    for key, unread, why in IDLE.get(case.family, ()):
        if unread(case):
            return Finding("idle_knob", "warning", None, f"{key}={case.knob(key)}: {why}", why, f"leave {key} out")
    return None


@dataclass(frozen=True)
class Design:
    """What a sweep means to see, and with what."""

    metric: str
    effect: float  # expect.minimum_effect, in the metric's own units
    last: int  # evaluations that one run's number is the mean of
    alpha: float
    seeds: int  # per arm
    cases: Sequence[Case]  # every cell's configuration
    swept: Sequence[str] = ()


def lint_design(design: Design) -> list[Finding]:
    """What a sweep cannot see, from its declared effect, episodes and seeds."""
    return [finding for finding in (_power(design), _undeclared(design)) if finding is not None]


def _undeclared(design: Design) -> Finding | None:
    if design.effect > 0:
        return None
    return Finding(
        "no_effect_declared",
        "info",
        None,
        f"expect.minimum_effect is 0: any difference of {design.metric} counts, however small",
        "no smallest difference worth having was written down",
        "expect.minimum_effect in units of the metric",
    )


def _power(design: Design) -> Finding | None:
    """Whether the noise of evaluations alone, before any spread between seeds, hides the effect."""
    from bellmark.stats.power import seeds_per_arm

    deviations = [d for case in design.cases if (d := _noise(design, case)) is not None]
    if not deviations or design.effect <= 0:
        return None
    worst = max(deviations)
    needed = seeds_per_arm(design.effect / worst, alpha=design.alpha, sides=1)
    if needed <= design.seeds:
        return None
    return Finding(
        "short_evaluation",
        "warning",
        None,
        f"{design.seeds} seeds cannot show {design.effect:g} of {design.metric}: evaluations alone spread a run "
        f"by {worst:.2g}, which takes {needed} seeds",
        "too few episodes per evaluation for the effect that is asked for",
        f"evaluation.episodes times {math.ceil(needed / design.seeds)}, more evaluations in expect.last, or more seeds",
        {"needed": float(needed), "seeds": float(design.seeds), "noise": worst},
    )


def _noise(design: Design, case: Case) -> float | None:
    """Deviation of one run's number by finite episodes alone; None where the metric's spread is not known."""
    episodes = float(case.knob("evaluation.episodes", 0) or 0) * design.last
    if not episodes:
        return None
    if "success" in design.metric:
        return 0.5 / math.sqrt(episodes)  # at a rate of one half, where it is largest
    bound = BOUNDS.get(str(case.knob("task")))
    if bound is None or "return" not in design.metric:
        return None
    steps, reward = bound(case)
    return TYPICAL_SPREAD * steps * reward / math.sqrt(episodes)
