"""Audits of time: moments no clock shows, entries older than their runs, resumes from zero, timings under load."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median

from bellmark.audits.case import Case, Clock, Finding, Trial

HOUR = 3600.0
_LOADED = re.compile(
    r"\b(zombie|orphan|left[- ]?over|stray)\w*\b.{0,40}\b(process\w*|trainer\w*|run\w*)", re.IGNORECASE
)
_PREVIOUS = re.compile(r"\bprevious (tests?|results?|runs?|timings?)|\bskewed\b", re.IGNORECASE)
_SPEED = re.compile(r"steps?/s|/sec|trans(?:itions)?/s|speedup|throughput", re.IGNORECASE)


def clock(case: Case) -> Iterator[Finding]:
    """A moment that cannot be: 24:10, a date before the entry above, runs that began after their results were dated.

    Times written by hand tell in which order things were tried; a wrong one hides which result came first.
    """
    headings = [c for c in case.clocks if c.kind == "heading"]
    for one in headings:
        if one.read is None:
            yield _found(one, "wrong", f"{one.said!r} is a time that no clock shows{_later(one, case)}")
    known = [c for c in headings if c.read is not None]
    for before, after in pairwise(known):
        if (after.read or 0.0) < (before.read or 0.0):
            message = f"dated {after.said}, earlier than the entry above it ({before.said}, line {before.line})"
            yield _found(after, "weak", message)
    offset = _offset(case)
    for one in known:
        first = _first_start(case, one.entry)
        if first is None or one.read is None:
            continue
        late = first.read - (offset or 0.0) - one.read if first.read is not None else 0.0
        # without a known offset the two clocks may stand in different time zones
        if late > (HOUR if ":" in one.said and offset is not None else 24 * HOUR - 1):
            yield _found(one, "weak", f"dated {one.said}, but its first run {first.said} began {_span(late)} later")
    yield from _rows(case)


def _rows(case: Case) -> Iterator[Finding]:
    """Rows of a record whose times run backwards."""
    before: dict[str, Clock] = {}
    for one in (c for c in case.clocks if c.kind == "row"):
        former = before.get(one.where)
        if former is not None and (one.read or 0.0) < (former.read or 0.0) - 1.0:
            yield _found(
                one,
                "wrong",
                f"{one.said} was written {_span((former.read or 0) - (one.read or 0))} before {former.said}",
            )
        before[one.where] = one


def _later(one: Clock, case: Case) -> str:
    """What `24:10` may have meant, and how far its runs are from that."""
    parts = re.match(r"(\d{4})-(\d\d)-(\d\d) (\d+):(\d\d)$", one.said)
    first = _first_start(case, one.entry)
    if parts is None:
        return ""
    year, month, day, hour, minute = map(int, parts.groups())
    meant = datetime(year, month, day, tzinfo=UTC) + timedelta(hours=hour, minutes=minute)
    text = f"; read as {meant:%Y-%m-%d %H:%M}"
    offset = _offset(case)
    known = first is not None and first.read is not None and offset is not None
    late = (first.read or 0.0) - (offset or 0.0) - meant.timestamp() if known and first else 0.0
    return text + (f" it is {_span(late)} before its first run began" if late > HOUR else "")


def _first_start(case: Case, entry: str) -> Clock | None:
    starts = [c for c in case.clocks if c.kind == "start" and c.entry == entry and c.read is not None]
    trials = {t.started for t in case.trials if t.entry == entry and t.started}
    own = [c for c in starts if c.read in trials] or [c for c in starts if not trials]
    return min(own, key=lambda c: c.read or 0.0) if own else None


def _offset(case: Case) -> float | None:
    """Seconds between the log's local time and that of the run folders: the hour that most entries agree on.

    None where fewer than three entries say both.
    """
    gaps = []
    for one in case.clocks:
        first = _first_start(case, one.entry) if one.kind == "heading" and one.read and ":" in one.said else None
        if first is not None and first.read is not None and one.read is not None:
            gaps.append(first.read - one.read)
    return round(median(gaps) / HOUR) * HOUR if len(gaps) >= 3 else None


def resume(case: Case) -> Iterator[Finding]:
    """A run that says it was resumed, but whose steps began again at zero.

    Its curve is that of a fresh run with other random numbers, or of a run that lost its state. Compare it with fresh
    runs only.
    """
    for trial in case.trials:
        steps = [p.at for p in trial.curve]
        if trial.restarted_at:
            yield Finding(
                audit="resume", weight="wrong", where=trial.where, line=trial.line, entry=trial.entry,
                message=f"{trial.name}: an attempt began again at step 0 after {trial.restarted_at:g} steps",
            )  # fmt: skip
        if trial.resumed_at and steps and min(steps) < trial.resumed_at:
            yield Finding(
                audit="resume", weight="wrong", where=trial.where, line=trial.line, entry=trial.entry,
                message=f"{trial.name}: resumed at step {trial.resumed_at:g}, but has values from step {min(steps):g} "
                "on: it began again at 0",
            )  # fmt: skip


def host_load(case: Case) -> Iterator[Finding]:
    """Timings taken while other processes used the machine.

    Speeds measured beside left-over trainers say nothing about the change that was tried. Measure again on an idle
    machine, the old variant too.
    """
    for sentence in case.sentences:
        if not (_LOADED.search(sentence.text) and _PREVIOUS.search(sentence.text)):
            continue
        day = next((c.said for c in case.clocks if c.entry == sentence.entry and c.kind == "heading"), "")
        same = {c.entry for c in case.clocks if c.kind == "heading" and c.said == day and c.line < sentence.line}
        timed = [
            t for t in case.tallies if t.entry in same - {sentence.entry} and any(_SPEED.search(h) for h in t.head)
        ]
        if timed:
            listed = ", ".join(f"line {t.line}" for t in timed)
            yield Finding(
                audit="host-load", weight="wrong", where=sentence.where, line=sentence.line, entry=sentence.entry,
                message=f"{len(timed)} earlier tables of speeds were measured under that load: {listed}",
                lines=tuple(t.line for t in timed),
            )  # fmt: skip
    yield from _together(case.trials, case.where)


def _together(trials: Sequence[Trial], where: str) -> Iterator[Finding]:
    """Records of one machine whose runs overlapped more than once at a time, though their times are compared."""
    spans = [(t.span, t.host, t.name) for t in trials if t.span and t.host]
    beside: dict[str, int] = {}
    for span, host, name in spans:
        beside[name] = sum(h == host and a < span[1] and b > span[0] for (a, b), h, _ in spans) - 1
    if beside and max(beside.values()) != min(beside.values()):
        most, least = max(beside, key=lambda n: beside[n]), min(beside, key=lambda n: beside[n])
        yield Finding(
            audit="host-load", weight="note", where=where,
            message=f"wall times are not comparable: {most} had {beside[most]} beside it on its machine, "
            f"{least} had {beside[least]}",
        )  # fmt: skip


def _span(seconds: float) -> str:
    if seconds < 2 * HOUR:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / HOUR:.1f} h" if seconds < 48 * HOUR else f"{seconds / HOUR / 24:.0f} days"


def _found(one: Clock, weight: str, message: str) -> Finding:
    return Finding(
        audit="clock", weight="wrong" if weight == "wrong" else "weak", where=one.where, line=one.line,
        entry=one.entry, message=message,
    )  # fmt: skip
