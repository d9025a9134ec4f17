"""Rules on how a run scores: against chance, against its own past, against how it trains."""

from __future__ import annotations

import math

import numpy as np

from bellmark.health.case import Case, Finding, Values, onset, running_median, updates_at
from bellmark.records import Curve

DROP_WARNING, DROP_CRITICAL = 0.3, 0.5  # share of the way from chance to the peak that was lost
CHECKS = 2
LASTING = 5  # evaluations: many agents try one action alone before they learn
WARM_UP = 500  # updates, where they are counted: before, no score is worth a word
FALLEN = 3  # evaluations in a row, for a fall to be more than a bad day
ONE_PERCENT = 2.326  # standard errors, one-sided
CLOSE = 0.02  # relative distance at which a score is that of one constant action
GAP = 0.2  # of training and evaluation, as a share of the way from chance to the peak
FLAT_EVALUATIONS = 8


def worse_than_random(case: Case) -> Finding | None:
    """Symptom: evaluations are below those of uniformly random actions; critical when five in a row are.

    Causes: the policy has collapsed onto one action (then the finding names it); the sign of a loss or of a reward is
    wrong; actions reach the environment in another order or scale than the policy means.
    Try: the probe environments (`bellmark probe RUN`); a smaller learning rate of the actor; more entropy.
    """
    scores, spread = case.curve("eval/return"), case.curve("eval/return_std")
    random, random_std = case.first("baseline/random_return"), case.first("baseline/random_std")
    episodes = case.first("eval/episodes")
    if len(scores.value) < CHECKS + 1 or len(spread.value) != len(scores.value):
        return None
    error = np.sqrt(spread.value**2 / episodes + random_std**2 / case.first("baseline/random_episodes"))
    low = (random - scores.value) / np.maximum(error, 1e-12) > ONE_PERCENT
    low[0] = False  # nothing has been learned at step 0
    low &= updates_at(case, scores.step) >= WARM_UP
    began = onset(low, CHECKS)
    if began is None or not low[-1]:
        return None
    held = len(low) - int(np.flatnonzero(~low)[-1]) - 1  # evaluations in a row, up to the last
    constant = _constant_action(case, float(scores.value[began:][low[began:]].mean()))
    what = f"; that is the score of always choosing action {constant}" if constant else ""
    value = float(scores.value[-1])
    return Finding(
        "worse_than_random",
        "critical" if held >= LASTING else "warning",
        int(scores.step[began]),
        f"evaluations score {value:.4g}, random actions {random:.4g}{what}",
        f"the policy has collapsed onto action {constant}" if constant else "the policy avoids what is rewarded",
        "bellmark probe RUN; then a smaller learning rate of the actor, or more entropy",
        {"eval/return": value, "baseline/random_return": random},
        ("eval/return",),
    )


def _constant_action(case: Case, score: float) -> str:
    """The action whose constant choice scores the same, if one does."""
    prefix = "baseline/constant_"
    for name in case.curves:
        if name.startswith(prefix) and abs(score - case.first(name)) <= CLOSE * max(abs(score), 1e-9):
            return name.removeprefix(prefix)
    return ""


def peak_then_collapse(case: Case) -> Finding | None:
    """Symptom: evaluations were good and have fallen back by a large part; critical after three in a row.

    Causes: an actor or critic that learns faster than its data renews; a critic that lags behind the policy; a world
    model that no longer fits what the policy visits; entropy that ran out.
    Try: keep the best checkpoint (it is kept); a smaller learning rate; more updates of the critic per step; look at
    the rules that fired before this one, they name the cause.
    """
    scores, spread = case.curve("eval/return"), case.curve("eval/return_std")
    if len(scores.value) < 4 or len(spread.value) != len(scores.value):
        return None
    chance = case.first("baseline/random_return")
    chance = chance if np.isfinite(chance) else float(scores.value[0])
    peak = np.maximum.accumulate(running_median(scores.value, 3))
    recent = _mean_of_last(scores.value, 2)
    episodes = case.first("eval/episodes")
    climbed = peak - chance > 3 * np.maximum(spread.value / np.sqrt(episodes), 1e-12)
    drop = np.where(climbed, (peak - recent) / np.maximum(peak - chance, 1e-12), 0.0)
    certain = peak - recent > ONE_PERCENT * math.sqrt(2) * spread.value / np.sqrt(episodes)
    began = onset((drop > DROP_WARNING) & certain, CHECKS)
    if began is None or drop[-1] <= DROP_WARNING:
        return None
    return Finding(
        "peak_then_collapse",
        "critical" if len(drop) >= FALLEN and (drop[-FALLEN:] > DROP_CRITICAL).all() else "warning",
        int(scores.step[began]),
        f"evaluations fell from {peak[-1]:.4g} to {recent[-1]:.4g}: {drop[-1]:.0%} of what had been learned",
        "updates that the data does not support any more; findings before this one say more",
        "bellmark evaluate RUN (the best checkpoint); a smaller learning rate",
        {"drop": float(drop[-1]), "peak": float(peak[-1]), "recent": float(recent[-1])},
        ("eval/return", "train/return"),
    )


