"""The report as one HTML file: no network, no fonts of its own, readable without JavaScript.

The same templates make the file and the live page. Verdicts, means, bands and tables are HTML and SVG written here, so
that the page prints and can be read without a script. What there is much of is data, packed: the points of the seeds,
and in a file every run's own document (a live page asks its server for that). Long curves are thinned to the extremes
of their stretches, so that a page of a thousand runs stays a few megabytes and opens at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bellmark.reports import tables
from bellmark.reports.curves import MOST_WITH_SEEDS, axes_of, lines, panels
from bellmark.reports.documents import documents
from bellmark.reports.dossier import ArmRecord, Dossier, RunRecord
from bellmark.reports.effects import effect_text, effect_unit, forest, summary_name
from bellmark.reports.findings import gravest
from bellmark.reports.frame import Live, RunRow, fill
from bellmark.reports.pack import pack
from bellmark.reports.remarks import remarks
from bellmark.reports.words import DASH, STATES, VERDICTS, Unit, listed, some
from bellmark.stats import Verdict
from bellmark.stats.claim import SUMMARIES

MOST_DETAILED = 200  # runs up to which tables have a row or a number for each, besides the table of runs
MOST_SENTENCES = 3  # verdicts spelled out at the top; more are listed there, and spelled out with the effects


@dataclass(frozen=True)
class BoardCell:
    """One arm on one task: how far its seeds are, and where they ended."""

    runs: tuple[RunRecord, ...]
    counts: str
    mean: tables.Cell
    health: str  # the gravest finding about its runs


@dataclass(frozen=True)
class BoardRow:
    """One arm over all tasks, with its verdict."""

    arm: ArmRecord
    cells: tuple[BoardCell, ...]
    kind: str  # of the verdict; "" for the baseline


def render(dossier: Dossier, verdicts: Sequence[Verdict], *, notes: str = "", live: Live | None = None) -> str:
    """The page.

    Args:
        notes: the user's own, as plain text.
        live: given where the page is served: it follows the records, and asks for single runs when they are opened.
    """
    context = _context(dossier, verdicts, notes)
    held = {} if live else documents(dossier)
    return fill("page.html", context, documents=held, live=live, share=Unit(dossier.metric).is_share)


def headline(dossier: Dossier, verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """(kind, words) that stand over everything else."""
    if dossier.sweep is None:
        return "none", "No claim was declared, so there is nothing to judge: the numbers below are descriptive."
    if not verdicts:
        return "none", "There is no arm to compare with the baseline."
    if len(verdicts) == 1:
        return verdicts[0].kind, ""
    kinds: Counter[str] = Counter(verdict.kind for verdict in verdicts)
    counted = [f"{kinds[k]} {VERDICTS[k].word}" for k in VERDICTS if kinds[k]]
    kind = next(iter(kinds)) if len(kinds) == 1 else "none"
    return kind, f"Of {some(len(verdicts), 'arm')} compared with {verdicts[0].baseline}: {listed(counted)}."


def progress(dossier: Dossier) -> str:
    """`5 of 6 runs done, 1 failed`."""
    runs = dossier.runs
    states = Counter(STATES[run.state].word for run in runs if not run.finished and not run.failed)
    states["failed"] = sum(run.failed for run in runs)
    rest = [f"{n} {word}" for word, n in states.items() if n]
    return ", ".join([f"{sum(run.finished for run in runs)} of {some(len(runs), 'run')} done", *rest])


def _context(dossier: Dossier, verdicts: Sequence[Verdict], notes: str) -> dict[str, Any]:
    kind, words = headline(dossier, verdicts)
    phases, cost_rows = tables.costs(dossier)
    learning_names, learning_rows = tables.learning(dossier)
    other_names, other_rows = tables.others(dossier)
    detailed = len(dossier.runs) <= MOST_DETAILED
    return {
        "d": dossier,
        "sweep": dossier.sweep,
        "verdicts": verdicts,
        "spelled": len(verdicts) <= MOST_SENTENCES,
        "kind": kind,
        "headline": words,
        "problems": _problems(verdicts),
        "progress": progress(dossier),
        "expectation": expectation(dossier),
        "board": board(dossier, verdicts),
        "axes": axes_of(dossier),
        "panels": panels(dossier),
        "lines": {name: pack(seeds) for name, seeds in lines(dossier).items()},
        "diagnosed": any(run.findings for run in dossier.runs),
        "detailed": detailed,
        "most_rows": MOST_DETAILED,
        "run_rows": [_run_row(run, dossier) for run in dossier.runs],
        "most_with_seeds": MOST_WITH_SEEDS,
        "forest": forest(dossier, verdicts) if verdicts else None,
        "tests": [_tests(verdict, dossier) for verdict in verdicts],
        "summaries": tables.summaries(dossier),
        "summary_names": {name: summary_name(name, dossier.last) for name in _declared_first(dossier)},
        "evaluations": tables.evaluations(dossier, seeds=detailed),
        "other_names": other_names,
        "other_rows": other_rows,
        "failures": tables.failures(dossier),
        "phases": phases,
        "costs": cost_rows,
        "learning_names": learning_names,
        "learning": learning_rows,
        "settings": tables.differing_settings(dossier),
        "shared": tables.shared_settings(dossier),
        "commands": commands(dossier),
        "codes": sorted({code for run in dossier.runs for code in run.codes}),
        "versions": _versions(dossier),
        "remarks": remarks(dossier, verdicts),
        "notes": notes.strip(),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "unit": Unit(dossier.metric),
        "train_command": tables.train_command,
    }


def _declared_first(dossier: Dossier) -> list[str]:
    declared = dossier.sweep.expect.summary if dossier.sweep else "last_mean"
    return sorted(SUMMARIES, key=lambda name: name != declared)


def _problems(verdicts: Sequence[Verdict]) -> list[str]:
    """Everything that makes a comparison invalid, each once."""
    return list(dict.fromkeys(p for verdict in verdicts if verdict.kind == "invalid" for p in verdict.problems))


def expectation(dossier: Dossier) -> str:
    """The declared claim in one line."""
    if dossier.sweep is None:
        return ""
    expect, unit = dossier.sweep.expect, effect_unit(dossier)
    parts = [f"{expect.metric}, {summary_name(expect.summary, expect.last)}, should {expect.direction}"]
    if expect.minimum_effect:
        parts.append(f"by at least {unit.difference(expect.minimum_effect).lstrip('+')}")
    parts.append(f"over {dossier.baseline.name if dossier.baseline else 'the baseline'}")
    looks = f", looked at with {listed([str(n) for n in expect.looks])} seeds" if expect.looks else ""
    return f"{' '.join(parts)} (alpha {expect.alpha:g}{looks})"


def board(dossier: Dossier, verdicts: Sequence[Verdict]) -> list[BoardRow]:
    """A row per arm, a cell per task."""
    means = {(row.arm.name, row.task): row.cells for row in tables.summaries(dossier)}
    summary = dossier.sweep.expect.summary if dossier.sweep else "last_mean"
    rows = []
    for arm in dossier.arms:
        found = tables.verdict_of(verdicts, arm)
        cells = tuple(
            BoardCell(
                runs, _counts(runs), means[arm.name, task][summary], gravest([f for r in runs for f in r.findings])
            )
            for task in dossier.tasks
            for runs in [arm.on(task)]
        )
        rows.append(BoardRow(arm, cells, found.kind if found else ""))
    return rows


def _counts(runs: Sequence[RunRecord]) -> str:
    """`2 of 5 done, 1 running, 1 failed, 1 pending`; saved and lost runs count as pending."""
    done, failed = sum(run.finished for run in runs), sum(run.failed for run in runs)
    running = sum(run.state == "running" for run in runs)
    rest = {"running": running, "failed": failed, "pending": len(runs) - done - failed - running}
    return ", ".join([f"{done} of {len(runs)} done", *(f"{n} {word}" for word, n in rest.items() if n)])


def _run_row(run: RunRecord, dossier: Dossier) -> RunRow:
    value = float(run.trace.value[-1]) if len(run.trace.value) else math.nan
    return RunRow(
        key=run.name,
        name=run.name,
        sweep=dossier.name,
        arm=run.arm,
        task=run.task,
        seed=run.seed,
        state="failed" if run.failed else run.state,
        step=run.step,
        total=run.total,
        value=Unit(dossier.metric).value(value),
        metric="",
        value_key=f"{value:.6g}" if math.isfinite(value) else "",
        health=gravest(run.findings),
        folder=str(run.path),
        fingerprint=run.fingerprint,
        code=run.code,
        created=run.meta.created[:16].replace("T", " ") if run.meta else DASH,
        recorded=run.meta is not None,
    )


def _tests(verdict: Verdict, dossier: Dossier) -> dict[str, Any]:
    """What the verdict rests on, ready for a table; "" where the kind may not show a number."""
    unit = effect_unit(dossier)

    def p(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}" if value >= 0.0001 else "< 0.0001"

    return {
        "arm": verdict.arm,
        "kind": verdict.kind,
        "p_welch": p(verdict.p_welch),
        "p_permutation": p(verdict.p_permutation),
        "level": f"{verdict.level:.4g}" if verdict.p_welch is not None else "",
        "effect": effect_text(unit, verdict.estimate, verdict.low, verdict.high),
        "opposite": verdict.opposite,
        "sentence": verdict.sentence,
        "pairs": "" if verdict.pairs is None else f"{verdict.pairs_won:g} of {verdict.pairs}",
        "better": "" if verdict.probability_of_improvement is None else f"{verdict.probability_of_improvement:.2f}",
        "noise": "" if verdict.noise_floor is None else unit.difference(verdict.noise_floor).replace("+", "±"),
        "seeds": "" if verdict.seeds_needed is None else f"{verdict.seeds_needed:,}",
        "statistics": "" if not verdict.by_summary else "disagree" if verdict.depends_on_statistic else "agree",
    }


def commands(dossier: Dossier) -> list[tuple[str, str]]:
    """(what it does, command): the whole sweep first, then how to make one run again."""
    found = []
    if dossier.sweep is not None and dossier.source:
        found.append(("run what is missing, then report", f"bellmark sweep run {dossier.source}"))
    if dossier.source:
        found.append(("write this report again", f"bellmark report {dossier.source}"))
    for arm in dossier.arms:
        if arm.runs:
            found.append((f"one run of {arm.name}", tables.train_command(arm.runs[0])))
    return found


def _versions(dossier: Dossier) -> Mapping[str, str]:
    """Library -> the versions that the runs were made with."""
    found: dict[str, dict[str, None]] = {}
    for run in dossier.runs:
        for library, version in (pair for maker in run.makers for pair in maker.versions.items()):
            found.setdefault(library, {})[version] = None
    return {library: ", ".join(versions) for library, versions in found.items()}
