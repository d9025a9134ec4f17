"""From run folders, alone or joined to a sweep's plan, to a case. Nothing is judged here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from bellmark.audits.case import Arm, Case, Clock, Comparison, Point, Summary, Trial
from bellmark.audits.values import Number
from bellmark.config import flatten
from bellmark.records.layout import METRICS
from bellmark.reports.dossier import ArmRecord, Dossier, RunRecord
from bellmark.reports.words import Unit
from bellmark.sweeps.design import PROTECTED
from bellmark.sweeps.names import value_text
from bellmark.sweeps.schema import Sweep

MOST_UNDECLARED = 12  # groups of a folder that are looked at as one comparison; more are a collection, not a question
_QUOTED: dict[str, Summary] = {"peak": "peak", "final": "final", "last_mean": "last_mean"}


class _Mark(msgspec.Struct):
    """The part of a metrics row that says when it was written."""

    step: int
    attempt: int
    time: float = 0.0
    resumed_from: int | None = None


_MARKS = msgspec.json.Decoder(_Mark)


def case_of(dossier: Dossier, where: str) -> Case:
    """Everything that audits can know of a sweep or of some runs."""
    marks = {id(run): _marks(run.path) if run.meta else [] for run in dossier.runs}
    trials = {id(run): _trial(run, dossier, marks[id(run)]) for run in dossier.runs}
    arms = [Arm(arm.name, tuple(trials[id(run)] for run in arm.runs)) for arm in dossier.arms if arm.runs]
    clocks = [clock for run in dossier.runs for clock in _clocks(marks[id(run)], trials[id(run)])]
    return Case(
        where=where,
        trials=tuple(trials.values()),
        arms=tuple(arms),
        comparisons=tuple(_comparisons(dossier, arms, where)),
        clocks=tuple(clocks),
    )


def _comparisons(dossier: Dossier, arms: Sequence[Arm], where: str) -> Iterator[Comparison]:
    """Each arm with the baseline, as the sweep declares it; without a sweep all arms together, claiming nothing."""
    records = {arm.name: arm for arm in dossier.arms}
    if dossier.sweep is None:
        if 1 < len(arms) <= MOST_UNDECLARED:
            problems = _unlike(records[arms[0].label], [records[arm.label] for arm in arms[1:]])
            yield Comparison(where, 0, dossier.name, f"all runs of {dossier.name}", tuple(arms), problems=problems)
        return
    baseline = next((arm for arm in arms if records[arm.label].is_baseline), None)
    expect = dossier.sweep.expect
    percent = 100.0 if Unit(dossier.metric).is_share else 1.0
    for arm in arms:
        if baseline is None or arm is baseline:
            continue
        found = (p for run in records[arm.label].runs for p in run.problems)
        yield Comparison(
            where=where,
            line=0,
            entry=dossier.name,
            title=f"{arm.label} against {baseline.label}",
            arms=(baseline, arm),
            keys=frozenset({*dossier.sweep.set, *records[arm.label].differs}),
            quoted=_QUOTED[expect.summary],
            higher_is_better=expect.direction == "increase",
            baseline=baseline.label,
            problems=tuple(dict.fromkeys((*found, *_planned_unlike(records[arm.label])))),
            minimum_effect=percent * expect.minimum_effect,
        )


def _planned_unlike(arm: ArmRecord) -> list[str]:
    """Undeclared differences that a plan shows before anything has run."""
    if any(run.problems for run in arm.runs):
        return []
    return [f"{key} is {_text(arm.differs[key][1])}, not {_text(arm.differs[key][0])}" for key in arm.undeclared]


def _unlike(first: ArmRecord, others: Sequence[ArmRecord]) -> tuple[str, ...]:
    """Differences of budget, start, task or evaluation between groups that were never declared comparable."""
    found = []
    one = flatten(first.runs[0].config)
    for other in others:
        two = flatten(other.runs[0].config)
        keys = [k for k in one if k.split(".")[0] in PROTECTED and k in two and one[k] != two[k]]
        if keys:
            listed = ", ".join(f"{k} {_text(one[k])} and {_text(two[k])}" for k in keys)
            found.append(f"{first.name} against {other.name}: {listed}")
    return tuple(found)


def _trial(run: RunRecord, dossier: Dossier, marks: Sequence[_Mark]) -> Trial:
    share = Unit(dossier.metric).is_share
    scale, unit = (100.0, "%") if share else (1.0, "")
    trace = run.trace
    curve = [
        Point(
            at=float(step),
            value=Number(float(value) * scale, 0, f"{value * scale:.4g}{unit}", unit),
            episodes=int(count) if math.isfinite(count) else None,
        )
        for step, value, count in zip(trace.step, trace.value, trace.episodes, strict=True)
        if math.isfinite(value)
    ]
    planned = dict(override.partition("=")[::2] for override in run.overrides)  # all that is known before a run
    settings = {k: _text(v) for k, v in flatten(run.config).items() if v is not None} or planned
    trial = Trial(
        name=run.name,
        where=str(run.path),
        entry=dossier.name,
        settings=settings,
        seed=run.seed,
        share=share,
        curve=curve,
        budget=float(run.total) or None,
        evaluations=len(curve),
        code=run.code,
        states=(run.state,),
        planned_episodes=_planned(dossier.sweep, settings) if dossier.sweep and run.state == "new" else 0,
    )
    if run.meta:
        _lived(trial, run, marks)
    return trial


def _planned(sweep: Sweep, settings: dict[str, str]) -> int:
    """Episodes behind one run's summary, as far as the plan says."""
    episodes = settings.get("evaluation.episodes", "")
    used = sweep.expect.last if sweep.expect.summary == "last_mean" else 1
    return int(episodes) * used if episodes.isdigit() else 0


def _lived(trial: Trial, run: RunRecord, marks: Sequence[_Mark]) -> None:
    """When and where a run was carried out, and whether an attempt threw the former one's work away."""
    times = [m.time for m in marks if m.time]
    if times:
        trial.started, trial.span = times[0], (min(times), max(times))
    trial.host = run.meta.host if run.meta else ""
    reached: dict[int, int] = {}
    for mark in marks:
        former = max((step for attempt, step in reached.items() if attempt < mark.attempt), default=0)
        if mark.attempt not in reached and mark.resumed_from is None and mark.step == 0 and former > 0:
            trial.restarted_at = float(former)
        reached[mark.attempt] = max(reached.get(mark.attempt, 0), mark.step)


def _marks(folder: Path) -> list[_Mark]:
    """Step, attempt and time of every readable row."""
    found = []
    try:
        lines = (folder / METRICS).read_bytes().split(b"\n")
    except OSError:
        return []
    for line in lines:
        try:
            found.append(_MARKS.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # damage is the doctor's matter
    return found


def _clocks(marks: Sequence[_Mark], trial: Trial) -> Iterator[Clock]:
    """The rows whose times run backwards, each after the one before it."""
    for one, two in pairwise(marks):
        if two.time and one.time and two.time < one.time - 1.0:
            for mark in (one, two):
                said = f"the row of step {mark.step:,} (attempt {mark.attempt})"
                yield Clock(trial.where, 0, trial.entry, said, mark.time, "row")


def _text(value: object) -> str:
    return value_text(value)
