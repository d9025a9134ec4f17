"""How far a launch is: one line per run, speeds from the heartbeat, and when it will all be over."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from bellmark.sweeps.work import PlannedRun

WINDOW = 12  # how many of the latest steps forward a speed is taken over
LIVE = ("running", "stopping")
AHEAD = ("waiting", "queued")


@dataclass
class Line:
    """What a launch knows of one run."""

    run: PlannedRun
    state: str  # a run state, or waiting, queued (on a cluster), stopping, elsewhere
    step: int = 0
    total: int = 0
    brief: Mapping[str, float | str] = field(default_factory=dict)
    reason: str = ""
    seconds: float | None = None  # left until done; None while unknown
    speed: float | None = None  # steps per second
    _marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def start(self) -> None:
        """A worker begins on it: former speeds no longer count."""
        self.state, self.seconds, self.speed = "running", None, None
        self._marks.clear()

    def at(self, step: int, total: int, now: float) -> None:
        """Take in a reading of how far it is at a time in seconds."""
        self.step, self.total = step, total or self.total
        if not self._marks or step > self._marks[-1][1]:
            self._marks.append((now, step))
        (first, low), (last, high) = self._marks[0], self._marks[-1]
        if last > first:
            self.speed = (high - low) / (last - first)
            self.seconds = max(0.0, (self.total - self.step) / self.speed - (now - last))

    @property
    def share(self) -> float:
        """Part done, 0 to 1."""
        if self.state == "done":
            return 1.0
        return min(1.0, self.step / self.total) if self.total else 0.0


@dataclass(frozen=True)
class Board:
    """All of a launch at one moment."""

    lines: Sequence[Line]
    workers: int
    elapsed: float  # seconds since the launch
    message: str = ""

    def count(self, *states: str) -> int:
        """How many runs are in one of these states."""
        return sum(line.state in states for line in self.lines)

    @property
    def share(self) -> float:
        """Part of all runs that is done, 0 to 1."""
        return sum(line.share for line in self.lines) / max(1, len(self.lines))

    def remaining(self) -> float | None:
        """Seconds until all is done, from the speeds seen so far; None while there are none."""
        speeds = _speeds(self.lines)
        if not speeds:
            return None
        typical = sum(speeds.values()) / len(speeds)
        work = 0.0
        for line in self.lines:
            if line.state in (*LIVE, *AHEAD):
                left = (line.total or line.run.steps) - line.step
                work += line.seconds if line.seconds is not None else left / speeds.get(line.run.arm, typical)
        longest = max((line.seconds or 0.0 for line in self.lines if line.state in LIVE), default=0.0)
        return max(longest, work / self.workers)


def _speeds(lines: Iterable[Line]) -> dict[str, float]:
    """Mean speed of each arm that has one."""
    seen: dict[str, list[float]] = {}
    for line in lines:
        if line.speed:
            seen.setdefault(line.run.arm, []).append(line.speed)
    return {arm: sum(values) / len(values) for arm, values in seen.items()}


class View(AbstractContextManager["View"], Protocol):
    """Where a launch shows itself."""

    def show(self, board: Board) -> None:
        """The state of things, about twice a second."""
        ...

    def say(self, text: str) -> None:
        """An event worth a line of its own."""
        ...


class Silent(AbstractContextManager["Silent"]):
    """Shows nothing."""

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, board: Board) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""
