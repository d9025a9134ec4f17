"""What audits look at: trials, the comparisons made between them, and what was written about them.

Run folders, sweep files and hand-kept logs are all brought into this shape, so that an audit is written once. A trial
read from a log has the numbers that stand there, each with its line; one read from a record has its curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import msgspec

from bellmark.audits.values import Number

Summary = Literal["peak", "final", "last_mean", "low"]
Weight = Literal["wrong", "weak", "note"]
LAST = 3  # evaluations in a last-K mean where nobody declared K


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong or weak. `audit` is the stable id of the rule that found it."""

    audit: str
    weight: Weight  # wrong: contradicts what is there; weak: does not carry the conclusion; note: worth knowing
    where: str  # "log.md:402" or a run folder
    line: int = 0
    entry: str = ""
    message: str
    lines: tuple[int, ...] = ()  # further lines that the message rests on


@dataclass(frozen=True)
class Point:
    """One evaluation."""

    at: float  # iteration or step, as the source counts
    value: Number
    episodes: int | None = None
    step: float | None = None  # environment steps, where the source has them beside iterations


@dataclass(frozen=True)
class Stated:
    """A summary that somebody wrote down: `Peak: 99.2% (iter 8)`."""

    summary: Summary
    value: Number
    at: tuple[float, ...] = ()
    where: str = ""


@dataclass(eq=False)
class Trial:
    """One run, or one line of a table that stands for one."""

    name: str
    where: str
    line: int = 0
    entry: str = ""
    labels: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    declared: dict[str, str] = field(default_factory=dict)  # as a table of shared settings has them
    explicit: set[str] = field(default_factory=set)  # keys given on the command line, not taken from a shared table
    script: str = ""
    seed: int | None = None
    measure: str = ""  # what the curve shows, as the source calls it
    share: bool = False  # whether values are percentages or shares of episodes
    curve: list[Point] = field(default_factory=list)
    others: dict[str, list[Point]] = field(default_factory=dict)
    stated: list[Stated] = field(default_factory=list)
    facts: dict[str, Number] = field(default_factory=dict)  # other named numbers: "a std" -> 0.0168
    started: float | None = None  # seconds since the epoch
    resumed_at: float | None = None  # the step it says it continued from
    restarted_at: float | None = None  # the step that was reached when an attempt began again at 0
    budget: float | None = None
    planned_episodes: int = 0  # behind its summary, where a sweep file plans them
    evaluations: int | None = None  # how many evaluations a peak is the best of, where the settings say
    excerpt: bool = False  # the curve is known to show some of the evaluations only
    protocol: str = ""  # how it was evaluated, beyond the episodes of its points
    code: str = ""
    host: str = ""
    span: tuple[float, float] | None = None  # first and last sign of life, seconds since the epoch
    states: tuple[str, ...] = ()

    @property
    def k(self) -> int:
        """The number of evaluations behind the peak; 0 where it is not known."""
        return max(self.evaluations or 0, len(self.curve)) if self.evaluations or self.whole else 0

    @property
    def whole(self) -> bool:
        """Whether the curve shows every evaluation: as many as the settings say, else evenly spaced from the start."""
        at = [p.at for p in self.curve]
        if self.excerpt or not at:
            return False
        if self.evaluations:
            return len(at) >= self.evaluations
        rest = at[1:] if at[0] in (0.0, 1.0) else at
        gap = rest[1] - rest[0] if len(rest) > 1 else rest[0] if rest else 0.0
        return all(b - a == gap for a, b in pairwise(rest)) and (not rest or rest[0] in (gap, at[0] + gap))

    def stated_as(self, summary: Summary) -> Stated | None:
        """The summary as written, the first of several."""
        return next((s for s in self.stated if s.summary == summary), None)

    def summary(self, name: Summary) -> float | None:
        """A summary: as written, else from the curve; of an excerpt only the last value counts."""
        written = self.stated_as(name)
        if written is not None:
            return written.value.value
        values = [p.value.value for p in self.curve if math.isfinite(p.value.value)]
        if not values or not (self.whole or name in ("final", "low")):
            return None
        if name == "last_mean":
            return sum(values[-LAST:]) / len(values[-LAST:]) if len(values) >= LAST else None
        return {"peak": max(values), "final": values[-1], "low": min(values)}[name]

    def episodes(self) -> list[int]:
        """Episodes of every evaluation that says them."""
        return [p.episodes for p in self.curve if p.episodes]


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: the seeds of one configuration (a hand-kept log has one)."""

    label: str
    trials: tuple[Trial, ...]
    about: str = ""  # what else its row says of it
    seeds: int = 0  # how many stand behind its numbers, where the source says

    @property
    def lone(self) -> bool:
        """Whether there is one seed only, be it on several tasks."""
        return (self.seeds or len({t.seed for t in self.trials})) == 1

    @property
    def first(self) -> Trial:
        """The trial that stands for the arm's settings."""
        return self.trials[0]

    def summary(self, name: Summary) -> float | None:
        """The mean over seeds; None where a seed has no such number."""
        values = [t.summary(name) for t in self.trials]
        known = [v for v in values if v is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None


@dataclass(frozen=True)
class Comparison:
    """Arms that somebody set against one another. `keys` are the settings declared to differ."""

    where: str
    line: int
    entry: str
    title: str
    arms: tuple[Arm, ...]
    keys: frozenset[str] = frozenset()
    fair: str = ""  # the words that claim fairness, such as "fair comparison"; "" where none do
    quoted: Summary | None = None  # the summary that the claim rests on
    higher_is_better: bool = True
    problems: tuple[str, ...] = ()  # undeclared differences that the ledger found itself
    minimum_effect: float = 0.0  # the smallest difference worth having, where one was declared
    baseline: str = ""  # label of the arm that the others are measured against; "" where all are alike


@dataclass(frozen=True)
class Sentence:
    """Something written, with the experiment it stands in."""

    where: str
    line: int
    entry: str
    text: str
    heading: str = ""


@dataclass(frozen=True)
class Clock:
    """A moment that was written down: `said` as written, `read` in seconds where it can be read."""

    where: str
    line: int
    entry: str
    said: str
    read: float | None
    kind: Literal["heading", "start", "row"]


@dataclass(frozen=True)
class Tally:
    """A table of a log whose cells are a number of successes, shares or products: kept for arithmetic."""

    line: int
    entry: str
    head: tuple[str, ...]
    rows: tuple[tuple[tuple[str, int], ...], ...]  # (text, line) per cell


@dataclass(frozen=True)
class Case:
    """Everything an audit may look at."""

    where: str
    trials: tuple[Trial, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    arms: tuple[Arm, ...] = ()  # configurations with all their seeds, where the source has them apart from comparisons
    sentences: tuple[Sentence, ...] = ()
    clocks: tuple[Clock, ...] = ()
    tallies: tuple[Tally, ...] = ()
    cited: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # entry -> names of the trials it mentions

    def of(self, entry: str) -> list[Trial]:
        """The trials of one entry, those it only refers to included."""
        names = self.cited.get(entry, ())
        return [t for t in self.trials if t.entry == entry or t.name in names]
