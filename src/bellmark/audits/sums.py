"""The audit of arithmetic: differences, ratios and products that a sentence or a table states beside their terms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import permutations

from bellmark.audits.case import Arm, Case, Comparison, Finding, Sentence, Tally
from bellmark.audits.labels import fits, keys_for, pairs, words
from bellmark.audits.log_claims import results_in
from bellmark.audits.values import NUMBER, numbers_in, read_number

_N = NUMBER.replace("[-+−]?", "")
_GAP = re.compile(
    rf"([~≈+]?)\s?({_N})(?:\s?[-–]\s?({_N}))?\s?%\s+(?:\w+ )?(?:gap|better|worse|higher|lower|improvement|beats)"
    rf"|\bby\s+([~≈]?)({_N})(?:\s?[-–]\s?({_N}))?\s?%",
    re.IGNORECASE,
)
_RATIO = re.compile(rf"({_N})\s?[×x]\s+\w+.*?\(\s*\D{{0,6}}({_N})\s?[a-z]*\s+vs\.?\s+({_N})", re.IGNORECASE)
_PRODUCT = re.compile(rf"({_N}(?:\s?[×*]\s?{_N})+)\s*=\s*(?:\*\*)?~?({_N})")
_SHARE = re.compile(rf"^({_N})\s*\(\s*({_N})\s?%\s*\)")
_THAN = re.compile(
    r"^(?P<one>.{3,60}?)\s+(?:is|are|consistently|was)\s.*?\bthan\s+(?P<other>.{3,60}?)(?:\s+in\b|\s*[(,;—]|$)"
)


def arithmetic(case: Case) -> Iterator[Finding]:
    """A difference, ratio, product or share that does not follow from the numbers it is made of.

    Mostly a number was updated and the sentence was not. Compute it anew, to the digits that are shown.
    """
    for sentence in case.sentences:
        for message in (*_gaps(sentence, case), *_ratios(sentence), *_products(sentence)):
            yield Finding(
                audit="arithmetic", weight="wrong", where=sentence.where, line=sentence.line, entry=sentence.entry,
                message=message,
            )  # fmt: skip
    for tally in case.tallies:
        for line, message in (*_speedups(tally), *_shares(tally)):
            yield Finding(
                audit="arithmetic", weight="wrong", where=case.where, line=line, entry=tally.entry, message=message
            )


def _gaps(sentence: Sentence, case: Case) -> Iterator[str]:
    """`83.2% beats 76.4% by ~7%`; without terms, `A is ~3% better than B` against the tables of the entry."""
    for found in _GAP.finditer(sentence.text):
        low = read_number(found[2] or found[5], 0)
        high = read_number(found[3] or found[6] or found[2] or found[5], 0)
        if low is None or high is None:
            continue
        slack = 1.0 if found[1] or found[4] or "~" in found[0] else 0.5
        clause = _clause(sentence.text, found.start())
        terms = [n.value for n in results_in(clause, sentence.line)]
        if len(terms) >= 2:
            differences = [abs(a - b) for a, b in permutations(terms, 2)]
            if not any(low.value - slack <= d + 1e-9 and d <= high.value + slack + 1e-9 for d in differences):
                shown = f"{low.value:g}" + (f" to {high.value:g}" if high.value != low.value else "")
                yield f"says a difference of {shown}, but {terms[0]:g} and {terms[1]:g} differ by {differences[0]:.1f}"
        elif not terms:
            yield from _unspoken(sentence, (low.value, high.value, slack), case)


def _clause(text: str, position: int) -> str:
    """The part of a sentence around a position, up to `, and` or a semicolon."""
    for part in re.finditer(r".+?(?:, and |;|$)", text):
        if part.start() <= position < part.end():
            return part[0]
    return text


def _unspoken(sentence: Sentence, claim: tuple[float, float, float], case: Case) -> Iterator[str]:
    """A claim about two groups of runs, against the final values of every such pair in the entry's tables."""
    low, high, slack = claim
    phrase = _THAN.match(sentence.text)
    if phrase is None:
        return
    for c in case.comparisons:
        if c.entry != sentence.entry or len(c.arms) < 4:
            continue
        sides = [[a for a in c.arms if _meant(phrase[side], a)] for side in ("one", "other")]
        if not sides[0] or len(sides[0]) != len(sides[1]) or set(map(id, sides[0])) & set(map(id, sides[1])):
            continue
        gaps = [(a.summary("final"), b.summary("final")) for a, b in zip(*sides, strict=True)]
        known = [abs(a - b) for a, b in gaps if a is not None and b is not None]
        outside = [g for g in known if not low - slack <= g + 1e-9 <= high + slack + 1e-9]
        if outside:
            stated = f"{low:g}" + (f" to {high:g}" if high != low else "")
            listed = " and ".join(f"{g:.1f}" for g in known)
            yield f"says {stated} points; by the table of line {c.line} the differences are {listed}"
        turned = _turned(c, sides)
        if "consistently" in sentence.text and turned:
            yield f"says consistently; in the table of line {c.line} the order is the other way {turned}"


