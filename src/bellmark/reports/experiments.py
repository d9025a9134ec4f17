"""EXPERIMENTS.md: one entry per sweep or group of runs, written again at every call; what its owner wrote stays.

An entry stands between two marks. Inside it, the notes between their own marks are kept; everything outside of entries
(a preface, remarks between them) is kept as it is, where it is. New entries are added at the end. An entry whose runs
are gone stays as last written and says so. Nothing anybody wrote is lost: when a generated part was changed by hand,
the whole former file is set aside first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bellmark.records import write_atomic
from bellmark.reports import log, page
from bellmark.reports.dossier import Dossier
from bellmark.reports.effects import summary_name
from bellmark.reports.words import DASH, VERDICTS
from bellmark.stats import Verdict

PREFACE = "# Experiment Log\n\nKept by `bellmark log`: entries are written from the records, notes in them are yours.\n"
GONE = "> The runs of this entry are no longer there: it stands as last written."
_ENTRY = re.compile(
    r"<!-- bellmark entry (?P<key>\S+) (?P<sum>[0-9a-f]{8}) -->\n(?P<body>.*?)\n<!-- end of entry (?P=key) -->",
    re.DOTALL,
)


@dataclass(frozen=True)
class Outcome:
    """What a writing of the log did, by key of entry."""

    added: tuple[str, ...] = ()
    renewed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    set_aside: Path | None = None  # the former file, where a generated part had been changed by hand


@dataclass
class _Changes:
    added: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    edited: bool = False


Judged = tuple[Dossier, Sequence[Verdict]]


def keys_in(file: Path) -> list[str]:
    """The keys of the entries that a log holds."""
    return [found["key"] for found in _ENTRY.finditer(_read(file))]


def write(file: Path, found: Mapping[str, Judged], *, unread: Collection[str] = ()) -> Outcome:
    """Bring a log up to date with what was found, by key of entry; writing twice changes nothing.

    Args:
        unread: entries of which nothing can be said now, because their sweep file cannot be read: left as they are.

    Raises:
        OSError: the file cannot be read or written.
    """
    former = _read(file)
    changes = _Changes()

    def renewed(entry: re.Match[str]) -> str:
        return entry[0] if entry["key"] in unread else _renewed(entry, found.get(entry["key"]), changes)

    text = _ENTRY.sub(renewed, former) or PREFACE
    present = {entry["key"] for entry in _ENTRY.finditer(text)}
    for key, (dossier, verdicts) in found.items():
        if key not in present:
            changes.added.append(key)
            text = f"{text.rstrip()}\n\n{_framed(key, _entry(dossier, verdicts, ''))}\n"
    aside = None
    if changes.edited and text != former:
        aside = _free(file)
        write_atomic(aside, former.encode())
    if text != former:
        write_atomic(file, text.encode())
    return Outcome(
        added=tuple(changes.added),
        renewed=tuple(changes.renewed),
        unchanged=tuple(changes.unchanged),
        gone=tuple(changes.gone),
        set_aside=aside,
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _renewed(entry: re.Match[str], judged: Judged | None, changes: _Changes) -> str:
    """An entry as it reads now."""
    key, body = entry["key"], entry["body"]
    notes, marked = _notes(body)
    if judged is None:
        changes.gone.append(key)
        if GONE in body:
            return entry[0]
        heading, _, rest = body.partition("\n")
        return _framed(key, f"{heading}\n\n{GONE}\n{rest}")
    edited = _checksum(body) != entry["sum"]
    changes.edited = changes.edited or edited
    new = _framed(key, _entry(*judged, notes))
    (changes.unchanged if new == entry[0] else changes.renewed).append(key)
    # without its marks nobody can tell notes from tables: the whole stays, above the entry written anew
    return new if marked else f"{body}\n\n{new}"


def _notes(body: str) -> tuple[str, bool]:
    """(what stands between the marks for notes, whether both marks are there)."""
    begin, end = body.find(log.BEGIN), body.rfind(log.END)
    if begin < 0 or end < begin:
        return "", False
    return body[begin + len(log.BEGIN) : end].strip("\n"), True


def _framed(key: str, body: str) -> str:
    body = body.strip("\n")
    return f"<!-- bellmark entry {key} {_checksum(body)} -->\n{body}\n<!-- end of entry {key} -->"


def _checksum(body: str) -> str:
    """Of the generated part alone: notes may change."""
    begin, end = body.find(log.BEGIN), body.rfind(log.END)
    own = body if begin < 0 or end < begin else body[:begin] + body[end:]
    return hashlib.sha256(own.strip().encode()).hexdigest()[:8]


def _entry(dossier: Dossier, verdicts: Sequence[Verdict], notes: str) -> str:
    """The report's Markdown with a table of where each cell stands, before its results."""
    text = log.render(dossier, verdicts, notes=notes)
    head, mark, rest = text.partition("\n### Results")
    return f"{head}\n{status(dossier, verdicts)}\n{mark}{rest}"


def status(dossier: Dossier, verdicts: Sequence[Verdict]) -> str:
    """A row per experiment, a column per task: how many seeds are done and where they ended, or (pending)."""
    summary = dossier.sweep.expect.summary if dossier.sweep else "last_mean"
    rows = []
    for row in page.board(dossier, verdicts):
        cells = [
            f"{cell.mean.text} ({cell.counts})" if cell.mean.text != DASH else f"(pending: {cell.counts})"
            for cell in row.cells
        ]
        kind = "baseline" if row.arm.is_baseline else VERDICTS[row.kind].word if row.kind else DASH
        rows.append([log.escape(row.arm.name), *cells, "(pending)" if kind == "pending" else kind])
    head = ["Experiment", *(log.escape(task) for task in dossier.tasks), "Verdict"]
    name = summary_name(summary, dossier.last)
    return f"### Status: {log.escape(dossier.metric)}, {name}\n\n{log.table(head, rows)}"


def _free(file: Path) -> Path:
    """A name beside the log that nothing has yet."""
    names = (file.with_name(f"{file.stem}.previous{n or ''}{file.suffix}") for n in range(10_000))
    return next(path for path in names if not path.exists())
