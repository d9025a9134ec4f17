"""The report as one HTML file: no network, no fonts of its own, readable without JavaScript.

Curves are SVG written here, not drawn by a library in the browser: so the page prints, needs no script to be read, and
every line carries its run and steps as attributes. Past 400 points a line is thinned to the extremes of its stretches,
so that a page of a thousand runs stays a few megabytes. The script adds hover and arrow keys, in about 120 lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from bellmark.reports import tables
from bellmark.reports.curves import MOST_WITH_SEEDS, axes_of, panels
from bellmark.reports.dossier import ArmRecord, Dossier, RunRecord
from bellmark.reports.effects import effect_text, effect_unit, forest, summary_name
from bellmark.reports.remarks import remarks
from bellmark.reports.words import STATES, VERDICTS, Unit, count, listed, some
from bellmark.stats import Verdict
from bellmark.stats.claim import SUMMARIES

MOST_SENTENCES = 3  # verdicts spelled out at the top; more are listed there, and spelled out with the effects


@dataclass(frozen=True)
class BoardCell:
    """One arm on one task: how far its seeds are, and where they ended."""

    runs: tuple[RunRecord, ...]
    counts: str
    mean: tables.Cell


@dataclass(frozen=True)
class BoardRow:
    """One arm over all tasks, with its verdict."""

    arm: ArmRecord
    cells: tuple[BoardCell, ...]
    kind: str  # of the verdict; "" for the baseline


def render(dossier: Dossier, verdicts: Sequence[Verdict], *, notes: str = "") -> str:
    """The page.

    Args:
        notes: the user's own, as plain text.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bellmark.reports", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=count, percent=lambda share: f"{100 * share:.3f}%", opened=_opened, breakable=_breakable
    )
    return environment.get_template("page.html").render(_context(dossier, verdicts, notes))


def _opened(sentence: str) -> str:
    """A verdict's sentence without the word that the badge beside it says."""
    return sentence.partition(": ")[2] or sentence


def _breakable(key: str) -> Any:
    """A dotted key that a narrow screen may break after its dots."""
    from markupsafe import Markup, escape

    return Markup(".<wbr>").join(escape(part) for part in key.split("."))


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
    other_names, other_rows = tables.others(dossier)
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
        "most_with_seeds": MOST_WITH_SEEDS,
        "forest": forest(dossier, verdicts) if verdicts else None,
        "tests": [_tests(verdict, dossier) for verdict in verdicts],
        "summaries": tables.summaries(dossier),
        "summary_names": {name: summary_name(name, dossier.last) for name in _declared_first(dossier)},
        "evaluations": tables.evaluations(dossier),
        "other_names": other_names,
        "other_rows": other_rows,
        "failures": tables.failures(dossier),
        "phases": phases,
        "costs": cost_rows,
        "settings": tables.differing_settings(dossier),
        "shared": tables.shared_settings(dossier),
        "commands": commands(dossier),
        "codes": sorted({run.code for run in dossier.runs if run.meta}),
        "versions": _versions(dossier),
        "remarks": remarks(dossier, verdicts),
        "notes": notes.strip(),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "marks": VERDICTS,
        "states": STATES,
        "unit": Unit(dossier.metric),
        "train_command": tables.train_command,
        "style": _asset("style.css"),
        "script": _asset("script.js"),
    }


def _declared_first(dossier: Dossier) -> list[str]:
    declared = dossier.sweep.expect.summary if dossier.sweep else "last_mean"
    return sorted(SUMMARIES, key=lambda name: name != declared)


def _asset(name: str) -> Any:
    from markupsafe import Markup

    return Markup(resources.files("bellmark.reports").joinpath("assets", name).read_text(encoding="utf-8"))


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
            BoardCell(arm.on(task), _counts(arm.on(task)), means[arm.name, task][summary]) for task in dossier.tasks
        )
        rows.append(BoardRow(arm, cells, found.kind if found else ""))
    return rows


def _counts(runs: Sequence[RunRecord]) -> str:
    """`2 of 5 done, 1 running, 1 failed, 1 pending`; saved and lost runs count as pending."""
    done, failed = sum(run.finished for run in runs), sum(run.failed for run in runs)
    running = sum(run.state == "running" for run in runs)
    rest = {"running": running, "failed": failed, "pending": len(runs) - done - failed - running}
    return ", ".join([f"{done} of {len(runs)} done", *(f"{n} {word}" for word, n in rest.items() if n)])


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
        for library, version in (run.meta.versions if run.meta else {}).items():
            found.setdefault(library, {})[version] = None
    return {library: ", ".join(versions) for library, versions in found.items()}
