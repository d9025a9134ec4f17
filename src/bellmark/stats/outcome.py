"""What a judgement hands out: plain data for tables, figures and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from bellmark.stats.claim import Claim, Summary
from bellmark.stats.evidence import Kind


class FailedShare(NamedTuple):
    """k of n seeds failed, with the 95% Wilson interval of the share."""

    k: int
    n: int
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """The finding under the least favourable reading of failed seeds (`failures`); `holds`: it passes every test."""

    estimate: float
    p_welch: float
    p_permutation: float
    holds: bool


@dataclass(frozen=True, kw_only=True)
class BySummary:
    """The verdict as one of the three summaries has it; None where that kind shows no such number."""

    kind: Kind
    opposite: bool
    estimate: float
    low: float | None
    high: float | None
    p_welch: float | None
    p_permutation: float | None
    pairs_won: float
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one arm's runs say about the claim. `sentence` is for a reader, the rest for tables and figures.

    `estimate`, `low`, `high` are improvements (positive: the way the claim expects) over the baseline, in units of
    the metric divided by the task's scale. `low` holds with confidence 1 - level, `high` with 1 - level_high; they
    differ only where Holm leaves unequal levels. `p_welch` and `p_permutation` are one-sided, of finished seeds,
    unadjusted. Numbers a kind may not show are None. `seeds_needed` are seeds per arm and task in all,
    `seeds_if_estimate` the same if the true effect is as large as the estimate. `noise_floor` is the 95% half-width
    of the difference from evaluation episodes alone, `noise_explains` says that the estimate lies inside it.
    `problems` are what makes it invalid or pending, else cautions.
    """

    kind: Kind
    arm: str
    baseline: str
    claim: Claim
    tasks: tuple[str, ...] = ()
    opposite: bool = False
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    level: float
    level_high: float
    p_welch: float | None = None
    p_permutation: float | None = None
    pairs_won: float | None = None
    pairs: int | None = None
    probability_of_improvement: float | None = None
    smallest_p: float | None = None
    finished: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    failed: Mapping[str, FailedShare] = field(default_factory=dict)
    worst_case: WorstCase | None = None
    seeds_needed: int | None = None
    seeds_if_estimate: int | None = None
    noise_floor: float | None = None
    noise_z: float | None = None
    noise_explains: bool = False
    spread_fell: tuple[str, int, float, int, float] | None = None
    by_summary: Mapping[Summary, BySummary] = field(default_factory=dict)
    depends_on_statistic: bool = False
    problems: tuple[str, ...] = ()
    sentence: str = ""

    @property
    def further_seeds(self) -> int | None:
        """Seeds to add per arm and task to reach `seeds_needed`, counted from the thinnest cell."""
        if self.seeds_needed is None:
            return None
        return max(self.seeds_needed - min(min(counts) for counts in self.finished.values()), 0)
