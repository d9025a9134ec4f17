"""Audits of how much stands behind a number: seeds, episodes, the choice of a summary, evaluations behind a peak."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from bellmark.audits.case import Arm, Case, Comparison, Finding, Summary, Trial
from bellmark.stats import noise
from bellmark.stats.power import peak_bias

SUMMARIES: tuple[Summary, ...] = ("peak", "final", "last_mean")
WORDS = {"peak": "peak", "final": "final value", "last_mean": "mean of the last 3", "low": "lowest value"}
MOST = 3  # examples that a message spells out


def seeds(case: Case) -> Iterator[Finding]:
    """One seed per configuration: whatever is concluded is an anecdote.

    Between seeds of one configuration results differ, often by more than the effect in question; one run cannot show by
    how much. Run at least three seeds per arm (`bellmark sweep run FILE --seeds 1-3`).
    """
    for entry in dict.fromkeys(t.entry for t in case.trials):
        own = [t for t in case.of(entry) if t.curve or t.stated or t.states]
        compared = [arm for c in case.comparisons if c.entry == entry for arm in c.arms]
        arms = case.arms or compared or [Arm(t.name, (t,)) for t in own]
        lone = {id(arm.first): arm for arm in arms if arm.lone}
        if not own or not lone:
            continue
        lines = [t.line for t in own if t.entry == entry] or [c.line for c in case.comparisons if c.entry == entry]
        known = sorted({arm.first.seed for arm in lone.values() if arm.first.seed is not None})
        which = (
            f"all with seed {known[0]}" if len(known) == 1 else "no seed is stated" if not known else "one seed each"
        )
        yield Finding(
            audit="seeds", weight="weak", where=case.where, line=min(lines, default=0), entry=entry,
            message=f"{_some(len(lone), 'configuration')} with a single run, {which}: a difference between two of them "
            "may be one between seeds",
        )  # fmt: skip


def flip(case: Case) -> Iterator[Finding]:
    """The order of the arms depends on the statistic: best by peak is not best by final value or last-K mean.

    A conclusion that only one summary supports is a choice of that summary. Declare it beforehand (`expect.summary`),
    or say that it depends.
    """
    for c in case.comparisons:
        ranks = {s: v for s in SUMMARIES if (v := _values(c, s)) is not None}
        if len(ranks) < 2:
            continue
        turned = [
            (
                a,
                b,
                [s for s in ranks if _below(ranks, s, b, a)],
                [s for s in ranks if _below(ranks, s, a, b)],
            )
            for a, b in combinations(range(len(c.arms)), 2)
        ]
        turned = [t for t in turned if t[2] and t[3]]
        leaders = {s: _leader(c, ranks[s]) for s in ranks}
        split = len(set(leaders.values())) > 1
        if c.baseline:
            turned = [t for t in turned if c.baseline in (c.arms[t[0]].label, c.arms[t[1]].label)]
        if not turned:
            continue
        shown = "; ".join(_turned(c, ranks, t) for t in turned[:MOST])
        best = "; ".join(f"best by {WORDS[s]}: {c.arms[i].label}" for s, i in leaders.items()) if split else ""
        yield _on(
            c, "flip", "weak",
            f"{len(turned)} of {_some(len(c.arms) * (len(c.arms) - 1) // 2, 'pair')} of arms change order with the "
            f"statistic ({best + '; ' if best else ''}{shown})",
        )  # fmt: skip


def _turned(
    c: Comparison, ranks: dict[Summary, list[float]], turn: tuple[int, int, list[Summary], list[Summary]]
) -> str:
    a, b, up, down = turn
    one, other = c.arms[a].label, c.arms[b].label
    first, second = up[0], down[0]
    return (
        f"{one} against {other}: {ranks[first][a]:g} to {ranks[first][b]:g} by {WORDS[first]}, "
        f"{ranks[second][a]:.4g} to {ranks[second][b]:.4g} by {WORDS[second]}"
    )


def _below(ranks: dict[Summary, list[float]], s: Summary, a: int, b: int) -> bool:
    return ranks[s][a] - ranks[s][b] < -1e-9


def _values(c: Comparison, summary: Summary) -> list[float] | None:
    values = [arm.summary(summary) for arm in c.arms]
    known = [v for v in values if v is not None and np.isfinite(v)]
    return known if len(known) == len(values) and len(values) > 1 else None


def _leader(c: Comparison, values: list[float]) -> int:
    return int(np.argmax(values) if c.higher_is_better else np.argmin(values))


def evaluation_noise(case: Case) -> Iterator[Finding]:
    """A difference that the episodes of an evaluation alone would explain (two equal policies, 95%).

    A success rate over n episodes has the deviation sqrt(p(1-p)/n). Evaluate on more episodes, or average several
    evaluations, before reading anything into such a difference.
    """
    yield from _out_of_sight(case)
    counts = [n for t in case.trials for n in t.episodes()]
    for c in case.comparisons:
        summary: Summary = c.quoted or "final"
        values = _values(c, summary)
        if values is None or not all(t.share for arm in c.arms for t in arm.trials) or not counts:
            continue
        best = _leader(c, values)
        inside = []
        for i, arm in enumerate(c.arms):
            floor = _floor((c.arms[best], values[best]), (arm, values[i]), max(counts), summary)
            gap = abs(values[best] - values[i])
            if i != best and floor is not None and 1e-9 < gap <= floor:
                inside.append(f"{arm.label} ({gap:.1f} of {floor:.1f} points)")
        if inside:
            own = all(t.episodes() for arm in c.arms for t in arm.trials)
            source = "" if own else f", taking {max(counts)} episodes per evaluation, the most this log names"
            yield _on(
                c, "noise", "weak",
                f"the {WORDS[summary]} of {c.arms[best].label} is within evaluation noise of "
                f"{len(inside)} of {len(c.arms) - 1} others: {', '.join(inside[:MOST])}"
                f"{', ...' if len(inside) > MOST else ''}{source}",
            )  # fmt: skip


def _out_of_sight(case: Case) -> Iterator[Finding]:
    """A declared minimum effect that the episodes planned for it could not show."""
    for c in case.comparisons:
        planned = [sum(t.planned_episodes for t in arm.trials) for arm in c.arms]
        if not c.minimum_effect or not all(planned) or not all(t.share for arm in c.arms for t in arm.trials):
            continue
        halves = [np.array([0.5]), np.array([0.5])]
        counts = [np.array([float(n)]) for n in (planned[0], min(planned[1:]))]
        floor = 100.0 * noise.floor([noise.success_variance(halves[0], halves[1], counts[0], counts[1])])
        if c.minimum_effect < floor:
            yield _on(
                c, "noise", "weak",
                f"the minimum effect of {c.minimum_effect:.1f} points lies within evaluation noise: {floor:.1f} points "
                f"at a success rate of a half with {planned[0]} and {min(planned[1:])} episodes behind the summaries",
            )  # fmt: skip


def _floor(one: tuple[Arm, float], other: tuple[Arm, float], default: int, summary: Summary) -> float | None:
    """95% half-width of the difference of two rates in percent from episodes alone."""
    rates, episodes = [], []
    for arm, value in (one, other):
        rates.append(np.full(len(arm.trials), min(max(value / 100.0, 0.0), 1.0)))
        used = 3 if summary == "last_mean" else 1
        episodes.append(np.array([_episodes(t, summary, default) * used for t in arm.trials], dtype=np.float64))
    variance = noise.success_variance(rates[0], rates[1], episodes[0], episodes[1])
    return 100.0 * noise.floor([variance]) if variance > 0 else None


def _episodes(trial: Trial, summary: Summary, default: int) -> int:
    known = [p for p in trial.curve if p.episodes]
    if not known:
        return default
    point = max(known, key=lambda p: p.value.value) if summary == "peak" else known[-1]
    return point.episodes or default


def unequal_k(case: Case) -> Iterator[Finding]:
    """Peaks over unequal numbers of evaluations: the best of more tries is higher by luck alone.

    The best of k equally good evaluations lies 1.5 deviations above their mean at k = 10 and 1.9 at k = 21. Compare
    final values or last-K means, or thin the longer curve first.
    """
    for c in case.comparisons:
        if c.quoted != "peak":
            continue
        counts = [max(t.k for t in arm.trials) for arm in c.arms]
        known = [(n, arm, arm.summary("peak")) for n, arm in zip(counts, c.arms, strict=True) if n > 1]
        if len({n for n, *_ in known}) < 2:
            continue
        most, fewest = max(known, key=lambda k: k[0]), min(known, key=lambda k: k[0])
        bias = peak_bias(most[0]) - peak_bias(fewest[0])
        helped = (most[2] or 0.0) > (fewest[2] or 0.0)
        yield _on(
            c, "unequal-k", "weak",
            f"peaks over unequal numbers of evaluations: {most[1].label} is the best of {most[0]}, "
            f"{fewest[1].label} of {fewest[0]}; luck alone lifts the former by {bias:.1f} evaluation deviations more"
            + ("" if helped else " (it is behind all the same, so the order stands)"),
        )  # fmt: skip


def episodes(case: Case) -> Iterator[Finding]:
    """Evaluations on unequal numbers of episodes, within a run or between compared ones.

    When the count grows with the result, episodes that succeed early are counted more often than those that do not, and
    the rate is biased upwards. Evaluate a fixed number of episodes from fixed start states.
    """
    for trial in case.trials:
        counts = np.array(trial.episodes(), dtype=np.float64)
        if len(counts) < 4 or counts.max() - counts.min() <= 0.05 * counts.mean():
            continue
        values = np.array([p.value.value for p in trial.curve if p.episodes])
        together = float(np.corrcoef(counts, values)[0, 1]) if values.std() > 0 else 0.0
        grows = f" and grow with the result (correlation {together:.2f})" if together > 0.5 else ""
        line = next(p.value.line for p in trial.curve if p.episodes)
        yield Finding(
            audit="episodes", weight="weak", where=trial.where, line=line, entry=trial.entry,
            message=f"{trial.name}: episodes per evaluation range from {counts.min():.0f} to {counts.max():.0f}{grows}",
        )  # fmt: skip
    for c in case.comparisons:
        usual = {arm.label: {n for t in arm.trials for n in t.episodes()} for arm in c.arms}
        fixed = {label: next(iter(n)) for label, n in usual.items() if len(n) == 1}
        if len(set(fixed.values())) > 1:
            listed = ", ".join(f"{label} {n}" for label, n in fixed.items())
            yield _on(c, "episodes", "wrong", f"evaluated on unequal numbers of episodes: {listed}")


def _on(c: Comparison, audit: str, weight: str, message: str) -> Finding:
    title = f"{c.title}: " if c.title and c.title != c.entry else ""
    return Finding(
        audit=audit,
        weight="wrong" if weight == "wrong" else "weak",
        where=c.where,
        line=c.line,
        entry=c.entry,
        message=f"{title}{message}",
    )


def _some(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
