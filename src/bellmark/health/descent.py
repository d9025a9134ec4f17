"""Rules on gradients and on the optimiser's steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bellmark.health.case import Case, Finding, onset, together, updates_at

LEARNS: Mapping[str, tuple[str, ...]] = {  # the parts that every run of a family trains, by their gradients' names
    "dreamer": ("model", "policy", "value"),
    "tdmpc": ("encoder", "dynamics", "reward", "critic", "policy"),
}
STILL_ROWS, STILL_UPDATES = 20, 1000
# Healthy: 0.9 in the first row, 0.02 to 0.5 from some 100 updates on.
CLIPPED, CLIPPED_ROWS, CLIPPED_AFTER = 0.9, 10, 100
USUAL = 1e-3
RATIO, RATIO_CHECKS, RATIO_AFTER = (1e-6, 1e-2), 3, 100  # healthy: 6e-5 to 6e-3 from then on


def no_gradient(case: Case) -> Finding | None:
    """Symptom: a part that should learn has a gradient of exactly zero, for a thousand updates.

    Causes: a detach between it and its loss; a part that is frozen by mistake; a loss that is masked out in every row;
    a gate that never opens (then `starved_actor` says so).
    Try: the probe environments (`bellmark probe RECIPE`) tell which ability is missing; look for the part in its loss.
    """
    for part in LEARNS.get(case.family, ()):
        gradient = case.curve(f"grad/{part}")
        moving = np.flatnonzero(gradient.value != 0.0)
        first = int(moving[-1]) + 1 if len(moving) else 0
        if len(gradient.value) - first < STILL_ROWS or (part == "model" and case.knob("start.world") == "frozen"):
            continue
        ends = updates_at(case, gradient.step[[first, -1]])
        if np.isfinite(ends).all() and ends[1] - ends[0] < STILL_UPDATES:
            continue
        return Finding(
            "no_gradient",
            "critical",
            int(gradient.step[first]),
            f"the gradient of {part} is exactly zero since step {int(gradient.step[first]):,}",
            f"{part} does not reach any loss, or is held still",
            f"bellmark probe RUN; look for what cuts {part} off",
            {"rows": float(len(gradient.value) - first)},
            (f"grad/{part}", "gate/learns"),
        )
    return None


def clipped_gradients(case: Case) -> Finding | None:
    """Symptom: adaptive clipping cuts the gradients of nearly all tensors of a part, row after row.

    A norm over all gradients that is always cut is no illness: Adam divides the factor out again. Tensors that are cut
    one by one keep their directions but lose what they were worth against each other.

    Causes: a threshold that is too small; a loss whose scale has grown (rewards, a weight); gradients that explode.
    Try: the published threshold (`optimizer.clipping.clip=0.3`); a smaller weight of the loss that grew.
    """
    if case.knob("optimizer.clipping") != "agc":
        return None
    for part in LEARNS.get(case.family, ()):
        share = case.curve(f"clip_share/{part}")
        late = updates_at(case, share.step) >= CLIPPED_AFTER
        value, step = share.value[late], share.step[late]
        began = onset(value > CLIPPED, CLIPPED_ROWS)
        if began is None or value[-1] <= CLIPPED:
            continue
        clip = float(case.knob("optimizer.clipping.clip", 0.0) or 0.0)
        return Finding(
            "clipped_gradients",
            "warning",
            int(step[began]),
            f"{value[-1]:.0%} of the tensors of {part} have their gradients cut, at {clip:g} of their own norm",
            "the threshold is too small for these gradients, or a loss has grown",
            f"optimizer.clipping.clip={max(3 * clip, 0.3):g}, or look at which loss grew",
            {"share": float(np.median(value[-CLIPPED_ROWS:])), "clip": clip},
            (f"clip_share/{part}", f"grad/{part}"),
        )
    return None


def update_size(case: Case) -> Finding | None:
    """Symptom: a part's steps are far too large, or far too small, for its parameters.

    The norm of a step is compared with that of the part: as it began, for steps that are large (they make parameters
    grow, until they seem small again), as it is, for small ones. About a thousandth is usual.

    Causes: a learning rate that is ten times off; one that a schedule has brought to nothing; parameters that have
    grown, or an optimiser's epsilon above its gradients, so that steps no longer matter.
    Try: a learning rate that brings the ratio to about 1e-3.
    """
    for name in sorted(case.curves):
        if not name.startswith("update_ratio/"):
            continue
        part = name.partition("/")[2]
        step, ratio, norm = together(case.curve(name), case.curve(f"param_norm/{part}"))
        late = updates_at(case, step) >= RATIO_AFTER
        if not late.any():
            continue
        against_start = (ratio * norm / case.first(f"param_norm/{part}"))[late]
        step, ratio = step[late], ratio[late]
        least, most = RATIO
        large = bool(against_start[-1] > most)
        began = onset(against_start > most if large else ratio < least, RATIO_CHECKS)
        if began is None or not (large or ratio[-1] < least):
            continue
        size = float(against_start[-1] if large else ratio[-1])
        factor, word = max(size / USUAL, USUAL / max(size, 1e-12)), "large" if large else "small"
        return Finding(
            "update_size",
            "warning",
            int(step[began]),
            f"a step moves {part} by {size:.1g} of {'its first' if large else 'its'} size: {word}, {USUAL:g} is usual",
            f"the learning rate of {part} is too {word}{'' if large else ', or its schedule has ended'}",
            f"a learning rate of {part} {factor:,.0f} times {'smaller' if large else 'larger'}",
            {"ratio": size},
            (name, f"param_norm/{part}"),
        )
    return None
