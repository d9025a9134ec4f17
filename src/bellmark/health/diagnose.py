"""Every rule with its stable id, and what the doctor finds in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bellmark.errors import unknown
from bellmark.health import descent, design, machine, model, pacing, policy, returns, selfchecks, setup, values, world
from bellmark.health.case import Case, Finding, Kind, Rule, Severity

SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")  # the gravest first
KINDS: tuple[Kind, ...] = ("cause", "symptom", "note")  # as they stand among findings that are equally grave
DREAMER, TDMPC, FINETUNE, CONTINUOUS = ("dreamer",), ("tdmpc",), ("finetune",), ("tdmpc", "finetune")
MODELS = ("tdmpc", "dreamer")
RECORDED = (
    Rule("not_finite", "critical", (), policy.not_finite, kind="symptom"),
    Rule(
        "worse_than_random",
        "critical",
        ("eval/return_std", "baseline/random_return"),
        returns.worse_than_random,
        kind="symptom",
    ),
    Rule(
        "peak_then_collapse", "critical", ("eval/return", "eval/return_std"), returns.peak_then_collapse, kind="symptom"
    ),
    Rule("nothing_learned", "warning", ("eval/return", "eval/return_std"), returns.nothing_learned, kind="symptom"),
    Rule("train_eval_gap", "warning", ("eval/return", "train/return"), returns.train_eval_gap, kind="symptom"),
    Rule("value_bias", "critical", ("value/start", "eval/discounted"), values.value_bias, kind="symptom"),
    Rule("saturated_support", "critical", ("value/target",), values.saturated_support, MODELS),
    Rule("value_against_return", "warning", ("eval/return", "value/mean"), values.value_against_return, kind="symptom"),
    Rule(
        "unexplained_returns",
        "warning",
        ("value/explained_variance",),
        values.unexplained_returns,
        FINETUNE,
        kind="symptom",
    ),
    Rule("unstable_targets", "warning", ("value/std_heads", "value/target"), values.unstable_targets, TDMPC),
    Rule("collapsed_heads", "warning", ("value/std_heads", "value/target"), values.collapsed_heads, TDMPC),
    Rule("kl_collapse", "critical", ("model/kl_dyn",), model.kl_collapse, DREAMER),
    Rule("action_blind_model", "critical", ("model/action_gap",), model.action_blind_model, MODELS),
    Rule("wrong_targets", "critical", ("value/target_error",), selfchecks.wrong_targets, DREAMER),
    Rule("attached_targets", "critical", ("value/target_gradient",), selfchecks.attached_targets, DREAMER),
    Rule("prior_sees_answer", "critical", ("model/kl_mismatch",), selfchecks.prior_sees_answer, DREAMER),
    Rule("dead_free_bits", "critical", ("loss/dyn", "model/kl_dyn"), world.dead_free_bits, DREAMER),
    Rule("no_memory_gradient", "critical", ("model/memory_gradient",), world.no_memory_gradient, DREAMER),
    Rule("false_ends", "critical", ("replay/ends", "train/length"), world.false_ends, DREAMER),
    Rule("unseen_observation", "warning", ("model/explained_least",), world.unseen_observation, DREAMER),
    Rule("open_loop_drift", "warning", ("model/open_loop_error",), world.open_loop_drift, MODELS, kind="symptom"),
    Rule("model_lag", "warning", (), model.model_lag, kind="symptom"),
    Rule("surprise_spike", "warning", tuple(model.SURPRISED), model.surprise_spike, DREAMER, kind="symptom"),
    Rule("loss_spike", "warning", (), policy.loss_spike, kind="symptom"),
    Rule("starved_actor", "critical", ("gate/learns",), model.starved_actor, DREAMER),
    Rule("silent_losses", "critical", ("loss/policy",), policy.silent_losses),
    Rule("no_gradient", "critical", ("grad/policy",), descent.no_gradient, MODELS),
    Rule("clipped_gradients", "warning", ("clip_share/model",), descent.clipped_gradients, DREAMER),
    Rule("update_size", "warning", ("update_ratio/policy",), descent.update_size),
    Rule("replay_pacing", "warning", ("replay/ratio",), model.replay_pacing, DREAMER),
    Rule(
        "learner_waits",
        "info",
        ("time/collect", "time/update"),  # and replay/waiting, which only collectors elsewhere record
        pacing.learner_waits,
        MODELS,
        kind="note",
    ),
    Rule("entropy_collapse", "critical", ("policy/entropy", "eval/return"), policy.entropy_collapse, DREAMER),
    Rule("log_std_oscillation", "warning", ("policy/log_std",), policy.log_std_oscillation, CONTINUOUS),
    Rule("actor_loss_rise", "warning", ("loss/policy", "eval/return"), policy.actor_loss_rise, kind="symptom"),
    Rule("policy_churn", "info", ("policy/churn", "eval/return"), policy.policy_churn, MODELS, kind="symptom"),
    Rule(
        "one_sided_advantages",
        "warning",
        ("advantage/positive", "advantage/std"),
        policy.one_sided_advantages,
        FINETUNE,
    ),
    Rule("weak_advantages", "warning", ("critic/return_correlation",), policy.weak_advantages, FINETUNE),
    Rule("slowed_down", "warning", ("throughput/updates",), machine.slowed_down, MODELS),
    Rule("counters_restart", "critical", ("steps/updates",), machine.counters_restart, MODELS),
    Rule("noisy_start", "warning", ("eval/success", "eval/success_sampled"), machine.noisy_start, FINETUNE),
    Rule("update_cut_short", "warning", ("update/gradient_steps",), policy.update_cut_short, FINETUNE),
)
SETUP = (
    Rule("narrow_support", "critical", (), setup.narrow_support),
    Rule("tight_kl", "warning", (), setup.tight_kl),
    Rule("no_entropy", "warning", (), setup.no_entropy),
    Rule("fast_actor", "warning", (), setup.fast_actor),
    Rule("strong_posterior_pull", "warning", (), setup.strong_posterior_pull, DREAMER),
    Rule("no_unimix", "warning", (), setup.no_unimix, DREAMER),
    Rule("foreign_critic", "warning", (), setup.foreign_critic, FINETUNE),
    Rule("bootstrap_past_ends", "warning", (), setup.bootstrap_past_ends, FINETUNE),
    Rule("shared_bootstrap", "warning", (), setup.shared_bootstrap, TDMPC),
    Rule("optimistic_evaluation", "warning", (), setup.optimistic_evaluation, TDMPC),
    Rule("long_sequences", "critical", (), design.long_sequences, MODELS),
    Rule("unmet_ratio", "warning", (), design.unmet_ratio, MODELS),
    Rule("replay_turnover", "warning", (), pacing.replay_turnover, MODELS),
    Rule("never_learns", "critical", (), design.never_learns, ("dreamer", "finetune")),
    Rule("idle_knob", "warning", (), design.idle_knob, kind="note"),
    Rule("short_evaluation", "info", (), setup.short_evaluation, kind="note"),
)
SETUP_IDS = tuple(rule.id for rule in SETUP)  # what a configuration alone tells
RULES: Mapping[str, Rule] = {rule.id: rule for rule in (*RECORDED, *SETUP)}


def diagnose(case: Case, only: Sequence[str] = ()) -> list[Finding]:
    """What is wrong with a run, the gravest first, then the earliest; a cause stands before the symptoms it has.

    Many mechanisms have the same symptoms: a collapse, scores below chance, values that are off. A finding that names a
    mechanism therefore counts as grave as the gravest symptom beside it, and stands before it.

    Raises:
        UserError: `only` names a rule that does not exist.
    """
    for name in only:
        if name not in RULES:
            raise unknown("rule", name, RULES)
    chosen = [RULES[name] for name in only] or list(RULES.values())
    found = [finding for rule in chosen if (finding := rule.find(case)) is not None]
    return ordered(found)


def ordered(found: Sequence[Finding]) -> list[Finding]:
    """Findings as `diagnose` sorts them."""
    symptoms = [_grade(f) for f in found if _kind(f) == "symptom"]
    gravest = min(symptoms, default=len(SEVERITIES))

    def place(finding: Finding) -> tuple[int, int, int, int]:
        kind, grade = _kind(finding), _grade(finding)
        explains = kind == "cause" and finding.severity != "info"
        at_stake = min(grade, gravest) if explains else grade
        return at_stake, KINDS.index(kind), grade, -1 if finding.step is None else finding.step

    return sorted(found, key=place)


def _kind(finding: Finding) -> Kind:
    return RULES[finding.rule].kind if finding.rule in RULES else "note"


def _grade(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)


def lint(family: str, config: Mapping[str, object]) -> list[Finding]:
    """What is wrong with a configuration before its first step; `config` maps dotted keys to values."""
    case = Case(family, config, {}, "pending")
    found = [finding for rule in SETUP if (finding := rule.find(case)) is not None]
    return ordered(found)


def unseen(case: Case) -> list[Rule]:
    """The rules of this family that cannot speak because the record lacks what they need.

    Of a record from elsewhere, whose family nobody knows: the rules that mean something in every family.
    """
    families = {family for rule in RULES.values() for family in rule.families}
    asked = {case.family} & families or families
    own = [rule for rule in RULES.values() if asked <= set(rule.families)]
    return [rule for rule in own if any(name not in case.curves for name in rule.needs)]
