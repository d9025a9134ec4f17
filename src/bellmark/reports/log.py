"""The report as Markdown, in the shape of a hand-kept experiment log; one's own notes survive a new writing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bellmark.reports import page, tables
from bellmark.reports.dossier import Dossier
from bellmark.reports.effects import effect_text, effect_unit, summary_name
from bellmark.reports.findings import SEVERITIES
from bellmark.reports.remarks import remarks
from bellmark.reports.words import DASH, STATES, VERDICTS, count
from bellmark.stats import Verdict
from bellmark.stats.claim import SUMMARIES

BEGIN = "<!-- your notes: everything down to the next mark is kept when this file is written again -->"
END = "<!-- end of your notes -->"
MOST_COLUMNS = 11  # evaluations in a table that has to be read as text
PREVIOUS = "log.previous.md"


def own_notes(file: Path) -> str:
    """What the user wrote between the marks of an earlier log; "" where there is none.

    A log without its marks is set aside as log.previous.md, so that nothing anybody wrote is lost.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    begin, end = text.find(BEGIN), text.rfind(END)
    if begin < 0 or end < begin:
        file.replace(_free(file.with_name(PREVIOUS)))
        return ""
    return text[begin + len(BEGIN) : end].strip("\n")


def _free(path: Path) -> Path:
    """The path itself, or with a number where that is taken."""
    numbered = (path.with_name(f"{path.stem}.{n}{path.suffix}") for n in range(2, 10_000))
    return path if not path.exists() else next(p for p in numbered if not p.exists())


def render(dossier: Dossier, verdicts: Sequence[Verdict], *, notes: str = "") -> str:
    """The log: one entry with overview, settings, commands, results, summary, run folders and notes."""
    parts = [
        _heading(dossier),
        _overview(dossier),
        _settings(dossier),
        _commands(dossier),
        _results(dossier),
        _summary(dossier, verdicts),
        _failed(dossier),
        _health(dossier),
        _folders(dossier),
        _remarks(dossier, verdicts),
        f"### Notes\n\n{BEGIN}\n{notes}\n{END}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: object) -> str:
    """Text as Markdown shows it unchanged within a line or a table cell."""
    line = " ".join(str(text).split())
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "'")):
        line = line.replace(sign, instead)
    return line


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; its cells are escaped already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _heading(dossier: Dossier) -> str:
    created = sorted(run.meta.created for run in dossier.runs if run.meta and run.meta.created)
    when = f" - {created[0][:16].replace('T', ' ')}" if created else ""
    codes = sorted({code for run in dossier.runs for code in run.codes}) or ["no run yet"]
    return f"## [{escape(dossier.name)}]{when}\n\n**Git**: {', '.join(codes)}"


def _overview(dossier: Dossier) -> str:
    sweep = dossier.sweep
    if sweep is None:
        return f"### Overview\n\nRuns without a declared question, grouped by settings. {page.progress(dossier)}."
    lines = [escape(sweep.question)]
    if sweep.hypothesis:
        lines.append(f"Hypothesis: {escape(sweep.hypothesis)}")
    lines += [f"Expected: {escape(page.expectation(dossier))}.", f"Runs: {page.progress(dossier)}."]
    return "### Overview\n\n" + "\n\n".join(lines)


def _settings(dossier: Dossier) -> str:
    shared = [[escape(key), escape(value)] for key, value in tables.shared_settings(dossier)]
    parts = [f"### Shared Settings\n\n{table(['Parameter', 'Value'], shared)}"] if shared else []
    differing = tables.differing_settings(dossier)
    if differing:
        names = [escape(arm.name) + " (baseline)" * arm.is_baseline for arm in dossier.arms]
        rows = [[escape(row.key), *(_setting(text, mark) for text, mark in row.values)] for row in differing]
        parts.append(f"### Settings per Experiment\n\n{table(['Parameter', *names], rows)}")
    return "\n\n".join(parts)


def _setting(text: str, mark: str) -> str:
    return {"same": escape(text), "declared": f"**{escape(text)}**"}.get(mark, f"**{escape(text)} (undeclared!)**")


def _commands(dossier: Dossier) -> str:
    lines = [f"# {' '.join(about.split())}\n{command}" for about, command in page.commands(dossier)]
    return "### Commands\n\n```bash\n" + "\n\n".join(lines) + "\n```"


