"""Comparisons made in a sentence: `83.3% vs 93.2%`, `MC1 pretrained (89.0%) < GAE pretrained (93.2%)`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bellmark.audits.case import Arm, Comparison, Sentence, Summary, Trial
from bellmark.audits.labels import keys_for, pairs, words
from bellmark.audits.log_tables import FAIR
from bellmark.audits.values import Number, numbers_in

COMPARES = re.compile(
    r"\bvs\.?\b|[<>≈]|\b(?:better|worse|beats?|higher|lower|comparison|compare|than|improvement|worst)\b", re.IGNORECASE
)
# A number before one of these is a difference, not a result.
GAP = re.compile(
    r"^\s*(?:%|pp)?\s*(?:gap|better|worse|higher|lower|improvement|drop|faster|slower|less|more)", re.IGNORECASE
)


def results_in(text: str, line: int) -> list[Number]:
    """The percentages of a sentence that are results, not differences or ranges."""
    found = []
    for number in numbers_in(text, line):
        after = text[number.position + len(number.text) + number.approximate :]
        before = text[: number.position].rstrip()
        if number.unit == "%" and not GAP.match(after) and not before.endswith(("by", "by ~", "–", "+", "-")):
            found.append(number)
    return found


def trials_with(
    number: Number, text: str, mentioned: Sequence[Trial], every: Sequence[Trial]
) -> tuple[Trial, Summary] | None:
    """The run whose peak or final a number is; of several, the one whose name the sentence knows best."""
    for scope in (mentioned, every):
        found: list[tuple[int, Trial, Summary]] = []
        for trial in scope:
            for summary in ("peak", "final"):
                value = trial.summary(summary)
                if trial.share and value is not None and abs(value - number.value) < 1e-6:
                    named = {w for t in (trial.name, *trial.labels) for w in words(t)}
                    found.append((len(named & {*words(text)}), trial, summary))
                    break
        if found:
            best = max(found, key=lambda f: f[0])
            return best[1], best[2]
    return None


def compared(sentence: Sentence, mentioned: Sequence[Trial], every: Sequence[Trial]) -> Comparison | None:
    """The comparison that a sentence makes between the first two runs whose results it quotes."""
    shares = [n for n in numbers_in(sentence.text, sentence.line) if n.unit == "%"]
    if not COMPARES.search(sentence.text) or not shares or (shares[0].approximate and not FAIR.search(sentence.text)):
        return None
    arms: list[Arm] = []
    quoted: list[Summary] = []
    for number in results_in(sentence.text, sentence.line):
        found = trials_with(number, sentence.text, mentioned, every)
        if found and all(found[0] is not arm.first for arm in arms):
            arms.append(Arm(found[0].name, (found[0],)))
            quoted.append(found[1])
    return _comparison(sentence, arms[:2], quoted[:2])


def listed(lines: Sequence[Sentence], mentioned: Sequence[Trial], every: Sequence[Trial]) -> Comparison | None:
    """The comparison that a line ending with a colon and the items below it make."""
    head, *items = lines
    arms: list[Arm] = []
    quoted: list[Summary] = []
    for item in items:
        numbers = results_in(item.text, item.line)
        found = trials_with(numbers[0], item.text, mentioned, every) if numbers else None
        if found and all(found[0] is not arm.first for arm in arms):
            arms.append(Arm(item.text.partition(":")[0], (found[0],)))
            quoted.append(found[1])
    return _comparison(head, arms, quoted)


def _comparison(sentence: Sentence, arms: Sequence[Arm], quoted: Sequence[Summary]) -> Comparison | None:
    if len(arms) < 2:
        return None
    said = " ".join((sentence.text, *(arm.label for arm in arms if arm.label != arm.first.name)))
    fair = FAIR.search(sentence.text)
    names = {k for arm in arms for k in arm.first.settings}
    return Comparison(
        where=sentence.where,
        line=sentence.line,
        entry=sentence.entry,
        title=sentence.text if len(sentence.text) <= 70 else f"{sentence.text[:67]}...",
        arms=tuple(arms),
        keys=frozenset(k for s in pairs(said) for k in keys_for(s.word, names)),
        fair=fair[0] if fair else "",
        quoted="peak" if "peak" in quoted else "final",
    )


def covered(claim: Comparison, others: Iterable[Comparison]) -> bool:
    """Whether a table of the same entry compares the same runs already; a claim of fairness is always looked at."""
    wanted = {id(arm.first) for arm in claim.arms}
    return not claim.fair and any(
        o.entry == claim.entry and wanted <= {id(arm.first) for arm in o.arms} for o in others
    )
