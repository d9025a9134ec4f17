"""The runs of a hand-kept log as run folders, so that the index, the report and the audits read them like any other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from bellmark.audits.case import Case, Trial
from bellmark.audits.from_log import case_of
from bellmark.audits.handlog import Entry, HandLog
from bellmark.trackers.imported import Foreign

_GIT = re.compile(r"\*\*Git\*\*:\s*([0-9a-f]{7,40})")
PERCENT = 100.0


def runs_of(log: HandLog) -> Iterator[Foreign]:
    """Every run of the log with at least one result; a note in its log.txt names the line of every number."""
    case = case_of(log)
    names = Counter(t.name for t in case.trials if t.curve or t.stated)
    entries = {entry.title: entry for entry in log.entries}
    for trial in case.trials:
        if trial.curve or trial.stated:
            name = trial.name if names[trial.name] == 1 else f"{trial.name} (line {trial.line})"
            yield _foreign(trial, name, entries[trial.entry], case)


def _foreign(trial: Trial, name: str, entry: Entry, case: Case) -> Foreign:
    metric = _metric(trial)
    scale = PERCENT if trial.share else 1.0
    curves: dict[str, list[tuple[int, float]]] = {}
    for point in trial.curve:
        step = int(point.step if point.step is not None else point.at)
        curves.setdefault(metric, []).append((step, point.value.value / scale))
        if point.episodes:
            curves.setdefault("eval/episodes", []).append((step, float(point.episodes)))
    for other, points in trial.others.items():
        curves[f"log/{other.replace(' ', '_')}"] = [
            (int(p.step if p.step is not None else p.at), p.value.value) for p in points
        ]
    last = max((step for points in curves.values() for step, _ in points), default=int(trial.budget or 0))
    for stated in trial.stated:
        curves.setdefault(f"log/{stated.summary}", []).append((last, stated.value.value / scale))
    git = next((m[1] for n in entry.notes if (m := _GIT.search(n.text))), None)
    command = next((c.text for c in entry.commands if trial.name in (c.flags.get("exp_name"), "")), "")
    return Foreign(
        name=name,
        source="log",
        curves={name: sorted(dict(points).items()) for name, points in curves.items()},
        config={**_typed(trial.settings), **({"seed": trial.seed} if trial.seed is not None else {})},
        seed=trial.seed or 0,
        steps=int(trial.budget or last),
        created=_created(trial, entry),
        commit=git,
        command=command.split(),
        notes=list(_lines(trial, metric, case.where)),
    )


def _metric(trial: Trial) -> str:
    if trial.share:
        return "eval/success"
    return "eval/length" if "len" in trial.measure.lower() else "eval/return"


def _created(trial: Trial, entry: Entry) -> str:
    if trial.started:
        return datetime.fromtimestamp(trial.started, UTC).isoformat(timespec="seconds")
    return entry.when


def _typed(settings: dict[str, str]) -> dict[str, Any]:
    """Numbers as numbers, so that a diff with another run compares values, not spellings."""
    found: dict[str, Any] = {}
    for key, text in settings.items():
        try:
            number = float(text)
            found[key] = int(number) if number.is_integer() else number
        except ValueError:
            found[key] = text
    return found


def _lines(trial: Trial, metric: str, where: str) -> Iterator[str]:
    """Where each number stands in the log."""
    yield f"imported from {where}, line {trial.line}: {trial.entry}"
    for point in trial.curve:
        yield f"{metric} at {point.at:g}: {point.value.text} (line {point.value.line})"
    for stated in trial.stated:
        yield f"{stated.summary}: {stated.value.text} (line {stated.value.line})"
    for name, number in trial.facts.items():
        yield f"{name}: {number.text} (line {number.line})"
