"""Numbers and states as people read them, alike in the page, the log and the figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

DASH = "–"
MINUS = "\N{MINUS SIGN}"


class Mark(NamedTuple):
    """How a verdict or state is shown: a word, and a sign so that colour is never the only difference."""

    word: str
    sign: str


VERDICTS = {
    "supported": Mark("supported", "✓"),
    "refuted": Mark("refuted", "✕"),
    "inconclusive": Mark("inconclusive", "≈"),
    "directional": Mark("directional only", "↗"),
    "anecdote": Mark("anecdote", "1"),
    "pending": Mark("pending", "…"),
    "invalid": Mark("invalid comparison", "!"),
    "none": Mark("no claim declared", "○"),
}
STATES = {
    "done": Mark("done", "●"),
    "running": Mark("running", "◐"),
    "failed": Mark("failed", "✕"),
    "stopped": Mark("stopped", "✕"),
    "preempted": Mark("preempted", "◌"),
    "lost": Mark("lost", "◌"),
    "pending": Mark("pending", "○"),
    "new": Mark("pending", "○"),
}
SUMMARIES = {"last_mean": "mean of last", "final": "final", "peak": "peak"}


@dataclass(frozen=True)
class Unit:
    """How a metric's values are written: a success rate in percent, everything else with four digits."""

    metric: str

    @property
    def is_share(self) -> bool:
        """Whether the metric is a share between 0 and 1."""
        return self.metric.rsplit("/", 1)[-1].startswith("success")

    def value(self, x: float) -> str:
        """`95.8%` or `312.4`."""
        if not math.isfinite(x):
            return DASH if math.isnan(x) else ("∞" if x > 0 else f"{MINUS}∞")
        return signed(f"{100 * x:.1f}%" if self.is_share else significant(x))

    def bound(self, x: float) -> str:
        """A value cut to where the metric can be: an interval of a share does not go on past 0 and 1."""
        return self.value(min(max(x, 0.0), 1.0) if self.is_share and math.isfinite(x) else x)

    def difference(self, x: float) -> str:
        """`+12.3 pp` or `−4.1`."""
        if not math.isfinite(x):
            return self.value(x)
        plain = f"{100 * x:+.1f} pp" if self.is_share else f"{'+' if x >= 0 else ''}{significant(x)}"
        return signed(plain)

    def interval(self, low: float, high: float) -> str:
        """`[88.1%, 97.0%]`, "" when unbounded on both sides."""
        if not (math.isfinite(low) or math.isfinite(high)):
            return ""
        return f"[{self.bound(low)}, {self.bound(high)}]"


def signed(text: str) -> str:
    """With a minus sign that is as wide as a plus."""
    return text.replace("-", MINUS)


def significant(x: float) -> str:
    """Four significant digits, thousands grouped, never in powers of ten between 0.001 and a billion."""
    if x == 0:
        return "0"
    size = math.floor(math.log10(abs(x)))
    if not -4 < size < 9:
        return f"{x:.3e}"
    return f"{round(x):,}" if size >= 4 else f"{x:.{3 - size}f}".rstrip("0").rstrip(".")


def count(x: float | None) -> str:
    """A whole number with grouped thousands."""
    return DASH if x is None or not math.isfinite(x) else f"{round(x):,}"


def short(x: float) -> str:
    """`50k`, `1.2M`: steps on an axis."""
    for size, mark in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:.3g}{mark}"
    return f"{x:.3g}"


def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def clock_unit(longest: float) -> tuple[float, str]:
    """(seconds, name) of the unit in which times up to `longest` are written on an axis."""
    return (1.0, "s") if longest <= 180 else (60.0, "min") if longest <= 3 * 3600 else (3600.0, "h")


def listed(words: list[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def some(n: int, what: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