def _results(dossier: Dossier) -> str:
    parts = []
    for found in tables.evaluations(dossier, most=MOST_COLUMNS):
        where = f", {escape(found.task)}" if len(dossier.tasks) > 1 else ""
        rows = []
        for row in found.rows:
            cells = [f"**{c.text}**" if c.best else c.text or DASH for c in row.cells]
            peak = row.peak.text if row.is_mean else f"{row.peak.text} ({row.peak.detail})"
            state = "" if row.run is None or row.run.finished else f" ({_state(row.run.state, row.run.failed)})"
            label = f"**{escape(row.label)}**" if row.is_mean else escape(row.label)
            rows.append([label + state, *cells, peak])
        head = ["Experiment", *(f"Step {count(step)}" for step in found.steps), "Peak"]
        left_out = f"\n\n{found.left_out} evaluations between these are left out." if found.left_out else ""
        parts.append(f"### Results: {escape(dossier.metric)}{where}\n\n{table(head, rows)}{left_out}")
    return "\n\n".join(parts) or "### Results\n\n(pending)"


def _state(state: str, failed: bool) -> str:
    return "failed" if failed else STATES[state].word


def _summary(dossier: Dossier, verdicts: Sequence[Verdict]) -> str:
    rows = []
    for row in tables.summaries(dossier):
        name = escape(row.arm.name) + " (baseline)" * row.arm.is_baseline
        values = [f"{row.cells[s].text} {row.cells[s].detail}".strip() for s in SUMMARIES]
        rows.append([name, escape(row.task), f"{row.done} of {len(row.arm.on(row.task))}", *values])
    head = ["Experiment", "Task", "Seeds done", *(summary_name(s, dossier.last).capitalize() for s in SUMMARIES)]
    parts = ["### Summary", table(head, rows)]
    _, words = page.headline(dossier, verdicts)
    parts += [words] if words else []
    unit = effect_unit(dossier)
    for verdict in verdicts:
        effect = effect_text(unit, verdict.estimate, verdict.low, verdict.high)
        word = "opposite" if verdict.opposite else VERDICTS[verdict.kind].word
        head_line = f"**{escape(verdict.arm)}: {word}**" + (f" ({effect})" if effect else "")
        parts.append(f"{head_line}. {escape(verdict.sentence)}")
    return "\n\n".join(parts)


def _failed(dossier: Dossier) -> str:
    rows = [
        [escape(run.name), count(run.step), escape(run.reason or "an evaluation is not a number")]
        for arm in tables.failures(dossier)
        for run in arm.runs
    ]
    return f"### Results: Failed Seeds\n\n{table(['Run', 'Step', 'Issue'], rows)}" if rows else ""


def _health(dossier: Dossier) -> str:
    rows = [
        [escape(run.name), SEVERITIES[f.severity].word, count(f.step), escape(f"{f.sentence} {f.advice}")]
        for run in dossier.runs
        for f in run.findings
    ]
    return f"### Health\n\n{table(['Run', 'Severity', 'Step', 'Finding'], rows)}" if rows else ""


def _folders(dossier: Dossier) -> str:
    lines = [f"- `{escape(run.path)}` ({run.fingerprint}, {_state(run.state, run.failed)})" for run in dossier.runs]
    return "### Run Dirs\n\n" + "\n".join(lines)


def _remarks(dossier: Dossier, verdicts: Sequence[Verdict]) -> str:
    cost = "\n\n".join(part for part in (_costs(dossier), _learning(dossier)) if part)
    lines: Iterator[str] = (f"- {escape(text)}" for text in (*remarks(dossier, verdicts), *dossier.cautions))
    notes = "\n".join(lines)
    return "\n\n".join(part for part in (cost, f"### Generated Notes\n\n{notes}" if notes else "") if part)


def _costs(dossier: Dossier) -> str:
    phases, rows = tables.costs(dossier)
    if not rows:
        return ""
    kinds = list(rows[0].steps)
    head = ["Experiment", *(f"{kind.capitalize()} steps" for kind in kinds), *map(str.capitalize, phases), "Wall time"]
    lines = [
        [escape(r.arm), *(r.steps[k].text for k in kinds), *(r.phases[p].text for p in phases), r.wall.text]
        for r in rows
    ]
    return f"### Cost per Run\n\n{table(head, lines)}"


def _learning(dossier: Dossier) -> str:
    names, rows = tables.learning(dossier)
    if not rows:
        return ""
    lines = [[name, *(cells[name].text for _, cells in rows)] for name in names]
    head = ["Mean over updates", *(escape(arm.name) for arm, _ in rows)]
    return f"### What the Updates Saw\n\n{table(head, lines)}"
