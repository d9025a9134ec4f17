"""Rules on the policy, on advantages, and on the optimiser."""

from __future__ import annotations

import math

import numpy as np

from bellmark.health.case import Case, Finding, onset, robust_z, running_median, updates_at

ENTROPY_GONE = 0.05  # of its value at the start, for choices
SWINGS, SWING_SIZE, SWING_ROWS = 0.85, 0.5, 30
SPIKE = 6.0
FEW_GOOD, MANY_GOOD = 0.3, 0.7
CHURN, CHURN_CHECKS, CHURN_AFTER = 0.05, 5, 500  # nats per 100 updates; evaluations; updates
GOOD = 0.8  # of the way from chance to the peak
SPREAD, RANKS = (
    0.03,
    0.3,
)  # of learned advantages; of Q with returns: IQL that helps has 0.39 to 0.49, sparse at most 0.28
LEANING = 0.25  # of the mean advantage in its deviations


def not_finite(case: Case) -> Finding | None:
    """Symptom: a metric is no number any more, or infinite.

    Causes: a learning rate too large; a division by a scale that became zero; an observation that was not finite.
    Try: the newest checkpoint before that step; a smaller learning rate; gradient clipping.
    """
    first: tuple[int, str] | None = None
    for name, curve in case.curves.items():
        bad = ~np.isfinite(curve.value)
        if name.startswith(("loss/", "grad/", "value/", "policy/", "model/", "advantage/", "eval/")) and bad.any():
            step = int(curve.step[bad.argmax()])
            first = min(first or (step, name), (step, name))
    if first is None:
        return None
    return Finding(
        "not_finite",
        "critical",
        first[0],
        f"{first[1]} is not finite from step {first[0]:,}",
        "the optimisation has diverged",
        "a smaller learning rate; stronger gradient clipping",
        {"step": float(first[0])},
        (first[1],),
    )


def entropy_collapse(case: Case) -> Finding | None:
    """Symptom: a policy over choices has lost nearly all its entropy while it still scores badly.

    Causes: an entropy coefficient of zero or far too small; advantages scaled too large; too many updates on few data.
    Try: a larger entropy coefficient; normalised advantages; fewer updates per step.
    """
    entropy, scores = case.curve("policy/entropy"), case.curve("eval/return")
    if len(entropy.value) < 5 or len(scores.value) < 3 or entropy.value[0] <= 0 or case.family != "dreamer":
        return None
    random, spread = case.first("baseline/random_return"), case.first("baseline/random_std")
    chance = random + 2 * spread if np.isfinite(random + spread) else float(scores.value[0])
    gone = entropy.value < ENTROPY_GONE * entropy.value[0]
    beside = np.interp(entropy.step, scores.step, np.maximum.accumulate(scores.value))
    began = onset(gone & (beside <= chance), 3)
    if began is None:
        return None
    return Finding(
        "entropy_collapse",
        "critical",
        int(entropy.step[began]),
        f"entropy fell from {entropy.value[0]:.3g} to {entropy.value[-1]:.2g} nats before anything was learned",
        "nothing holds the policy open",
        "a larger entropy coefficient",
        {"entropy": float(entropy.value[-1])},
        ("policy/entropy", "eval/return"),
    )


def log_std_oscillation(case: Case) -> Finding | None:
    """Symptom: the policy's spread swings up and down by half a nat and more.

    More than 85% of the rows must turn: rows that know nothing of each other turn two times in three.

    Causes: an entropy term and an improvement term that pull in turns, with too large a policy learning rate; a scale
    of the policy loss that follows its own noise.
    Try: a smaller policy learning rate; a slower scale; a narrower range of log_std.
    """
    spread = case.curve("policy/log_std")
    if len(spread.value) < SWING_ROWS:
        return None
    values = spread.value[-SWING_ROWS:]
    line = np.polyval(np.polyfit(np.arange(SWING_ROWS), values, 1), np.arange(SWING_ROWS))
    level = values - line
    moves = np.diff(level)
    turns = float(np.mean(np.sign(moves[1:]) != np.sign(moves[:-1])))
    size = float(np.percentile(level, 95) - np.percentile(level, 5))
    if turns <= SWINGS or size <= SWING_SIZE:
        return None
    return Finding(
        "log_std_oscillation",
        "warning",
        int(spread.step[-SWING_ROWS]),
        f"log_std turns at {turns:.0%} of its last {SWING_ROWS} rows and spans {size:.2f} nats",
        "entropy and improvement pull in turns",
        "a smaller policy learning rate",
        {"turns": turns, "size": size},
        ("policy/log_std",),
    )


