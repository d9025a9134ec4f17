"""Audits of numbers: copied wrongly, supported by no record, not what the arithmetic gives, best that is not best."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bellmark.audits.case import Case, Comparison, Finding, Point, Sentence, Stated, Summary, Trial
from bellmark.audits.log_claims import results_in
from bellmark.audits.values import Number, numbers_in, read_number

_FROM_RUN = re.compile(r"\bfrom (Run \d+)\b(.*)", re.IGNORECASE)
_STEP_VALUE = re.compile(r"([\d.]+k?)\s*(?:→|->)\s*([\d.]+)")
_BEST = re.compile(r"\b(best|highest|worst|lowest)\b", re.IGNORECASE)
_SUMMARY_WORD = re.compile(r"\b(peak\w*|final\w*|best|reach\w*|achiev\w*|plateau\w*)\b", re.IGNORECASE)


def miscopy(case: Case) -> Iterator[Finding]:
    """A number that is not the one it was copied from: a peak that is not in the curve, a row of another run.

    Look both lines up and correct the wrong one; generated tables cannot go wrong this way.
    """
    for trial in case.trials:
        for stated in trial.stated:
            problem = _against_curve(stated, trial, case)
            if problem:
                yield _of(trial, stated.value.line, f"{trial.name}: {problem}")
        yield from _told_twice(trial)
        yield from _impossible_rates(trial)
    for sentence in case.sentences:
        for step, value, point in _quoted_points(sentence, case):
            if point is not None:
                message = f"{step}: {value.text} here, {point.value.text} on line {point.value.line}"
                yield _said(sentence, "miscopy", message)


def _against_curve(stated: Stated, trial: Trial, case: Case) -> str:
    """How a written summary departs from the run's own values; "" where it does not or cannot be checked."""
    curve, value = trial.curve, stated.value
    if not curve or stated.summary == "last_mean":
        return ""
    for at in stated.at:
        for point in curve:
            if point.at == at and not value.agrees(point.value.value):
                return f"{stated.summary} {value.text} at {at:g}, but line {point.value.line} has {point.value.text}"
    values = [p.value.value for p in curve]
    if stated.summary == "peak" and max(values) > value.value + value.slack:
        return f"peak {value.text}, but the curve reaches {max(values):g} (line {_line(trial, max(values))})"
    expected = {"peak": max(values), "final": values[-1], "low": min(values)}[str(stated.summary)]
    if stated.at or value.agrees(expected) or (stated.summary == "low" and value.agrees(_fall(values))):
        return ""
    twice = [s for s in trial.stated if s.summary == stated.summary and not s.value.agrees(value.value)]
    if not trial.whole and not (stated.summary == "low" and twice and not value.agrees(expected)):
        return ""  # an excerpt: the evaluation that is meant may be one that it does not show
    owner = next((t for t in case.trials if t is not trial and _has(t, value)), None)
    whose = f"; {value.text} is a value of {owner.name} (line {_line(owner, value.value)})" if owner else ""
    said = f"{stated.summary} {'~' * value.approximate}{value.text}"
    return f"{said}, but its own {_WORD[stated.summary]} is {expected:g} (line {_line(trial, expected)}){whose}"


_WORD: dict[Summary, str] = {"peak": "highest value", "final": "last value", "low": "lowest value", "last_mean": "mean"}


def _fall(values: list[float]) -> float:
    """The lowest value after the highest."""
    return min(values[values.index(max(values)) :])


def _has(trial: Trial, value: Number) -> bool:
    return any(value.agrees(p.value.value) and not value.approximate for p in trial.curve)


def _line(trial: Trial, value: float) -> int:
    return next((p.value.line for p in trial.curve if abs(p.value.value - value) < 1e-9), trial.line)


