"""The next experiment after a finding, as a command that can be typed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from bellmark.health.case import Case, Finding
from bellmark.health.descent import USUAL
from bellmark.health.world import heavier

DEFAULT_ENTROPY = 3e-4  # DreamerV3's
RATES = (("policy", "optimizer.actor_lr"), ("value", "optimizer.critic_lr"))  # where a part has a rate of its own
Change = Callable[[Case, Finding], str]  # overrides, key=value; empty where the case has no such knob


class Subject(NamedTuple):
    """What a run was made from, and where it is."""

    recipe: str
    overrides: Sequence[str]
    place: str  # its folder


def _set(change: str) -> Change:
    return lambda case, finding: change if change.partition("=")[0] in case.config else ""


def _times(key: str, factor: float) -> Change:
    def change(case: Case, finding: Finding) -> str:
        value = case.knob(key)
        return f"{key}={float(value) * factor:.3g}" if value else ""

    return change


def _first(*changes: Change) -> Change:
    return lambda case, finding: next((c for change in changes if (c := change(case, finding))), "")


def _entropy(case: Case, finding: Finding) -> str:
    value = float(case.knob("learning.entropy.coef", 0) or 0)
    return f"learning.entropy.coef={3 * value or DEFAULT_ENTROPY:.3g}" if "learning.entropy.coef" in case.config else ""


def _wider(case: Case, finding: Finding) -> str:
    return finding.advice.split(" or ")[0]  # model.bin_limit=N


def _rate(case: Case, finding: Finding) -> str:
    part = finding.plot[0].partition("/")[2]
    key = next((key for name, key in RATES if name == part and case.knob(key)), "optimizer.lr")
    value = float(case.knob(key, 0) or 0) * USUAL / max(finding.evidence["ratio"], 1e-12)
    return f"{key}={value:.1g}" if value else ""


def _heavier(case: Case, finding: Finding) -> str:
    value = case.knob("loss.rec")
    return f"loss.rec={heavier(float(value)):g}" if value is not None else ""


def _as_fast(case: Case, finding: Finding) -> str:
    return f"optimizer.actor_lr={float(case.knob('optimizer.lr')):g}"


def _shorter(case: Case, finding: Finding) -> str:
    return "slices.horizon=3" if case.family == "tdmpc" else f"length={int(finding.evidence['episode']) // 4}"


SLOWER = _times("optimizer.lr", 1 / 3)
LOCAL = _first(_set("target.heads.values=local"), _set("target.values=local target.members=0"))
TRAIN: Mapping[str, Change] = {  # rule -> what to train otherwise
    "not_finite": SLOWER,
    "peak_then_collapse": SLOWER,
    "loss_spike": SLOWER,
    "log_std_oscillation": SLOWER,
    "actor_loss_rise": SLOWER,
    "unstable_targets": _times("target.slow_rate", 0.5),
    "collapsed_heads": LOCAL,
    "shared_bootstrap": LOCAL,
    "dead_free_bits": lambda case, finding: finding.advice,
    "model_lag": _times("train_ratio", 2),
    "surprise_spike": _times("train_ratio", 2),
    "unseen_observation": _heavier,
    "starved_actor": _set("gating=open"),
    "silent_losses": _set("gating=open"),
    "policy_churn": _times("optimizer.actor_lr", 1 / 3),
    "clipped_gradients": lambda case, finding: finding.advice.split(", ")[0],  # optimizer.clipping.clip=N
    "update_size": _rate,
    "replay_pacing": _set("collect.where=inline"),
    "entropy_collapse": _entropy,
    "no_entropy": _entropy,
    "one_sided_advantages": _first(_set("advantage.continuation=current"), _set("critic.initial=fresh")),
    "weak_advantages": _set("critic.select=return_correlation"),
    "noisy_start": _set("start.max_log_std=-1.5"),
    "update_cut_short": _set("update.epochs=4"),
    "tight_kl": _set("update.epochs=4"),
    "narrow_support": _wider,
    "saturated_support": _wider,
    "fast_actor": _as_fast,
    "strong_posterior_pull": _set("loss.rep=0.1"),
    "no_unimix": _set("model.unimix=0.01"),
    "foreign_critic": _set("critic.initial=fresh"),
    "bootstrap_past_ends": _set("advantage.bootstrap=truncation"),
    "optimistic_evaluation": _set("planner.optimism_eval=0"),
    "long_sequences": _shorter,
    "unmet_ratio": _set("collect.insert_every=1"),
    "replay_turnover": lambda case, finding: finding.advice,
    "never_learns": _first(_set("gating.warmup=0"), _set("critic.warmup_iterations=0")),
    "short_evaluation": _set("evaluation.episodes=100"),
}
PROBE: Mapping[str, str] = {  # rule -> the ability in question; empty: all
    "worse_than_random": "",
    "nothing_learned": "",
    "value_bias": "discount",
    "wrong_targets": "discount",
    "attached_targets": "constant",
    "unexplained_returns": "from-obs",
    "kl_collapse": "policy-from-obs",
    "action_blind_model": "policy-from-obs",
    "prior_sees_answer": "policy-from-obs",
    "no_gradient": "",
    "false_ends": "terminal",
    "counters_restart": "",
    "open_loop_drift": "policy-from-obs",
    "unseen_observation": "policy-from-obs",
}
JUDGE: Mapping[str, str] = {  # rule -> how to look at the run again
    "train_eval_gap": "--sampled",
    "value_against_return": "--sampled",
    "no_memory_gradient": "--dreams",
}
CROWDED = "ps aux --sort=-%cpu | head"
ELSEWHERE: Mapping[str, str] = {"slowed_down": CROWDED, "learner_waits": CROWDED}


def command(finding: Finding, case: Case, of: Subject) -> str:
    """What to type next; empty where the run was not made from a recipe, or nothing can be run."""
    if finding.rule in ELSEWHERE:
        return ELSEWHERE[finding.rule]
    if not of.recipe:
        return ""
    if finding.rule in JUDGE:
        return f"bellmark evaluate {shlex.quote(of.place)} {JUDGE[finding.rule]}"
    change = TRAIN[finding.rule](case, finding) if finding.rule in TRAIN else ""
    if change:
        keys = [part.partition("=")[0] for part in change.split()]
        kept = [own for own in of.overrides if not any(_concerns(own.partition("=")[0], key) for key in keys)]
        return " ".join(["bellmark train", of.recipe, *map(shlex.quote, [*kept, *change.split()])])
    only = PROBE.get(finding.rule, "" if finding.rule in TRAIN else None)
    if only is None:
        return ""
    asked = ["--only", only] if only else []
    return " ".join(["bellmark probe", of.recipe, *map(shlex.quote, of.overrides), *asked])


def _concerns(own: str, key: str) -> bool:
    """Whether an override sets the knob, or an option below it that another choice would not have."""
    return own == key or own.startswith(f"{key}.")