def loss_spike(case: Case) -> Finding | None:
    """Symptom: a model's loss jumps far out of its usual range, again and again.

    Causes: data of a kind not seen before (a fresh skill, an outlier episode); a learning rate at the edge of
    stability; a consistency target that moved.
    Try: gradient clipping; a smaller model learning rate; look at the episodes of those steps.
    """
    for name in ("loss/consistency", "loss/dyn", "loss/rec"):
        curve = case.curve(name)
        if len(curve.value) < 30 or not (curve.value > 0).all():
            continue
        logs = np.log(curve.value)
        usual = running_median(logs, 20)
        spread = 1.4826 * np.median(np.abs(logs[20:] - usual[20:]))
        z = (logs - usual) / max(float(spread), 0.02)
        spikes = np.flatnonzero(z[20:] > SPIKE) + 20
        if len(spikes) >= 3:
            return Finding(
                "loss_spike",
                "warning",
                int(curve.step[spikes[0]]),
                f"{name} jumped {len(spikes)} times, up to {np.exp((logs - usual)[spikes].max()):.1f} times its usual",
                "the model meets data that it cannot fit, or its step is too large",
                "stronger gradient clipping; a smaller model learning rate",
                {"spikes": float(len(spikes)), "z": float(z[spikes].max())},
                (name,),
            )
    return None


def actor_loss_rise(case: Case) -> Finding | None:
    """Symptom: the actor's loss has left its usual range while evaluations are still good.

    Causes: often the first sign of a collapse: what the policy is improved on no longer agrees with what it does.
    Try: watch the next evaluations; keep the checkpoint of now.
    """
    loss, scores = case.curve("loss/policy"), case.curve("eval/return")
    if len(loss.value) < 60 or len(scores.value) < 3:
        return None
    smooth = np.convolve(loss.value, np.ones(5) / 5, mode="valid")
    z = robust_z(smooth[-10:], smooth[-50:-10])
    good = scores.value[-1] >= 0.8 * running_median(scores.value, 3).max()
    if not (z > 4).all() or not good:
        return None
    return Finding(
        "actor_loss_rise",
        "warning",
        int(loss.step[-10]),
        f"the actor's loss rose to {smooth[-1]:.3g}, {z[-1]:.1f} spreads above its usual, evaluations still hold",
        "what the policy is improved on drifts away from what it does",
        "keep the present checkpoint (checkpoints.every); watch the next evaluations",
        {"z": float(z[-1])},
        ("loss/policy", "eval/return"),
    )


def one_sided_advantages(case: Case) -> Finding | None:
    """Symptom: nearly all advantages have one sign.

    The advantages of re-rollouts have mean zero but for noise, and one iteration is enough to see that they have not; a
    critic that is learning leans to one side for a while, and is given three. IQL is not asked: its V is an expectile
    of Q, above the mean by construction.

    Causes: the baseline is another policy's: re-rollouts that follow the optimal policy on a weaker policy's data
    value states higher than any of its actions; a critic pretrained on another policy's states.
    Try: `advantage.continuation=current`, or a fresh critic; normalised advantages hide it but do not cure it.
    """
    positive, mean = case.curve("advantage/positive"), case.curve("advantage/mean")
    spread = case.curve("advantage/std")
    rows = 1 if case.knob("advantage") == "branch" else 3
    if case.knob("critic") == "iql" or len(positive.value) < rows or len(spread.value) != len(mean.value):
        return None
    share = np.abs(mean.value) / np.maximum(spread.value, 1e-12)
    lopsided = ((positive.value < FEW_GOOD) | (positive.value > MANY_GOOD)) & (share > LEANING)
    began = onset(lopsided, rows)
    if began is None or not lopsided[-1]:
        return None
    low = positive.value[-1] < FEW_GOOD
    return Finding(
        "one_sided_advantages",
        "warning" if low else "info",
        int(positive.step[began]),
        f"{positive.value[-1]:.0%} of the actions count as better than expected; mean advantage {mean.value[-1]:.3g}",
        "the baseline belongs to another policy than the data" if low else "the critic lags behind its targets",
        "advantage.continuation=current, or critic.initial=fresh" if low else "more critic updates, gamma nearer to 0",
        {"positive": float(positive.value[-1]), "mean": float(mean.value[-1])},
        ("advantage/positive", "advantage/mean"),
    )


def weak_advantages(case: Case) -> Finding | None:
    """Symptom: learned advantages are far smaller than the returns they come from.

    Causes: under sparse reward a critic of actions has seen too few rewards to tell actions apart; the early stop of
    IQL on its own TD loss kept networks that have hardly propagated anything.
    Try: `critic.select=return_correlation`; a larger `critic.n`; re-rollouts (`advantage=branch`).
    """
    spread, correlation = case.curve("advantage/std"), case.curve("critic/return_correlation")
    if not len(correlation.value):
        return None
    step, rank, size = int(correlation.step[-1]), float(correlation.value[-1]), math.inf  # before the first advantages
    if len(spread.value):
        step, size = int(spread.step[-1]), float(spread.value[-1])
    if size >= SPREAD and rank >= RANKS:
        return None
    told = f"advantages spread by {size:.3g}; " if math.isfinite(size) else ""
    return Finding(
        "weak_advantages",
        "warning",
        step,
        f"{told}rank correlation of Q with returns is {rank:.2f}",
        "the critic cannot tell actions apart",
        "critic.select=return_correlation; critic.n=5; advantage=branch",
        {"correlation": rank, **({"std": size} if told else {})},
        ("advantage/std", "critic/return_correlation"),
    )