def _told_twice(trial: Trial) -> Iterator[Finding]:
    """The same quantity of the same run with two values."""
    first: dict[Summary, Stated] = {}
    for stated in trial.stated:
        one = first.setdefault(stated.summary, stated)
        if not (stated.value.agrees(one.value.value) or one.value.agrees(stated.value.value)):
            message = f"{stated.summary} {stated.value.text} here, {one.value.text} on line {one.value.line}"
            if not trial.curve:
                yield _of(trial, stated.value.line, f"{trial.name}: {message}")
    for name, number in trial.facts.items():
        again = trial.facts.get(f"{name} (again)")
        if again is not None and again.value != number.value:
            message = f"{trial.name}: {name} is {again.text} here, {number.text} on line {number.line}"
            yield _of(trial, again.line, message)
    retold = {p.at: p for p in trial.others.get("again", [])}
    for point in trial.curve:
        other = retold.get(point.at)
        if other is not None and other.value.value != point.value.value:
            message = (
                f"{trial.name} at {point.at:g}: {other.value.text} here, {point.value.text} on line {point.value.line}"
            )
            yield _of(trial, other.value.line, message)


def _impossible_rates(trial: Trial) -> Iterator[Finding]:
    """A success rate that no whole number of successes in its episodes gives."""
    for point in trial.curve:
        if point.episodes and point.value.unit == "%" and point.value.slack:  # copied, so rounded
            n, value = point.episodes, point.value
            nearest = round(value.value / 100 * n) / n * 100
            if abs(nearest - value.value) > value.slack * 1.01:
                message = f"{trial.name}: {value.text} of {n} episodes is no whole number of successes"
                yield _of(trial, value.line, message)


def _quoted_points(sentence: Sentence, case: Case) -> Iterator[tuple[str, Number, Point | None]]:
    """`from Run 2: 10k→10.0, 25k→16.4` against the table of Run 2: what is not as there; None: not there at all."""
    found = _FROM_RUN.search(sentence.text)
    if found is None:
        return
    trial = next((t for t in case.trials if f"{t.name.lower()} ".startswith(f"{found[1].lower()} ")), None)
    for step, text in _STEP_VALUE.findall(found[2]) if trial else ():
        at, value = read_number(step, 0), read_number(text, sentence.line)
        point = next((p for p in trial.curve if at is not None and p.at == at.value), None) if trial else None
        if value is not None and (point is None or not value.agrees(point.value.value)):
            yield f"{found[1]} at {step}", value, point


def _said(sentence: Sentence, audit: str, message: str) -> Finding:
    weight = "wrong" if audit == "miscopy" else "weak"
    return Finding(
        audit=audit,
        weight=weight,  # type: ignore[arg-type]
        where=sentence.where,
        line=sentence.line,
        entry=sentence.entry,
        message=message,
    )


def unsupported(case: Case) -> Iterator[Finding]:
    """A result in a note that no table, summary or run of the log bears out.

    It may come from a run that was never written down. Name the run, or take the number out.
    """
    for trial in case.trials:
        final, last = trial.stated_as("final"), trial.curve[-1] if trial.curve else None
        if final is None or last is None or trial.budget is None or final.at:
            continue
        if last.at > 1000 and last.at < 0.98 * trial.budget and not final.value.agrees(last.value.value):
            message = (
                f"final {final.value.text} of {trial.name}: its table ends at {last.at:g} of {trial.budget:g} steps"
            )
            yield Finding(
                audit="unsupported", weight="weak", where=trial.where, line=final.value.line, entry=trial.entry,
                message=f"{message}, with {last.value.text} (line {last.value.line})",
            )  # fmt: skip
    for sentence in case.sentences:
        for step, value, point in _quoted_points(sentence, case):
            if point is None:
                yield _said(sentence, "unsupported", f"{step}: {value.text}, but its table has no such step")
        if not _SUMMARY_WORD.search(sentence.text):
            continue
        own = {n for t in case.tallies if t.entry == sentence.entry for n in _cells(t.rows)}
        for number in results_in(sentence.text, sentence.line):
            known = own | {v for t in case.of(sentence.entry) for v in _values(t)}
            ends = {v for t in case.trials for s in ("peak", "final") if (v := t.summary(s)) is not None}
            spoken = {n.value for s in case.sentences for n in numbers_in(s.text, s.line) if s.line < sentence.line}
            if not number.approximate and not any(number.agrees(v) for v in known | ends | spoken):
                yield Finding(
                    audit="unsupported", weight="weak", where=sentence.where, line=sentence.line, entry=sentence.entry,
                    message=f"{number.text} is the peak or final of no run in this log: {_around(sentence, number)}",
                )  # fmt: skip