def _mean_of_last(values: Values, count: int) -> Values:
    return np.array([values[max(0, i - count + 1) : i + 1].mean() for i in range(len(values))])


def nothing_learned(case: Case) -> Finding | None:
    """Symptom: after half of the run, evaluations are not better than random actions or than at the start.

    Causes: a reward that is never met (look at `train/return`: is it ever above zero?); a learning rate of zero or far
    too large; a module that is frozen by mistake; an exploration that never leaves the start.
    Try: the probe environments (`bellmark probe RUN`); an easier task of the same suite.
    """
    scores, spread = case.curve("eval/return"), case.curve("eval/return_std")
    total = float(case.knob("steps", 0) or 0)
    if len(scores.value) < FLAT_EVALUATIONS or len(spread.value) != len(scores.value) or scores.step[-1] < total / 2:
        return None
    random = case.first("baseline/random_return")
    chance = max(float(scores.value[0]), random if np.isfinite(random) else -np.inf)
    error = np.sqrt(2 * (spread.value**2).mean() / case.first("eval/episodes"))
    best = float(running_median(scores.value, 3)[2:].max())
    if best - chance > ONE_PERCENT * error:
        return None
    return Finding(
        "nothing_learned",
        "warning",
        None,
        f"the best of {len(scores.value)} evaluations, {best:.4g}, is no better than the start or chance, {chance:.4g}",
        "no reward that the agent can find, or a loss that does not reach the policy",
        "bellmark probe RUN; an easier task of the same suite",
        {"best": best, "chance": chance},
        ("eval/return", "train/return"),
    )


def train_eval_gap(case: Case) -> Finding | None:
    """Symptom: the policy scores otherwise in training episodes than in evaluations, for long.

    A warning where evaluations are the worse ones: what training shows is not there when it is judged. Training below
    evaluations is what action noise and a policy that improves look like: worth knowing, no more.

    Causes: action noise of training (compare `eval/return_sampled`); an optimism that is on in one mode only; start
    states that differ; an evaluation that restarts early finishers; observation statistics that are not shared.
    Try: judge both modes (`bellmark evaluate RUN --sampled`); switch the training-only term off in one run.
    """
    scores, train, spread = case.curve("eval/return"), case.curve("train/return"), case.curve("eval/return_std")
    if len(scores.value) < 5 or len(train.value) < 5:
        return None
    random = case.first("baseline/random_return")
    chance = random if np.isfinite(random) else float(scores.value[0])
    judged = running_median(scores.value, 3)
    beside = np.interp(scores.step, train.step, running_median(train.value, 5))
    way = max(float(judged.max()), float(beside.max())) - chance
    noise = _noise_of_both(case, scores, spread, train)
    if way <= max(0.0, 2 * np.nan_to_num(case.first("baseline/random_std"))):
        return None  # nothing has been learned in either mode
    gap = (beside - judged) / way
    clear = (np.abs(gap) > GAP) & (np.abs(beside - judged) > ONE_PERCENT * noise)
    began = onset(clear, 3)
    if began is None or not clear[-1]:
        return None
    sampled = case.curve("eval/return_sampled")
    as_noisy = len(sampled.value) > 0 and abs(sampled.value[-1] - beside[-1]) < abs(judged[-1] - beside[-1]) / 2
    return Finding(
        "train_eval_gap",
        "warning" if gap[-1] > 0 and not as_noisy else "info",
        int(scores.step[began]),
        f"training episodes score {beside[-1]:.4g}, evaluations {judged[-1]:.4g}: {abs(gap[-1]):.0%} of the way",
        "action noise: sampled evaluations score as training does" if as_noisy else "a difference of the two modes",
        "bellmark evaluate RUN --sampled",
        {"train": float(beside[-1]), "eval": float(judged[-1])},
        ("eval/return", "train/return", "eval/return_sampled"),
    )


def _noise_of_both(case: Case, scores: Curve, spread: Curve, train: Curve) -> Values:
    """Standard error of the difference between an evaluation and the last five rows of training (Welch)."""
    recent = [train.value[max(0, i - 4) : i + 1] for i in range(len(train.value))]
    of_train = np.interp(scores.step, train.step, [rows.var() / len(rows) for rows in recent])
    if len(spread.value) != len(scores.value):
        return np.sqrt(of_train)
    noise: Values = np.sqrt(of_train + spread.value**2 / case.first("eval/episodes"))
    return noise
