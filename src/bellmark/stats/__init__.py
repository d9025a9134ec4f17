"""The ledger's statistics: curves to summaries, honest intervals, tests of difference, and the verdict rule."""

from __future__ import annotations

from bellmark.stats.claim import Arm, Claim, SeedResult
from bellmark.stats.outcome import BySummary, FailedShare, Verdict, WorstCase
from bellmark.stats.verdict import judge

__all__ = ["Arm", "BySummary", "Claim", "FailedShare", "SeedResult", "Verdict", "WorstCase", "judge"]
