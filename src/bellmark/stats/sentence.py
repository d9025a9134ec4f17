"""One plain sentence or a few per verdict: the estimate, its bounds, how many seeds, and what it does not show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from bellmark.stats.evidence import Kind
from bellmark.stats.outcome import Verdict


def sentence(verdict: Verdict) -> str:
    """The verdict in words. Differences are positive in the direction that was expected."""
    parts = [OPENINGS[verdict.kind](verdict)]
    if verdict.estimate is not None:
        parts += [_noise(verdict), _failures(verdict), _statistic(verdict)]
    elif verdict.kind == "inconclusive":
        parts += [_failures(verdict)]
    parts.append(_limits(verdict))
    return " ".join(part for part in parts if part)


def number(value: float) -> str:
    """Three significant digits, whole numbers above a thousand."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


class Words(NamedTuple):
    """How a difference in the expected direction is told."""

    does: str  # of the arm, to the metric
    do: str
    noun: str
    against: str  # the baseline, after `does`
    opposite: str  # what the arm does instead; {} is the metric
    peak: str


WORDS = {
    "increase": Words("improves", "improve", "improvement", "over", "makes {} worse than", "best evaluation"),
    "decrease": Words("lowers", "lower", "decrease", "below", "raises {} above", "lowest evaluation"),
}


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "−") + number(abs(value))


def _what(verdict: Verdict) -> str:
    """The measured quantity, such as "eval/success (mean of the last 3 evaluations)"."""
    claim = verdict.claim
    how = {
        "final": "last evaluation",
        "last_mean": f"mean of the last {claim.last} evaluations",
        "peak": WORDS[claim.direction].peak,
    }
    over = f", {len(verdict.tasks)} tasks" if len(verdict.tasks) > 1 else ""
    return f"{claim.metric} ({how[claim.summary]}{over})"


def _seeds(verdict: Verdict) -> str:
    def count(name: str) -> str:
        sizes = verdict.finished[name]
        return str(sizes[0]) if len(set(sizes)) == 1 else f"{min(sizes)} to {max(sizes)}"

    per = " per task" if len(verdict.tasks) > 1 else ""
    return f"{count(verdict.arm)} against {count(verdict.baseline)} seeds{per}"


def _bounds(verdict: Verdict) -> str:
    if verdict.low is None or verdict.high is None:
        return ""
    if math.isclose(verdict.level, verdict.level_high):
        held = f"each bound holds with {1 - verdict.level:.1%} confidence"
    else:
        held = f"the bounds hold with {1 - verdict.level:.1%} and {1 - verdict.level_high:.1%} confidence"
    return f"between {_signed(verdict.low)} and {_signed(verdict.high)}; {held}"


def _change(verdict: Verdict) -> str:
    """Direction and size in the metric's own sense."""
    estimate = verdict.estimate or 0.0
    up = (estimate >= 0.0) == (verdict.claim.direction == "increase")
    return f"{'higher' if up else 'lower'} by {number(abs(estimate))}"


def _pairs(verdict: Verdict) -> str:
    won = verdict.pairs_won or 0.0
    return f"ahead in {won:g} of {verdict.pairs} pairs of seeds"


def _invalid(verdict: Verdict) -> str:
    return f"Invalid: {verdict.arm} and {verdict.baseline} differ in more than was declared: {_listed(verdict)}."


def _pending(verdict: Verdict) -> str:
    return f"Pending: {_listed(verdict)}."


def _listed(verdict: Verdict, most: int = 4) -> str:
    rest = len(verdict.problems) - most
    return "; ".join(verdict.problems[:most]) + (f"; and {rest} more" if rest > 0 else "")


def _anecdote(verdict: Verdict) -> str:
    z = "" if verdict.noise_z is None else f", {abs(verdict.noise_z):.1f} standard errors of evaluation noise"
    return (
        f"Anecdote: {_what(verdict)} of {verdict.arm} came out {_change(verdict)} than of {verdict.baseline}{z} "
        f"({_seeds(verdict)})."
    )


def _directional(verdict: Verdict) -> str:
    return (
        f"Directional: {_what(verdict)} of {verdict.arm} is {_change(verdict)} than of {verdict.baseline}, "
        f"{_pairs(verdict)} ({_seeds(verdict)}). No outcome of so few seeds could pass the exact test; it takes at "
        f"least {verdict.seeds_needed} per arm."
    )


def _supported(verdict: Verdict) -> str:
    size, words = number(verdict.estimate or 0.0), WORDS[verdict.claim.direction]
    return (
        f"Supported: {verdict.arm} {words.does} {_what(verdict)} {words.against} {verdict.baseline} by {size} "
        f"({_bounds(verdict)}; {_seeds(verdict)}, {_pairs(verdict)})."
    )