def _cells(rows: tuple[tuple[tuple[str, int], ...], ...]) -> Iterator[float]:
    for row in rows:
        for text, line in row:
            yield from (n.value for n in numbers_in(text, line))


def _values(trial: Trial) -> Iterator[float]:
    yield from (p.value.value for p in trial.curve)
    yield from (s.value.value for s in trial.stated)


def _around(sentence: Sentence, number: Number) -> str:
    start = max(0, number.position - 40)
    return f'"...{sentence.text[start : number.position + 20].strip()}..."'


def superlative(case: Case) -> Iterator[Finding]:
    """Called best or worst, but another run of the same comparison is better or worse by the same number.

    Either the word or the comparison is wrong; often the word was meant for another statistic.
    """
    for c in case.comparisons:
        for arm in c.arms:
            value = arm.summary("peak")
            family = [t for t in case.trials if t.entry == arm.first.entry == c.entry and t is not arm.first]
            better = [t for t in family if (p := t.summary("peak")) is not None and value is not None and p > value]
            if re.search(r"\bbest\b", arm.label, re.IGNORECASE) and better:
                top = max(better, key=lambda t: t.summary("peak") or 0.0)
                where = top.stated_as("peak")
                yield Finding(
                    audit="superlative", weight="wrong", where=c.where, line=_stated_line(arm.first, c), entry=c.entry,
                    message=f"{arm.label}: peak {value:g}, but {top.name} reached {top.summary('peak'):g}"
                    f" (line {where.value.line if where else top.line})",
                )  # fmt: skip
    for sentence in case.sentences:
        word = _BEST.search(sentence.text)
        numbers = results_in(sentence.text, sentence.line)
        if word and numbers:
            yield from _not_extreme(sentence, word[1].lower(), numbers[0], case)


def _not_extreme(sentence: Sentence, word: str, number: Number, case: Case) -> Iterator[Finding]:
    low = word in ("worst", "lowest")
    for c in case.comparisons:
        tables = c.entry == sentence.entry and c.line != sentence.line and len(c.arms) > 2
        for summary in ("peak", "final") if tables else ():
            values = {arm.label: v for arm in c.arms if (v := arm.summary(summary)) is not None}
            mine = [label for label, v in values.items() if abs(v - number.value) < 1e-6]
            beyond = {k: v for k, v in values.items() if (v < number.value - 1e-6 if low else v > number.value + 1e-6)}
            if mine and beyond and c.quoted in (summary, None):
                name, value = (min if low else max)(beyond.items(), key=lambda item: item[1])
                yield Finding(
                    audit="superlative", weight="wrong", where=sentence.where, line=sentence.line, entry=sentence.entry,
                    message=f"called {word} with {number.text}, but by {summary} {name} is "
                    f"{'lower' if low else 'higher'}: {value:g} (table of line {c.line})",
                )  # fmt: skip
                return


def _stated_line(trial: Trial, c: Comparison) -> int:
    return next((s.value.line for s in trial.stated if s.value.line >= c.line), c.line)


def _of(trial: Trial, line: int, message: str) -> Finding:
    return Finding(audit="miscopy", weight="wrong", where=trial.where, line=line, entry=trial.entry, message=message)
