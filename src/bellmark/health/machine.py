"""Rules on where a run takes place, where it starts from and how it is continued."""

from __future__ import annotations

import numpy as np

from bellmark.health.case import Case, Finding, onset, running_median

SLOWER = 0.4  # of the pace before
ROWS = 5
NOISE_ALONE = 0.15  # of success that only action noise takes


def slowed_down(case: Case) -> Finding | None:
    """Symptom: updates come at a fraction of the pace that the same run had before.

    Causes: other processes share the machine (trainers of a former session that nobody ended); a disk that is full or
    slow; a processor that is too hot.
    Try: `ps aux --sort=-%cpu | head`; `bellmark train --profile`.
    """
    pace = case.curve("throughput/updates")
    steps, values = pace.step[pace.value > 0], pace.value[pace.value > 0]
    if len(values) < 4 * ROWS:
        return None
    smooth = running_median(values, ROWS)
    before = np.array([np.median(smooth[: max(ROWS, i // 2)]) for i in range(len(smooth))])
    slow = smooth < SLOWER * before
    began = onset(slow, ROWS)
    if began is None or not slow[-1]:
        return None
    return Finding(
        "slowed_down",
        "warning",
        int(steps[began]),
        f"{smooth[-1]:.3g} updates per second, {before[began]:.3g} before",
        "something else uses this machine",
        "ps aux --sort=-%cpu | head; bellmark train --profile",
        {"now": float(smooth[-1]), "before": float(before[began])},
        ("throughput/updates",),
    )


def noisy_start(case: Case) -> Finding | None:
    """Symptom: before the first update, sampled actions succeed far less often than mean ones.

    Causes: the start policy's spread. What will look like learning may be less action noise.
    Try: `start.max_log_std=-1.5`; judge both modes; `bellmark probe-start CHECKPOINT`.
    """
    greedy, sampled = case.first("eval/success"), case.first("eval/success_sampled")
    if case.knob("start") != "stored" or not greedy - sampled > NOISE_ALONE:
        return None
    return Finding(
        "noisy_start",
        "warning",
        0,
        f"the start succeeds in {greedy:.0%} with mean actions, in {sampled:.0%} with its own noise",
        "failures of the start are action noise: what improves may be less noise, not skill",
        "start.max_log_std=-1.5",
        {"greedy": greedy, "sampled": sampled},
        ("eval/success", "eval/success_sampled"),
    )


def counters_restart(case: Case) -> Finding | None:
    """Symptom: the number of updates made goes back while environment steps go on.

    Causes: a resume that restored only a part of the agent: counters, and with them warm-ups, schedules and gates,
    begin anew, and often actor, critic or optimiser with them.
    Try: compare a resumed run with an uninterrupted one (`bellmark runs diff`); look at what the checkpoint holds.
    """
    updates = case.curve("steps/updates")
    back = np.flatnonzero(np.diff(updates.value) < 0)
    if not len(back):
        return None
    at = int(back[0]) + 1
    return Finding(
        "counters_restart",
        "critical",
        int(updates.step[at]),
        f"updates go back from {updates.value[at - 1]:,.0f} to {updates.value[at]:,.0f} at step {updates.step[at]:,}",
        "a resume that restored only a part of the agent",
        "look at what the checkpoint holds; compare with an uninterrupted run",
        {"before": float(updates.value[at - 1]), "after": float(updates.value[at])},
        ("steps/updates", "eval/return"),
    )