def _refuted(verdict: Verdict) -> str:
    evidence = (
        f"(estimate {_signed(verdict.estimate or 0.0)}, {_bounds(verdict)}; {_seeds(verdict)}, {_pairs(verdict)})"
    )
    words = WORDS[verdict.claim.direction]
    if verdict.opposite:
        did = words.opposite.format(_what(verdict))
        return f"Refuted, and opposite: {verdict.arm} {did} {verdict.baseline} {evidence}."
    return (
        f"Refuted: {verdict.arm} does not {words.do} {_what(verdict)} {words.against} {verdict.baseline} by the "
        f"declared {number(verdict.claim.minimum_effect)} {evidence}."
    )


def _inconclusive(verdict: Verdict) -> str:
    if verdict.estimate is None:
        return f"Inconclusive: {verdict.arm} and {verdict.baseline} cannot be compared, {verdict.problems[-1]}."
    words = WORDS[verdict.claim.direction]
    text = (
        f"Inconclusive: the {words.noun} of {_what(verdict)} by {verdict.arm} {words.against} {verdict.baseline} is "
        f"estimated at {_signed(verdict.estimate)} ({_bounds(verdict)}; {_seeds(verdict)}, {_pairs(verdict)})."
    )
    return " ".join(part for part in (text, _blocked(verdict), _settling(verdict)) if part)


def _blocked(verdict: Verdict) -> str:
    """Why bounds that look decisive did not decide."""
    delta = verdict.claim.minimum_effect
    if verdict.worst_case is not None and not verdict.worst_case.holds:
        return ""
    if verdict.low is not None and verdict.low > 0.0 and (verdict.estimate or 0.0) < delta:
        return f"It is above zero, but the estimate is below the declared {number(delta)}."
    outside = (verdict.low is not None and verdict.low > 0.0) or (verdict.high is not None and verdict.high < delta)
    return "The exact permutation test does not confirm the interval." if outside else ""


def _settling(verdict: Verdict) -> str:
    if verdict.seeds_needed is None:
        return ""
    delta = verdict.claim.minimum_effect
    effect = f"an effect of {number(delta)}" if delta else "an effect as large as the estimate"
    text = f"About {verdict.seeds_needed:,} seeds per arm would settle {effect}"
    cheaper = verdict.seeds_if_estimate
    if delta and cheaper is not None and cheaper < verdict.seeds_needed:
        text += f", about {cheaper:,} if the true effect is as large as the estimate"
    if verdict.spread_fell is not None:
        task, step, before, end, after = verdict.spread_fell
        where = f" on {task}" if len(verdict.tasks) > 1 else ""
        text += (
            f"; but the spread between seeds{where} fell from {number(before)} at step {step:,} to {number(after)} at "
            f"step {end:,}, so longer runs may settle it cheaper"
        )
    return text + "."


def _noise(verdict: Verdict) -> str:
    if not verdict.noise_explains or verdict.noise_floor is None:
        return ""
    return (
        f"Evaluation noise alone explains a difference of this size (up to {number(verdict.noise_floor)}): "
        "evaluate on more episodes first."
    )


def _failures(verdict: Verdict) -> str:
    counts = [
        f"{share.k} of {share.n} seeds of {name} failed (95% interval {share.low:.0%} to {share.high:.0%})"
        for name, share in verdict.failed.items()
        if share.k
    ]
    if not counts:
        return ""
    text = " and ".join(counts)
    if verdict.estimate is None:
        return text[0].upper() + text[1:] + "."
    text += ", and the estimate is over finished seeds"
    if verdict.worst_case is not None and verdict.kind in ("supported", "refuted"):
        text += "; the verdict also holds with failed seeds read as least favourable to it"
    elif verdict.worst_case is not None and verdict.kind == "inconclusive" and not verdict.worst_case.holds:
        text += "; read as least favourable, they leave it open: repair and repeat them"
    return text[0].upper() + text[1:] + "."


def _statistic(verdict: Verdict) -> str:
    if not verdict.depends_on_statistic:
        return ""
    names = {
        "final": "last evaluation",
        "last_mean": f"mean of the last {verdict.claim.last}",
        "peak": WORDS[verdict.claim.direction].peak,
    }
    found = ", ".join(
        f"{names[summary]}: {'opposite' if result.opposite else result.kind} ({_signed(result.estimate)})"
        for summary, result in verdict.by_summary.items()
    )
    return f"It depends on the statistic: {found}."


def _limits(verdict: Verdict) -> str:
    return LIMITS[verdict.kind] if verdict.estimate is not None else ""


OPENINGS: Mapping[Kind, Callable[[Verdict], str]] = {
    "invalid": _invalid,
    "pending": _pending,
    "anecdote": _anecdote,
    "directional": _directional,
    "supported": _supported,
    "refuted": _refuted,
    "inconclusive": _inconclusive,
}
LIMITS: Mapping[Kind, str] = {
    "invalid": "",
    "pending": "",
    "anecdote": "One seed does not show how often this would happen again.",
    "directional": "This does not show that the difference would survive other seeds.",
    "supported": "It does not show that the gain carries over to other tasks, budgets or settings, nor why it arises.",
    "refuted": "It does not show how other settings of the same idea would do.",
    "inconclusive": "It does not show that the two are equal.",
}
