"""Rules on world models, on replay and on what gates learning."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bellmark.health.case import Case, Finding, Values, onset, together

KL_GONE = 0.1  # nats, summed over latents
RATIO = (0.8, 1.25)  # of the realised replay ratio to the one asked for
STARVED = 0.5
LAG = math.log(1.5)
# Log ratios of a loss to its running average, means over a row. 28 CartPole runs of 30 to 100 rows and the controls of
# the fault suite stay below 0.07 (the weighted loss) and 0.56 (the worst of single terms: rare ends move it most).
SURPRISED: Mapping[str, float] = {
    "surprise/total_log_ratio": math.log(1.5),
    "surprise/max_component_log_ratio": math.log(2),
}
SPIKE, SPIKES, AMONG = 6.0, 3, 10  # robust standard deviations; so many of so many rows in a row
BEFORE, LEAST_SPREAD = (20, 50), 0.02  # rows that a row is compared with: at least, at most; smaller spreads are noise


def kl_collapse(case: Case) -> Finding | None:
    """Symptom: the divergence of the world model's posterior from its prior is almost zero.

    Causes: the posterior carries no information (nothing to predict), or the prior sees the posterior's own latent and
    has nothing to predict either.
    Try: does the model's prediction depend on the action (`model/action_gap`)? Free bits off, the loss scales as
    published.
    """
    kl = case.curve("model/kl_dyn")
    if len(kl.value) < 10:
        return None
    began = onset(kl.value < KL_GONE, 5)
    if began is None or kl.value[-1] >= KL_GONE:
        return None
    return Finding(
        "kl_collapse",
        "critical",
        int(kl.step[began]),
        f"posterior and prior differ by {kl.value[-1]:.2g} nats: healthy models keep about one",
        "the prior has nothing to predict: it sees the answer, or the latents say nothing",
        "model/action_gap; free bits and loss scales as published",
        {"kl": float(kl.value[-1])},
        ("model/kl_dyn", "loss/rec"),
    )


def action_blind_model(case: Case) -> Finding | None:
    """Symptom: the world model predicts the same whatever the action is.

    Causes: the action is not fed to the dynamics, or that of another step is; the prior is scored on a latent that
    already contains the outcome.
    Try: the order of action and observation in the recurrent step; `bellmark probe RECIPE`.
    """
    gap = case.curve("model/action_gap")
    if len(gap.value) < 3:
        return None
    began = onset(gap.value < 1e-3, 3)
    if began is None or gap.value[-1] >= 1e-3:
        return None
    return Finding(
        "action_blind_model",
        "critical",
        int(gap.step[began]),
        f"predictions for different actions differ by {gap.value[-1]:.2g} nats",
        "the dynamics do not see the action that leads to what they predict",
        "bellmark probe RUN; check which action enters the recurrent step",
        {"gap": float(gap.value[-1])},
        ("model/action_gap", "model/kl_dyn"),
    )


def replay_pacing(case: Case) -> Finding | None:
    """Symptom: the realised replay ratio is far from the one that was asked for.

    Causes: collectors run ahead of the learner or wait for it; updates are skipped while replay fills up.
    Try: `collect.where=inline`; fewer collectors; look at `throughput/*`.
    """
    ratio, wanted = case.curve("replay/ratio"), case.knob("train_ratio")
    if wanted is None or len(ratio.value) < 10:
        return None
    steps = ratio.step.astype(np.float64)
    seen = np.diff(ratio.value * steps)[5:] / np.maximum(np.diff(steps)[5:], 1)  # within each row, not since the start
    share = seen / float(wanted)
    began = onset((share < RATIO[0]) | (share > RATIO[1]), 5)
    if began is None or RATIO[0] <= np.median(share[-5:]) <= RATIO[1]:
        return None
    return Finding(
        "replay_pacing",
        "warning",
        int(ratio.step[began + 6]),
        f"{np.median(seen[-5:]):.3g} rows are replayed per step, {float(wanted):.3g} were asked for",
        "collection and learning do not keep pace",
        "fewer collectors, or collect.where=inline",
        {"realised": float(np.median(seen[-5:])), "asked": float(wanted)},
        ("replay/ratio", "throughput/transitions"),
    )


def starved_actor(case: Case) -> Finding | None:
    """Symptom: a gate keeps actor and critic from learning for most of the time.

    Causes: a surprise threshold within the usual noise of the model's loss; a cooldown shorter than the focus.
    Try: a larger threshold (three to six times the spread of `surprise/total_log_ratio`), or no gate.
    """
    learns = case.curve("gate/learns")
    if len(learns.value) < 5:
        return None
    ratio = float(case.knob("gating.ratio.every", 1) or 1)
    began = onset(learns.value < STARVED / ratio, 3)
    if began is None:
        return None
    return Finding(
        "starved_actor",
        "critical",
        int(learns.step[began]),
        f"actor and critic learned in {np.mean(learns.value[-5:]):.0%} of the last updates",
        "the gate's threshold lies within the noise of what it watches",
        "a larger threshold, or gating=open",
        {"share": float(np.mean(learns.value[-5:]))},
        ("gate/learns", "surprise/total_log_ratio"),
    )


def surprise_spike(case: Case) -> Finding | None:
    """Symptom: the world model's loss is, again and again, far above what it has been of late.

    A row's mean must lie 6 robust standard deviations above the 50 rows before it, and the weighted loss at 1.5 times
    (or a single term at twice) its running average, in 3 of 10 rows. Rows are means over their updates: those of many
    hundred updates hide a short spike.

    Causes: the policy has come to states that replay hardly holds; the task changed; the model's step is too large.
    Try: more updates of the model per step; look at the episodes of those steps; keep the checkpoint of before.
    """
    for name, least in SURPRISED.items():
        curve = case.curve(name)
        value = curve.value
        high = np.flatnonzero(value > least)
        high = high[high >= BEFORE[0]]
        z = np.array([_above(value[i], value[max(0, i - BEFORE[1]) : i]) for i in high])
        spikes = high[z > SPIKE]
        close = np.flatnonzero(spikes[SPIKES - 1 :] - spikes[: len(spikes) - SPIKES + 1] < AMONG)
        if not len(close):
            continue
        first, most = int(spikes[close[0]]), float(value[spikes].max())
        return Finding(
            "surprise_spike",
            "warning",
            int(curve.step[first]),
            f"{name.partition('/')[2]} left its range in {len(spikes)} rows: losses up to {math.exp(most):.1f} times "
            "their running average",
            "the world model meets what it has not learned yet",
            "more model updates per step; look at the episodes of those steps",
            {"log_ratio": most, "z": float(z.max()), "rows": float(len(spikes))},
            (name, "eval/return"),
        )
    return None


def _above(value: float, before: Values) -> float:
    """The robust z of a value, with a floor under the spread."""
    middle = float(np.median(before))
    return (value - middle) / max(1.4826 * float(np.median(np.abs(before - middle))), LEAST_SPREAD)


def model_lag(case: Case) -> Finding | None:
    """Symptom: the world model fits fresh or held-out episodes much worse than the replayed ones.

    Causes: the policy visits what replay hardly holds yet; the model overfits a small replay.
    Try: more updates of the model per step, sequences from the newest data, a smaller model.
    """
    for held, own in (("model/consistency_held_out", "loss/consistency"), ("model/loss_fresh", "model/loss_replayed")):
        steps, fresh, replayed = together(case.curve(held), case.curve(own))
        if len(steps) < 5:
            continue
        lag = np.log(np.maximum(fresh, 1e-12) / np.maximum(replayed, 1e-12))
        began = onset(lag > LAG, 5)
        if began is not None and lag[-1] > LAG:
            return Finding(
                "model_lag",
                "warning",
                int(steps[began]),
                f"the model's loss is {math.exp(lag[-1]):.1f} times larger on episodes that it has not replayed",
                "the policy is ahead of the model's data",
                "more model updates per step; sequences from the newest data",
                {"lag": float(lag[-1])},
                (held, own),
            )
    return None
