"""One run's folder as a report needs it, read again only when its files have changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bellmark.records import Attempt, Curve, Run, standing
from bellmark.records.layout import METRICS, STATUS
from bellmark.reports.code import codes_of
from bellmark.reports.dossier import EMPTY, Cost, RunRecord, Trace
from bellmark.reports.findings import Diagnose, Finding, order, undiagnosed

PHASE = "time/"
ABOUT_EVALUATION = ("eval/episodes", "eval/steps")  # what an evaluation took, not what came out
LEARNING = ("advantage/", "weight/", "policy/kl", "policy/clip_share", "policy/log_std", "value/explained_variance")
Stamp = tuple[int, ...]


@dataclass(frozen=True)
class _Evidence:
    """What stands in the metrics of a run, and what a diagnosis makes of it."""

    trace: Trace
    others: Mapping[str, Curve]
    cost: Cost
    learning: Mapping[str, float]
    attempts: tuple[Attempt, ...]
    codes: tuple[str, ...]
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]


class Shelf:
    """The records that were read, by folder and metric; a folder whose files stand as they stood is not read again.

    Args:
        diagnose: asked once per reading of a run.
    """

    def __init__(self, diagnose: Diagnose = undiagnosed) -> None:
        self._diagnose = diagnose
        self._read: dict[tuple[Path, str], tuple[Stamp, _Evidence]] = {}

    def record(self, run: Run, arm: str, metric: str) -> RunRecord:
        """The run as it stands now, as one of an arm, with `metric` as the one that is looked at."""
        found = self._evidence(run, metric)
        meta, status = run.meta, run.status
        return RunRecord(
            name=meta.name,
            arm=arm,
            task=meta.task,
            seed=meta.seed,
            state=status.state,
            step=status.step,
            total=status.total or meta.steps,
            reason=status.reason,
            path=run.path,
            fingerprint=meta.fingerprint,
            recipe=meta.recipe,
            overrides=tuple(meta.overrides),
            meta=meta,
            attempts=found.attempts,
            codes=found.codes,
            trace=found.trace,
            others=found.others,
            cost=found.cost,
            learning=found.learning,
            notes=found.notes,
            findings=found.findings,
        )

    def _evidence(self, run: Run, metric: str) -> _Evidence:
        stamp = stamp_of(run.path)  # before the files are read: what changes in between is read again next time
        key = (run.path, metric)
        if key not in self._read or self._read[key][0] != stamp:
            self._read[key] = (stamp, _read(run, metric, self._diagnose))
        return self._read[key][1]


def stamp_of(folder: Path) -> Stamp:
    """Equal while neither metrics nor status of a run folder change."""
    found: list[int] = []
    for name in (METRICS, STATUS):
        try:
            about = (folder / name).stat()
        except OSError:
            found += [0, 0, 0]
        else:
            found += [about.st_size, about.st_mtime_ns, about.st_ino]
    return tuple(found)


def _read(run: Run, metric: str, diagnose: Diagnose) -> _Evidence:
    curves = run.curves()
    return _Evidence(
        trace=_trace(curves, metric),
        others={n: c for n, c in curves.items() if n.startswith("eval/") and n not in (metric, *ABOUT_EVALUATION)},
        cost=_cost(curves),
        learning=_learning(curves),
        attempts=tuple(standing(run.attempts())),
        codes=codes_of(run),
        notes=tuple(run.problems()),
        findings=tuple(sorted(diagnose(run, curves), key=order)),
    )


def _trace(curves: Mapping[str, Curve], metric: str) -> Trace:
    main = curves.get(metric)
    if main is None:
        return EMPTY
    simulator, wall = spent(curves, main.step)
    return Trace(main.step, main.value, simulator, wall, _at(curves.get("eval/episodes"), main.step))


def spent(curves: Mapping[str, Curve], step: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(simulator steps, seconds of all phases) until each step; NaN where they are unknown."""
    simulator = np.zeros(len(step))
    for counter in ("steps/real", "steps/branch"):
        simulator = simulator + _at(curves.get(counter), step)
    if "steps/gathered" in curves:  # not every family has stored policies act
        simulator = simulator + _at(curves["steps/gathered"], step)
    phases = [curve for name, curve in curves.items() if name.startswith(PHASE)]
    wall = np.zeros(len(step)) if phases else np.full(len(step), np.nan)
    for curve in phases:
        total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(curve.value))])
        wall = wall + total[np.searchsorted(curve.step, step, side="right")]
    return simulator, wall


def _at(curve: Curve | None, step: NDArray[np.int64]) -> NDArray[np.float64]:
    """The latest value at or before each step; NaN before the first, and everywhere where there is no such metric."""
    if curve is None or not len(curve.step):
        return np.full(len(step), np.nan)
    index = np.searchsorted(curve.step, step, side="right") - 1
    return np.where(index < 0, np.nan, curve.value[np.maximum(index, 0)])


def _cost(curves: Mapping[str, Curve]) -> Cost:
    last = {name: float(curve.value[-1]) for name, curve in curves.items() if name.startswith("steps/")}
    seconds = {n.removeprefix(PHASE): float(np.nansum(c.value)) for n, c in curves.items() if n.startswith(PHASE)}
    judging = curves.get("eval/steps")
    evaluated = float(np.nansum(judging.value)) if judging is not None else None
    return Cost(last.get("steps/real"), last.get("steps/branch"), last.get("steps/gathered"), evaluated, seconds)


def _learning(curves: Mapping[str, Curve]) -> dict[str, float]:
    """Means over all rows; what is no number in some is left out there."""
    told = {name: c.value[np.isfinite(c.value)] for name, c in curves.items() if name.startswith(LEARNING)}
    return {name: float(values.mean()) for name, values in sorted(told.items()) if len(values)}
