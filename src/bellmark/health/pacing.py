"""Rules on the pace of collection beside that of learning: who waits for whom, and how long a row is kept."""

from __future__ import annotations

import math

import numpy as np

from bellmark.health.case import Case, Finding, Values, onset, running_median, together

ROWS = 5
WAITS = 0.3  # of the learner's time; the spec's proposal: from here on collectors set the pace
TURNED_OVER = 0.2  # of replay per 100 updates, the spec's proposal: a row is kept for fewer than 500 updates
UPDATES = 100


def learner_waits(case: Case) -> Finding | None:
    """Symptom: with collectors in processes of their own, the learner spends its time waiting for their steps.

    The replay ratio is kept all the same: what is lost is time, not what is learned. Judged from `time/collect`, which
    is waiting (and copying) here and stepping with `collect.where=inline`; random steps, without updates, do not count.

    Causes: fewer processes than the updates have time for; one process that is slower than the others, which then wait
    beside full rings (`replay/waiting`); other programs on the machine's cores; a policy that is slow to act.
    Try: more worlds in more processes (`collect.envs`, `collect.where.count`); `ps aux --sort=-%cpu | head`.
    """
    waiting = case.curve("replay/waiting")
    steps, collect, update = together(case.curve("time/collect"), case.curve("time/update"))
    pace = case.curve("throughput/updates")
    if not len(waiting.value) or not len(pace.value) or len(steps) < 2 * ROWS:
        return None
    share = np.where(np.interp(steps, pace.step, pace.value) > 0, collect / np.maximum(collect + update, 1e-9), 0.0)
    began = onset(share > WAITS, ROWS)
    if began is None or np.median(share[-ROWS:]) <= WAITS:
        return None
    kept = float(np.median(waiting.value[-ROWS:]))
    uneven = kept > float(case.knob("collect.envs", 1) or 1)  # more than a step per world is there, and one has none
    return Finding(
        "learner_waits",
        "info",
        int(steps[began]),
        f"the learner waits for steps in {np.median(share[-ROWS:]):.0%} of its time, {kept:.0f} steps lie in the rings",
        "one process is behind all others" if uneven else "worlds step more slowly than the learner learns",
        "more worlds in more processes; ps aux --sort=-%cpu | head",
        {"share": float(np.median(share[-ROWS:])), "waiting": kept},
        ("time/collect", "time/update", "replay/waiting"),
    )


def replay_turnover(case: Case) -> Finding | None:
    """Symptom: replay is filled anew within a few hundred updates: rows leave before much was learned from them.

    Judged from the steps and updates that were made, before the run from those that the dreamer family's `train_ratio`
    asks for; only where more is collected than replay holds.

    Causes: a small `collect.capacity`; far fewer updates than steps (`train_ratio`). Learning is then almost on-policy
    with none of what makes that stable, and what the policy no longer does is forgotten.
    Try: a larger `collect.capacity`; more updates per step.
    """
    capacity = float(case.knob("collect.capacity", 0) or 0)
    if not capacity:
        return None
    step, per_update = _collected(case, capacity)
    if not per_update or UPDATES * per_update <= TURNED_OVER * capacity:
        return None
    enough = 2 * UPDATES * per_update / TURNED_OVER
    return Finding(
        "replay_turnover",
        "warning",
        step,
        f"{UPDATES * per_update:.0f} steps are collected per {UPDATES} updates, replay holds {capacity:.0f}",
        "replay is too small for the pace of collection",
        f"collect.capacity={1000 * math.ceil(enough / 1000)}",
        {"steps": UPDATES * per_update, "capacity": capacity},
        ("steps/updates", "replay/rows", "replay/ratio"),
    )


def _collected(case: Case, capacity: float) -> tuple[int | None, float]:
    """Since when, and how many steps per update; 0 where replay is not overrun. By the record, else as asked for."""
    updates = case.curve("steps/updates")
    if not len(updates.value):
        ratio, rows = case.knob("train_ratio"), _number(case, "batch") * _number(case, "length")
        overrun = case.family == "dreamer" and bool(ratio) and _number(case, "steps") > capacity
        return None, rows / float(ratio) if overrun else 0.0
    made = np.diff(updates.value)
    paced = np.flatnonzero(made > 0)
    if len(paced) < 2 * ROWS:
        return None, 0.0
    pace: Values = running_median(np.diff(updates.step)[paced] / made[paced], ROWS)
    steps = updates.step[paced + 1]
    began = onset((UPDATES * pace > TURNED_OVER * capacity) & (steps > capacity), ROWS)
    return (None, 0.0) if began is None else (int(steps[began]), float(pace[-1]))


def _number(case: Case, key: str) -> float:
    return float(case.knob(key, 0) or 0)
