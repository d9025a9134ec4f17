"""What a verdict is computed from: a claim declared before launch, and arms of seeds. Plain data, no files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bellmark.errors import UserError, unknown

FloatArray = NDArray[np.float64]
Summary = Literal["final", "last_mean", "peak"]
Direction = Literal["increase", "decrease"]

SUMMARIES: tuple[Summary, ...] = get_args(Summary)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
# A run that crashed, diverged, or that the doctor stopped will never deliver its number. Every other unfinished state
# can still be continued, so the verdict waits for it.
FAILED_STATES = frozenset({"failed", "stopped"})
FINISHED_STATES = frozenset({"done"})


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What was expected, declared before launch.

    `minimum_effect` is the smallest difference worth having, in units of the metric divided by the task's scale (so in
    plain units of the metric when no scale is declared). `alpha` is the error allowed on each side of the interval,
    over all arms and looks together. `looks` says how often the sweep is to be judged in all: a number (taken as
    equally spaced), or the growing seed counts per arm at which it is, such as (3, 5, 10). `scales` are the numbers c_m
    that make tasks comparable (the task's range, or a recorded baseline level); without one a task keeps its own units.
    """

    metric: str
    summary: Summary = "last_mean"
    last: int = 3
    direction: Direction = "increase"
    minimum_effect: float = 0.0
    alpha: float = 0.05
    looks: int | tuple[int, ...] = 1
    scales: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.summary not in SUMMARIES:
            raise unknown("expect.summary", self.summary, SUMMARIES)
        if self.direction not in DIRECTIONS:
            raise unknown("expect.direction", self.direction, DIRECTIONS)
        if self.last < 1:
            raise UserError(f"expect.last is {self.last}; give the number of last evaluations to average, at least 1")
        if not 0.0 < self.alpha < 0.5:
            raise UserError(f"expect.alpha is {self.alpha}; give a probability above 0 and below 0.5, such as 0.05")
        if not (math.isfinite(self.minimum_effect) and self.minimum_effect >= 0.0):
            size = self.minimum_effect
            raise UserError(f"expect.minimum_effect is {size}; give a size of at least 0, the sign is expect.direction")
        plan = self.look_plan
        if not plan or plan[0] < 1 or any(b <= a for a, b in pairwise(plan)):
            raise UserError(
                f"expect.looks is {self.looks}; give how often to judge, or growing seed counts like [3, 5]"
            )
        for task, scale in self.scales.items():
            if not (math.isfinite(scale) and scale > 0.0):
                raise UserError(f"the scale of task {task} is {scale}; give a finite number above 0")

    @property
    def look_plan(self) -> tuple[int, ...]:
        """Information at each declared look: the seed counts, or 1, 2, ... for a plain number of looks."""
        return tuple(range(1, self.looks + 1)) if isinstance(self.looks, int) else tuple(self.looks)

    @property
    def sign(self) -> float:
        """+1 where more is better, -1 where less is."""
        return 1.0 if self.direction == "increase" else -1.0

    @property
    def is_proportion(self) -> bool:
        """Whether one episode scores 0 or 1, so that the noise of an evaluation follows from its mean."""
        return self.metric.rsplit("/", 1)[-1].startswith("success")

    def scale(self, task: str) -> float:
        """c_m of a task, 1 where none was declared."""
        return float(self.scales.get(task, 1.0))


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """One run as the verdict sees it: the state and the evaluation curve of the claim's metric.

    `steps` (k,) strictly increasing real environment steps, `values` (k,) the metric there. `episodes` are the episodes
    per evaluation, `episode_sd` the spread of a single episode's return inside one evaluation (unknown: None).
    `problems` are undeclared differences to the baseline (config, code, budget, protocol, start checkpoint): one is
    enough to make the verdict invalid.
    """

    seed: int
    state: str = "done"
    steps: NDArray[np.int64]
    values: FloatArray
    episodes: int | None = None
    episode_sd: float | None = None
    problems: Sequence[str] = ()

    def __post_init__(self) -> None:
        steps = np.asarray(self.steps, dtype=np.int64)
        values = np.asarray(self.values, dtype=np.float64)
        if steps.ndim != 1 or steps.shape != values.shape:
            raise ValueError(f"steps {steps.shape} and values {values.shape} of seed {self.seed} must be equal vectors")
        if np.any(np.diff(steps) <= 0):
            raise ValueError(f"steps of seed {self.seed} must grow strictly")
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "problems", tuple(self.problems))

    @property
    def failed(self) -> bool:
        """Crashed, stopped by the doctor, or finished with an evaluation that is not a number."""
        return self.state in FAILED_STATES or (self.state in FINISHED_STATES and not np.all(np.isfinite(self.values)))

    @property
    def finished(self) -> bool:
        """Done, and with at least one evaluation, all of them numbers."""
        return self.state in FINISHED_STATES and self.values.size > 0 and not self.failed

    @classmethod
    def of(cls, seed: int, values: ArrayLike, *, every: int = 1000, episodes: int | None = None) -> SeedResult:
        """A finished seed evaluated every `every` steps, for examples and tests."""
        curve = np.atleast_1d(np.asarray(values, dtype=np.float64))
        steps = np.arange(1, curve.size + 1, dtype=np.int64) * every
        return cls(seed=seed, steps=steps, values=curve, episodes=episodes)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One cell of the sweep: for each task, all its planned seeds, unfinished and failed ones included."""

    name: str
    results: Mapping[str, Sequence[SeedResult]]
