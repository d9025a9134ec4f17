"""Audits of what is compared with what: undeclared differences, unfinished tables, stops on the wrong metric."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from bellmark.audits.case import Arm, Case, Comparison, Finding, Trial
from bellmark.audits.log_tables import FOLLOWS
from bellmark.audits.values import is_pending

BUDGET = 0.02  # relative difference of lengths that batches of collection explain
_CONCLUDES = re.compile(r"observation|conclusion|insight|finding|analysis|notes", re.IGNORECASE)
_EARLY = re.compile(
    r"early[- ]stop\w*\b.{0,60}\b(?:check\w*|us(?:es|ing|ed)|on|by|based on)\s+(?:the\s+|a\s+)?train", re.IGNORECASE
)


def confound(case: Case) -> Iterator[Finding]:
    """Compared arms that differ in more than the declared key: configuration, start, budget, code, evaluation.

    What made the difference cannot be told. Change one thing, or declare the others (`set` in a sweep file) so that
    the claim is about all of them together.
    """
    for c in case.comparisons:
        reference = _reference(c)
        found = list(c.problems)
        for arm in c.arms:
            differs = {} if arm is reference or arm.first.states else differences(reference, arm, c.keys)
            if differs:
                shown = ", ".join(f"{k} {a} and {b}" for k, (a, b) in list(differs.items())[:5])
                found.append(f"{reference.label} against {arm.label}: {shown}{', ...' if len(differs) > 5 else ''}")
        if found:
            claim = f"called {c.fair!r}, yet " if c.fair else ""
            more = f"; and {len(found) - 2} more" if len(found) > 2 else ""
            yield Finding(
                audit="confound", weight="wrong" if c.fair else "weak", where=c.where, line=c.line, entry=c.entry,
                message=f"{c.title}: {claim}compared with undeclared differences: {'; '.join(found[:2])}{more}",
            )  # fmt: skip


def _reference(c: Comparison) -> Arm:
    """What the others are compared with: the baseline, else the arm whose settings are known best."""
    named = [arm for arm in c.arms if arm.label == c.baseline]
    return named[0] if named else max(c.arms, key=lambda arm: len(arm.first.settings))


def differences(left: Arm, right: Arm, declared: frozenset[str]) -> dict[str, tuple[str, str]]:
    """Settings that differ without being declared, or told by the arms' own labels.

    A setting known on one side only counts where both ran the same script and it was given by hand: a default was
    changed there.
    """
    one, other = left.first, right.first
    found: dict[str, tuple[str, str]] = {}
    for key in sorted({*one.settings, *other.settings} - declared):
        if FOLLOWS.match(key) or key == "seed":
            continue
        a, b = one.settings.get(key), other.settings.get(key)
        if a is not None and b is not None:
            if not _alike(a, b):
                found[key] = (a, b)
        elif one.script and one.script == other.script and key in one.explicit | other.explicit:
            found[key] = (a or "default", b or "default")
    if one.budget and other.budget and abs(one.budget - other.budget) > BUDGET * max(one.budget, other.budget):
        found["steps"] = (f"{one.budget:g}", f"{other.budget:g}")
    found = {
        k: v for k, v in found.items() if not _told(f"{left.label} {left.about}", f"{right.label} {right.about}", *v)
    }
    found |= _reach(one, other) if "steps" not in declared else {}
    for name in ("protocol", "code"):
        a, b = str(getattr(one, name)), str(getattr(other, name))
        if a and b and a != b:
            found[name] = (a, b)
    return found


def _told(left: str, right: str, a: str, b: str) -> bool:
    """Whether a value stands in its arm's label and not in the other's: `GAE` against `MC1` tells advantage_mode."""
    mine, theirs = (
        {re.sub(r"\d+$", "", w) or w for w in re.findall(r"[a-z0-9]+", label.lower())} for label in (left, right)
    )
    named = [{re.sub(r"\d+$", "", w) or w for w in re.findall(r"[a-z0-9]+", value.lower())} for value in (a, b)]
    return bool((named[0] & mine) - theirs or (named[1] & theirs) - mine)


def _reach(one: Trial, other: Trial) -> Mapping[str, tuple[str, str]]:
    """Curves that end at other steps, where both are told over steps."""
    if not (one.curve and other.curve and one.budget and other.budget and not one.states):
        return {}
    a, b = one.curve[-1].at, other.curve[-1].at
    short = a < (1 - BUDGET) * one.budget or b < (1 - BUDGET) * other.budget
    far = short and min(a, b) > 1000 and abs(a - b) > BUDGET * max(a, b)
    return {"last evaluation": (f"step {a:g}", f"step {b:g}")} if far else {}


def _alike(a: str, b: str) -> bool:
    if a.lower() == b.lower():
        return True
    names = [set(re.findall(r"ckpt_?\d+", text)) for text in (a, b)]
    return bool(names[0] & names[1])


def pending(case: Case) -> Iterator[Finding]:
    """Conclusions drawn while results of the same table are still to come.

    Which cells finished first is seldom chance: slow and crashed ones come last. Wait, or say which question the
    finished cells answer.
    """
    for tally in case.tallies:
        open_rows = [row for row in tally.rows if any(is_pending(text) for text, _ in row)]
        concluding = [
            s for s in case.sentences
            if s.entry == tally.entry and s.line > tally.line
            and (_CONCLUDES.search(s.heading) or _CONCLUDES.match(s.text))
        ]  # fmt: skip
        if open_rows and concluding:
            yield Finding(
                audit="pending", weight="weak", where=case.where, line=open_rows[0][0][1], entry=tally.entry,
                message=f"{len(open_rows)} of {len(tally.rows)} rows pending, but line {concluding[0].line} concludes",
            )  # fmt: skip
    for c in case.comparisons:
        waiting = [arm.label for arm in c.arms if any(s not in ("done", "failed", "stopped") for s in arm.first.states)]
        if waiting and len(waiting) < len(c.arms):
            yield Finding(
                audit="pending", weight="note", where=c.where, line=c.line, entry=c.entry,
                message=f"{c.title}: {len(waiting)} of {len(c.arms)} arms are not finished: {', '.join(waiting[:4])}",
            )  # fmt: skip


def early_stop(case: Case) -> Iterator[Finding]:
    """A run that stops early by a training metric: it ends where the training data look good, not the policy.

    Stop on an evaluation that is separate from training, declared beforehand, or not at all.
    """
    for sentence in case.sentences:
        if _EARLY.search(sentence.text):
            yield Finding(
                audit="early-stop", weight="wrong", where=sentence.where, line=sentence.line, entry=sentence.entry,
                message=f"early stopping looked at a training metric: \"{sentence.text[:110]}\"",
            )  # fmt: skip
    for trial in case.trials:
        for key, value in trial.settings.items():
            if "stop" in key and value.startswith(("train/", "loss/")):
                yield Finding(
                    audit="early-stop", weight="wrong", where=trial.where, line=trial.line, entry=trial.entry,
                    message=f"{trial.name}: {key}={value} stops the run by a training metric",
                )  # fmt: skip