def _turned(c: Comparison, sides: Sequence[Sequence[Arm]]) -> str:
    """Where evaluations of paired arms are in another order than their final values."""
    places = []
    for one, other in zip(*sides, strict=True):
        theirs = {p.at: p.value.value for p in other.first.curve}
        final = (one.summary("final") or 0.0) - (other.summary("final") or 0.0)
        places += [p.at for p in one.first.curve if p.at in theirs and (p.value.value - theirs[p.at]) * final < 0]
    return f"at {', '.join(f'{at:g}' for at in sorted(places))}" if places else ""


def _meant(phrase: str, arm: Arm) -> bool:
    """Whether a phrase such as `gamma=0.99` or `Pretrained critic` means an arm."""
    said = pairs(phrase)
    if said:
        settings = arm.first.settings
        return all(any(fits(s, settings[k]) for k in keys_for(s.word, settings)) for s in said)
    return words(phrase)[:1] == words(arm.about or arm.label)[:1]


def _ratios(sentence: Sentence) -> Iterator[str]:
    """`19× faster (35s vs 669s)`."""
    found = _RATIO.search(sentence.text)
    if found:
        said, *terms = (read_number(text, 0) for text in found.groups())
        one, other = (t.value if t else 0.0 for t in terms)
        if said and one and other:
            ratio = max(one, other) / min(one, other)
            if abs(said.value - ratio) > max(said.slack * 1.01, 0.03 * ratio):
                yield f"says {said.text} times, but {found[2]} and {found[3]} are {ratio:.2f} apart"


def _products(sentence: Sentence) -> Iterator[str]:
    """`8 × 25 × 1.67 = 333`."""
    for found in _PRODUCT.finditer(sentence.text):
        factors = [float(f.replace(",", "")) for f in re.split(r"\s?[×*]\s?", found[1])]
        product = 1.0
        for factor in factors:
            product *= factor
        said = float(found[2].replace(",", ""))
        if abs(said - product) > max(0.005 * product, 0.5):
            yield f"says {found[1]} = {found[2]}, it is {product:g}"


def _speedups(tally: Tally) -> Iterator[tuple[int, str]]:
    """A table with the columns before, after and speedup."""
    heads = [h.lower() for h in tally.head]
    if not {"before", "after", "speedup"} <= set(heads):
        return
    for row in tally.rows:
        before, after, said = (read_number(row[heads.index(h)][0], 0) for h in ("before", "after", "speedup"))
        if (
            before
            and after
            and said
            and before.value
            and abs(said.value - after.value / before.value) > said.slack * 1.01
        ):
            yield row[0][1], f"says {said.text}, but {after.text} / {before.text} is {after.value / before.value:.2f}"


def _shares(tally: Tally) -> Iterator[tuple[int, str]]:
    """`631 (0.7%)` beside a column whose number it is a share of."""
    whole = next(
        (i for i, h in enumerate(tally.head) if h.lower() in ("transitions", "total", "episodes", "runs")), None
    )
    for row in tally.rows if whole is not None else ():
        total = read_number(row[whole][0], 0) if whole < len(row) else None  # type: ignore[index,operator]
        for text, line in row:
            found = _SHARE.match(text)
            percent = numbers_in(found[2], line) if found else []
            if found and total and percent:
                share = 100 * float(found[1].replace(",", "")) / total.value
                if abs(share - percent[0].value) > percent[0].slack * 1.01:
                    yield line, f"says {text}, but {found[1]} of {total.text} is {share:.2f}%"
