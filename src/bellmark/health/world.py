"""Rules on what instruments measure of a world model beside evaluations, and of what it takes for ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bellmark.health.case import Case, Finding, Values, onset, running_median, updates_at
from bellmark.records import Curve

ROWS = 5
WORSE, WORSE_AFTER = 1.5, 500  # open-loop error relative to "nothing changes", updates; kept CartPole runs: 0.3 to 1.3
TIMES_TOO_OFTEN, MORE = 2.0, 0.01  # ends told to the model against ends of episodes, per row
NO_GRADIENT = 1e-9
LEARNED = 100  # updates before a model is judged by what it predicts
# Share explained, a median, after 1,000 updates: runs that do well fall to -0.86, those of weight 1 to -1.3 and below.
UNSEEN = -0.9
EXPLAINED_AFTER, EXPLAINED_CHECKS = 1000, 5  # updates; evaluations whose median counts
ENOUGH = 30.0  # what helped on CartPole (docs/log/2026-11-21-cartpole-is-solved-but-not-kept.md)
FORESEEN = 0.7  # of the order of rows that end and rows that do not; 1/2 is chance


def dead_free_bits(case: Case) -> Finding | None:
    """Symptom: the divergence lies below its free nats in every state, so that nothing teaches the prior.

    Causes: the hard maximum is taken over a *mean* of the latents' divergences, which never reaches a free nat; free
    bits too large for few latents.
    Try: `learning.divergence.over_latents=sum`; fewer free nats.
    """
    loss, kl = case.curve("loss/dyn"), case.curve("model/kl_dyn")
    nats = case.knob("learning.divergence.free.nats")
    if nats is None or case.knob("learning.divergence.free") != "hard" or len(loss.value) < 2 * ROWS:
        return None
    clipped = np.abs(loss.value - float(nats)) <= 1e-6 * max(1.0, float(nats))
    began = onset(clipped, ROWS)
    if began is None or not clipped[-ROWS:].all():
        return None
    over = case.knob("learning.divergence.over_latents", "sum")
    return Finding(
        "dead_free_bits",
        "critical" if over == "mean" else "warning",
        int(loss.step[began]),
        f"the prior's loss is exactly its {float(nats):g} free nats (divergence {kl.value[-1]:.2g}): no gradient",
        "the maximum over a mean of latents never reaches a free nat" if over == "mean" else "free bits too large",
        "learning.divergence.over_latents=sum" if over == "mean" else "learning.divergence.free.nats=0.3",
        {"kl": float(kl.value[-1]), "free": float(nats)},
        ("loss/dyn", "model/kl_dyn"),
    )


def no_memory_gradient(case: Case) -> Finding | None:
    """Symptom: gradients of the recurrent state end one step back.

    Causes: the state is detached between steps: the model cannot learn to remember.
    Try: look for a `detach` in the recurrent step; `tests/agents/dreamer/test_users_bugs.py` shows how to test it.
    """
    gradient = case.curve("model/memory_gradient")
    if len(gradient.value) < 2:
        return None
    began = onset(gradient.value < NO_GRADIENT, 2)
    if began is None or gradient.value[-1] >= NO_GRADIENT:
        return None
    return Finding(
        "no_memory_gradient",
        "critical",
        int(gradient.step[began]),
        "no gradient reaches observations two steps back or more",
        "the recurrent state is detached between steps",
        "look for a detach in the recurrent step",
        {"share": float(gradient.value[-1])},
        ("model/memory_gradient", "model/open_loop_error"),
    )


def false_ends(case: Case) -> Finding | None:
    """Symptom: rows are learned from as ends of the task far more often than episodes end.

    Causes: rows that fill up short episodes are learned from as ends of the task; an index that is off by a row.
    Try: look at `terminated` in a drawn batch; the probe `bellmark probe RUN --only terminal`.
    """
    told, lengths = case.curve("replay/ends"), case.curve("train/length")
    if len(told.value) < 2 * ROWS or len(lengths.value) < 2:
        return None
    true = _replayed_ends(lengths, told.step)
    often = told.value > TIMES_TOO_OFTEN * true + MORE
    began = onset(often, ROWS)
    if began is None or not often[-1]:
        return None
    return Finding(
        "false_ends",
        "critical",
        int(told.step[began]),
        f"{told.value[-1]:.2g} of the rows learned from count as ends, {true[-1]:.2g} of those played end an episode",
        "rows that are no ends are learned as ends, padding for instance",
        "look at `terminated` in a drawn batch; bellmark probe RUN --only terminal",
        {"told": float(told.value[-1]), "true": float(true[-1])},
        ("replay/ends", "train/length"),
    )


def _replayed_ends(lengths: Curve, steps: NDArray[np.int64]) -> Values:
    """Ends per row of replay: of all episodes so far, or of the newest where these are shorter."""
    now = 1 / np.maximum(np.interp(steps, lengths.step, lengths.value), 1)
    taken = np.diff(steps, prepend=0)
    return np.maximum(now, np.cumsum(now * taken) / np.maximum(np.cumsum(taken), 1))


def open_loop_drift(case: Case) -> Finding | None:
    """Symptom: on its own, the model foresees evaluation episodes worse than "nothing changes" would, or no ends.

    Causes: too few model updates; a prior that is not trained (free bits, a detached state); actions in another order.
    Try: `bellmark evaluate RUN --dreams`; more updates of the model per step.
    """
    error, ends = case.curve("model/open_loop_error"), case.curve("model/open_loop_ends")
    wrong, blind = error.value > WORSE, ends.value < FORESEEN
    for curve, bad, after, what in (
        (error, wrong, WORSE_AFTER, "open-loop predictions are {:.2g} times as wrong as predicting no change"),
        (ends, blind, LEARNED, "dreams tell rows that end from others with an AUC of {:.2g} (chance: 0.5)"),
    ):
        began = onset(bad & (updates_at(case, curve.step) >= after), 3)
        if len(bad) < 4 or began is None or not bad[-1]:
            continue
        return Finding(
            "open_loop_drift",
            "warning",
            int(curve.step[began]),
            what.format(curve.value[-1]),
            "the model does not predict what it is dreamed with",
            "bellmark evaluate RUN --dreams; more model updates per step",
            {"now": float(curve.value[-1])},
            ("model/open_loop_error", "model/open_loop_ends"),
        )
    return None


def heavier(weight: float) -> float:
    """The weight of the reconstruction to try after one that was too small."""
    return max(ENOUGH, 3 * weight)


def unseen_observation(case: Case) -> Finding | None:
    """Symptom: a component of the observation is redrawn far worse than by its mean: the world model does not see it.

    Causes: reconstruction is a squared error in the observation's own units, so that a component of small numbers
    (positions of a few tenths, angles of hundredths) is cheaper to leave out than to encode. Values then cannot tell
    states apart that differ in it, and a policy that was good drifts away along it.
    Try: a larger weight of the reconstruction (`loss.rec=30`), or observations scaled to size 1.
    """
    share, component = case.curve("model/explained_least"), case.curve("model/explained_least_index")
    late = updates_at(case, share.step) >= EXPLAINED_AFTER
    values, steps = share.value[late], share.step[late]
    if len(values) < EXPLAINED_CHECKS:
        return None
    middle, at = running_median(values, EXPLAINED_CHECKS)[EXPLAINED_CHECKS - 1 :], steps[EXPLAINED_CHECKS - 1 :]
    began = onset(middle < UNSEEN, 1)
    if began is None or middle[-1] >= UNSEEN:
        return None
    recent = component.value[-EXPLAINED_CHECKS:].astype(int)
    which = int(np.bincount(recent).argmax()) if len(recent) else None
    weight = float(case.knob("loss.rec", 1) or 0)
    return Finding(
        "unseen_observation",
        "warning",
        int(at[began]),
        f"{'a component' if which is None else f'component {which}'} of the observation is redrawn with "
        f"{1 - middle[-1]:.2g} times the squared error of always saying its mean",
        f"the reconstruction's weight, loss.rec={weight:g}, is too small for numbers of this size",
        f"loss.rec={heavier(weight):g}, or observations scaled to size 1",
        {"explained": float(middle[-1])},
        ("model/explained_least", "loss/rec"),
    )