def update_cut_short(case: Case) -> Finding | None:
    """Symptom: the limit on the policy's move ends almost every update after a few of its gradient steps.

    Causes: `update.target_kl` is small for that many epochs: most of the passes that were asked for never happen.
    Try: fewer epochs, a smaller learning rate, or a larger limit.
    """
    taken = case.curve("update/gradient_steps")
    asked = float(case.knob("update.epochs", 0) or 0) * float(case.knob("update.minibatches", 0) or 0)
    if len(taken.value) < 3 or asked == 0:
        return None
    began = onset(taken.value < 0.25 * asked, 3)
    if began is None:
        return None
    return Finding(
        "update_cut_short",
        "warning",
        int(taken.step[began]),
        f"updates end after {np.median(taken.value):.0f} of {asked:.0f} gradient steps: the policy has moved target_kl",
        "the limit on the policy's move is tight for so many epochs",
        "fewer update.epochs, a smaller optimizer.lr, or a larger update.target_kl",
        {"taken": float(np.median(taken.value)), "asked": asked},
        ("update/gradient_steps", "policy/kl"),
    )


def policy_churn(case: Case) -> Finding | None:
    """Symptom: a policy that scores about as well as it ever did goes on changing how it chooses.

    Told as information, of choices alone. Five CartPole runs that kept 500 to the end moved by 0.01 to 0.04 nats per
    100 updates, two that fell again and again by 0.07 and 0.08; but small learners with large rates move by 0.2 to 2
    and are well. Divergences between nearly fixed continuous actions have no such scale.

    Causes: actions that are worth the same to the critic; an actor's learning rate that is large once all is learned.
    Try: a smaller learning rate of the actor; does the model see all that matters (`model/explained_least`)?
    """
    scores, churn = case.curve("eval/return"), case.curve("policy/churn")
    random = case.first("baseline/random_return")
    if not len(case.curve("policy/churn_choices").value) or not len(scores.value) or not np.isfinite(random):
        return None
    peak = np.maximum.accumulate(scores.value)
    updates = updates_at(case, scores.step)
    learned = (updates >= CHURN_AFTER) & (peak > random + 3 * case.first("baseline/random_std"))
    good = learned & (scores.value - random >= GOOD * (peak - random))
    rate = np.diff(updates, prepend=0.0)
    places = np.searchsorted(scores.step, churn.step)
    kept = good[places] & (rate[places] > 0)
    moved, step = 100 * churn.value[kept] / rate[places][kept], churn.step[kept]
    if len(moved) < CHURN_CHECKS or not np.isfinite(moved).all():
        return None
    middle = running_median(moved, CHURN_CHECKS)[CHURN_CHECKS - 1 :]
    began = onset(middle > CHURN, 1)
    if began is None or middle[-1] <= CHURN:
        return None
    return Finding(
        "policy_churn",
        "info",
        int(step[CHURN_CHECKS - 1 :][began]),
        f"while it scores its best, the policy moves by {middle[-1]:.2g} nats per 100 updates; {CHURN:g} is much",
        "actions are worth the same to the critic, or the actor's learning rate is large for what is left to learn",
        "a smaller optimizer.actor_lr; look at model/explained_least",
        {"churn": float(middle[-1])},
        ("policy/churn", "eval/return"),
    )


def silent_losses(case: Case) -> Finding | None:
    """Symptom: actor and critic have losses of exactly zero, row after row.

    Causes: a gate or a ratio that never lets them learn; a frozen part; a batch without any row for them.
    Try: look at `gate/learns`; a larger threshold of the gate; `bellmark diff` against a healthy run.
    """
    for name in ("loss/policy", "loss/value"):
        curve = case.curve(name)
        if len(curve.value) < 10 or not (curve.value[:5] != 0).any():
            continue
        began = onset(curve.value == 0.0, 5)
        if began is not None:
            return Finding(
                "silent_losses",
                "critical",
                int(curve.step[began]),
                f"{name} is exactly zero since step {int(curve.step[began]):,}",
                "what computes it no longer runs",
                "look at gate/learns; a larger threshold of the gate",
                {"rows": float((curve.value == 0).sum())},
                (name, "gate/learns"),
            )
    return None
