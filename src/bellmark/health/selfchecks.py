"""Rules on what an agent computes against the same quantity computed a second time (`agents/dreamer/selfchecks.py`)."""

from __future__ import annotations

from bellmark.health.case import Case, Finding, onset

DIFFERENT = 1e-3  # relative; a healthy learner agrees to about 1e-7
OTHER_TARGETS = 3e-5  # the same of targets, most of which two recursions share
CHECKS = 2


def wrong_targets(case: Case) -> Finding | None:
    """Symptom: the values' targets are not the lambda returns of the same dreams' rewards, ends and values.

    Causes: the recursion takes the value, the reward or the end of another step (V(s_t) where V(s_t+1) belongs); a
    return of your own on purpose: then this rule does not apply.
    Try: `tests/ops/test_lambda_return.py`; the probe `bellmark probe RUN --only discount`.
    """
    error = case.curve("value/target_error")
    began = onset(error.value > OTHER_TARGETS, CHECKS)
    if began is None or error.value[-1] <= OTHER_TARGETS:
        return None
    return Finding(
        "wrong_targets",
        "critical",
        int(error.step[began]),
        f"targets differ by {error.value[-1]:.2g} of their size from lambda returns computed a second time",
        "the recursion reads the value, the reward or the end of another step",
        "tests/ops/test_lambda_return.py; bellmark probe RUN --only discount",
        {"error": float(error.value[-1])},
        ("value/target_error", "value/target"),
    )


def attached_targets(case: Case) -> Finding | None:
    """Symptom: what the critic regresses to carries a gradient.

    Causes: a missing `detach` or `no_grad` where targets are computed: the critic moves its targets towards its
    predictions, instead of its predictions towards the targets.
    Try: compute targets inside `torch.no_grad`; look at `value_bias`, which this leads to.
    """
    gradient = case.curve("value/target_gradient")
    if not len(gradient.value) or gradient.value[-1] == 0:
        return None
    return Finding(
        "attached_targets",
        "critical",
        int(gradient.step[int(gradient.value.argmax())]),
        "the critic's targets carry a gradient",
        "a missing detach where targets are computed",
        "compute targets inside torch.no_grad",
        {"attached": float(gradient.value[-1])},
        ("value/start", "eval/discounted"),
    )


def prior_sees_answer(case: Case) -> Finding | None:
    """Symptom: the divergence that the loss reports is not that of the prior which dreams draw from.

    Causes: the loss scores the prior on a state that already contains the outcome (the posterior's own draw, an action
    that is past): what is trained is not what is used, and need not depend on the action.
    Try: `model/action_gap`; the order of state, action and latents where the prior is scored.
    """
    mismatch = case.curve("model/kl_mismatch")
    began = onset(mismatch.value > DIFFERENT, CHECKS)
    if began is None or mismatch.value[-1] <= DIFFERENT:
        return None
    real = case.curve("model/kl_held_out").value
    own = f" ({real[-1]:.2g} nats)" if len(real) else ""
    return Finding(
        "prior_sees_answer",
        "critical",
        int(mismatch.step[began]),
        f"the divergence in the loss differs by {mismatch.value[-1]:.0%} from that of the prior of dreams{own}",
        "the prior is scored on a state that holds the answer, with an action that is past",
        "the order of state, action and latents where the prior is scored; bellmark probe RUN",
        {"mismatch": float(mismatch.value[-1])},
        ("model/kl_mismatch", "model/kl_held_out"),
    )
