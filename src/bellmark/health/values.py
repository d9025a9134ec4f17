"""Rules on what a run believes its future to be worth, against what it turns out to be worth."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bellmark.health.case import Case, Finding, Values, onset, running_median, together

BIAS = 0.5  # of the predicted against the realised discounted return, as a share of the latter's size
MATTERS = 0.25, 0.1  # of the values that the run has elsewhere, of the best return so far
CATCHING_UP = 0.2  # of itself that a value has risen by within three evaluations: it lags, and is on its way
CLOSING = 0.7  # of the bias two evaluations ago: what is left of one that goes away
TREND_EVALUATIONS, TREND = 8, -0.6
DISAGREEMENT = 0.5  # of a value ensemble's targets, as a share of their size
ROUNDING = 1e-5  # of the targets: heads that are one function differ by less, TD-MPC2's own by 4e-4 once they are right
UNEXPLAINED_AFTER = 20  # rows
EXPLAINED_ONCE, AT_ITS_BEST = 0.5, 0.9  # of the targets' variance, of the best evaluation
AT_THE_EDGE = 0.8  # of the largest value that bins can express: mean targets beyond it, so that many are cut


def value_bias(case: Case) -> Finding | None:
    """Symptom: the value of the evaluation's start states is far from the discounted return that follows.

    Causes, predicted too high: targets that the critic's own gradient reaches; a maximum over noisy estimates; a world
    model whose dreams earn more than the world. Predicted too low: a critic that lags behind a policy that improves
    faster; bins too narrow for the returns; terminations predicted where there are none.
    Try, too high: a slow copy for targets, the smaller of two critics; too low: more critic updates per step, a larger
    critic learning rate, wider bins.
    """
    steps, predicted, realised = together(case.curve("value/start"), case.curve("eval/discounted"))
    if len(steps) < 3:
        return None
    _, spread, _ = together(case.curve("eval/discounted_std"), case.curve("value/start"))
    size = np.maximum(spread, 0.1 * np.abs(realised)) if len(spread) == len(realised) else 0.1 * np.abs(realised)
    bias = (predicted - realised) / np.maximum(size, 1e-8)
    relative = (predicted - realised) / np.maximum(np.abs(realised), 1e-8)
    matters = np.abs(predicted - realised) > _what_matters(case, steps)
    wrong = (np.abs(bias) > BIAS) & (np.abs(relative) > BIAS) & matters
    began = onset(wrong, 3)
    if began is None or not wrong[-1]:
        return None
    high = predicted[-1] > realised[-1]
    rising = len(predicted) > 3 and predicted[-1] - predicted[-4] > CATCHING_UP * abs(predicted[-1])
    closing = predicted[-1] - realised[-1] < CLOSING * (
        predicted[-3] - realised[-3]
    )  # as a new critic's first guess is
    if closing if high else rising:
        return None
    return Finding(
        "value_bias",
        "critical" if high else "warning",
        int(steps[began]),
        f"start states are valued {predicted[-1]:.4g}, what follows is worth {realised[-1]:.4g}",
        "values feed on themselves: targets are not slow, or the model dreams too well"
        if high
        else "the critic lags behind the policy",
        "a slower copy for targets, the smaller of two critics" if high else "more critic updates per step; wider bins",
        {"predicted": float(predicted[-1]), "realised": float(realised[-1]), "bias": float(bias[-1])},
        ("value/start", "eval/discounted"),
    )


def _what_matters(case: Case, steps: NDArray[np.int64]) -> Values:
    """The least bias worth a word: under a small gamma far rewards are worth next to nothing at the start."""
    values, scores = case.curve("value/mean"), case.curve("eval/return")
    least = np.zeros(len(steps))
    if len(values.value):
        least = MATTERS[0] * np.abs(np.interp(steps, values.step, values.value))
    if len(scores.value):
        best = np.maximum.accumulate(np.abs(scores.value))
        least = np.maximum(least, MATTERS[1] * np.interp(steps, scores.step, best))
    return least


def saturated_support(case: Case) -> Finding | None:
    """Symptom: the mean of the value targets is close to the largest value that the bins can express.

    Causes: two-hot bins too narrow for what the agent earns by now (`narrow_support` knows some tasks' bounds before
    the run; this rule looks at what is learned); values that grow without end.
    Try: wider bins; if `eval/discounted` is far below, look for what feeds the values (`value_bias`).
    """
    limit, targets = case.knob("model.bin_limit"), case.curve("value/target")
    if limit is None or len(targets.value) < 10:
        return None
    top = math.expm1(float(limit))
    began = onset(np.abs(targets.value) > AT_THE_EDGE * top, 5)
    if began is None or abs(targets.value[-1]) <= AT_THE_EDGE * top:
        return None
    return Finding(
        "saturated_support",
        "critical",
        int(targets.step[began]),
        f"value targets are {targets.value[-1]:.4g} on average, bins end at {top:.4g}",
        "two-hot bins too narrow: larger targets are cut",
        f"model.bin_limit={float(limit) + 2:g} or more",
        {"target": float(targets.value[-1]), "top": top},
        ("value/target", "eval/discounted"),
    )


def value_against_return(case: Case) -> Finding | None:
    """Symptom: the agent's values rise while its evaluations fall, over many evaluations.

    Causes: the policy exploits errors of the critic or of the world model. A trend alone proves nothing: values that
    were far too low may rise for good reason, which `value_bias` tells apart.
    Try: compare value and realised return (`value_bias`); dream against reality (`bellmark evaluate RUN --dreams`).
    """
    scores, values = case.curve("eval/return"), case.curve("value/mean")
    if len(scores.value) < TREND_EVALUATIONS or len(values.value) < TREND_EVALUATIONS:
        return None
    recent = scores.value[-TREND_EVALUATIONS:]
    beside = np.interp(scores.step[-TREND_EVALUATIONS:], values.step, values.value)
    if np.ptp(recent) == 0 or np.ptp(beside) == 0:
        return None
    from scipy.stats import spearmanr

    correlation = float(spearmanr(recent, beside).statistic)
    falling = recent[-2:].mean() < recent[:2].mean()
    if correlation > TREND or not falling:
        return None
    return Finding(
        "value_against_return",
        "warning",
        int(scores.step[-TREND_EVALUATIONS]),
        f"over {TREND_EVALUATIONS} evaluations values rise while returns fall (rank correlation {correlation:.2f})",
        "the policy exploits errors of what it is judged by",
        "bellmark evaluate RUN --dreams, where there are dreams; compare value/start with eval/discounted",
        {"correlation": correlation},
        ("eval/return", "value/mean"),
    )


def unexplained_returns(case: Case) -> Finding | None:
    """Symptom: the critic explains none of the returns' variance, long after it began to learn.

    A critic that did explain it says nothing once evaluations are at their best: in a solved task all targets are
    alike, and what varies is noise.

    Causes: a critic that never learns (frozen, learning rate, wrong observations); targets of pure noise, as of a
    sparse reward that is hardly ever met; a critic pretrained on another policy's states.
    Try: `bellmark probe RUN`; a fresh critic (`critic.initial=fresh`); more critic updates before the policy's.
    """
    explained = case.curve("value/explained_variance")
    if len(explained.value) < UNEXPLAINED_AFTER:
        return None
    began = onset(explained.value < 0, 5)
    if began is None or np.median(explained.value[-5:]) >= 0 or _solved(case, explained.value):
        return None
    return Finding(
        "unexplained_returns",
        "warning",
        int(explained.step[began]),
        f"the critic explains {explained.value[-1]:.0%} of the variance of its targets: less than their mean would",
        "the critic does not learn, or learns noise",
        "bellmark probe RUN; critic.initial=fresh; more critic updates",
        {"explained": float(explained.value[-1])},
        ("value/explained_variance", "loss/value"),
    )


def _solved(case: Case, explained: Values) -> bool:
    scores = case.curve("eval/return").value
    if len(scores) < 3 or running_median(explained, 5).max() < EXPLAINED_ONCE:
        return False
    best = float(running_median(scores, 3)[2:].max())
    return best > scores[0] and float(np.median(scores[-3:])) >= scores[0] + AT_ITS_BEST * (best - scores[0])


def unstable_targets(case: Case) -> Finding | None:
    """Symptom: the heads of a value ensemble disagree by as much as their values, and ever more.

    Causes: every head bootstraps from itself alone for too long; random priors too large; targets from a model that
    diverges.
    Try: global bootstrapping, a smaller prior, a slower copy for targets.
    """
    steps, spread, target = together(case.curve("value/std_heads"), case.curve("value/target"))
    if len(steps) < 10:
        return None
    share = spread / np.maximum(np.abs(target), 1e-6)
    rising = np.concatenate([[False], np.diff(spread) > 0])
    began = onset((share > DISAGREEMENT) & rising, 3)
    if began is None or share[-1] <= DISAGREEMENT:
        return None
    return Finding(
        "unstable_targets",
        "warning",
        int(steps[began]),
        f"value heads disagree by {spread[-1]:.4g} around {target[-1]:.4g}, and it grows",
        "heads drift apart: each follows its own targets",
        "a global bootstrap, a smaller prior, a slower copy for targets",
        {"std_heads": float(spread[-1]), "target": float(target[-1])},
        ("value/std_heads", "value/target"),
    )


def collapsed_heads(case: Case) -> Finding | None:
    """Symptom: the heads of an ensemble agree to the last digit: they have become one function.

    Causes: a bootstrap and data that all heads share, with no prior or too small a one; heads that start equal.
    Try: a local bootstrap; a random prior; check that each head has its own initial weights.
    """
    steps, spread, target = together(case.curve("value/std_heads"), case.curve("value/target"))
    if len(steps) < 10 or case.knob("model.critic.heads") == 1:
        return None
    share = spread / np.maximum(np.abs(target), 1e-6)
    began = onset(share < ROUNDING, 5)
    if began is None or share[-1] >= ROUNDING or not np.any(np.abs(target) > 1e-3):
        return None
    return Finding(
        "collapsed_heads",
        "warning",
        int(steps[began]),
        f"value heads differ by {spread[-1]:.2g} around {target[-1]:.4g}: their spread carries no information",
        "nothing keeps the heads apart",
        "a local bootstrap, a random prior",
        {"std_heads": float(spread[-1]), "target": float(target[-1])},
        ("value/std_heads",),
    )
