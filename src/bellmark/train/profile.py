"""`bellmark train --profile`: where a run's time goes, and traces of a few pieces of its work; for every family.

Shares are measured all along by clocks around what every family calls: backward passes, optimiser steps, draws from
replay. On a GPU each clock waits for the device, so a profiled run is slower than the run itself; on a CPU it is not.
Traces are of the first pieces of work that learn, for TensorBoard, ui.perfetto.dev or chrome://tracing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.profiler import ProfilerActivity, record_function

from bellmark.agents.api import Metrics
from bellmark.nets import fused_adam
from bellmark.nets.optim import LaProp
from bellmark.records import write_atomic
from bellmark.replay import Replay

FOLDER = "profile"
SKIP, TRACES = 2, 3  # pieces of work that learn: so many first ones are not traced, so many are
OPERATORS = 40  # lines of the table of operators
TIMED: tuple[tuple[Any, str, str], ...] = (  # owner, function, phase; PyTorch's own optimisers have hooks
    (torch.autograd, "backward", "backward"),
    (torch.autograd, "grad", "backward"),
    (LaProp, "_descend", "optimizer"),
    (fused_adam, "_fused", "optimizer"),
    (Replay, "draw", "draw"),
    (Replay, "read", "draw"),
)

Work = Callable[[], Metrics]


class Profile:
    """Watches pieces of work while `watching`; adds `profile/*` to their rows and writes to the run's folder."""

    def __init__(self, run: Path) -> None:
        """Files go to `run`/profile."""
        self.folder = run / FOLDER
        self._seconds: dict[str, float] = {}  # by phase, since the last row
        self._total: dict[str, float] = {}  # of all rows
        self._learning = 0  # pieces of work that learned

    @contextmanager
    def watching(self, work: Work) -> Iterator[Work]:
        """The same work, watched while inside."""
        self.folder.mkdir(exist_ok=True)
        with ExitStack() as stack:
            for owner, name, phase in TIMED:
                stack.enter_context(_replaced(owner, name, self._clocked(getattr(owner, name), phase)))
            began: list[float] = []
            before = register_optimizer_step_pre_hook(lambda *args: began.append(_now()))
            stack.callback(before.remove)
            after = register_optimizer_step_post_hook(lambda *args: self._add("optimizer", began.pop()))
            stack.callback(after.remove)
            yield lambda: self._piece(work)

    def _clocked(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        @wraps(function)
        def clocked(*args: Any, **kwargs: Any) -> Any:
            began = _now()
            with record_function(phase):
                found = function(*args, **kwargs)
            self._add(phase, began)
            return found

        return clocked

    def _add(self, phase: str, began: float) -> None:
        self._seconds[phase] = self._seconds.get(phase, 0.0) + _now() - began

    def _piece(self, work: Work) -> Metrics:
        """One piece of work, traced where that is due; a row gains its shares."""
        before, began = self._seconds.get("backward", 0.0), _now()
        due = SKIP <= self._learning < SKIP + TRACES
        metrics = self._traced(work) if due else work()
        if self._seconds.get("backward", 0.0) > before:
            self._learning += 1
        self._add("all", began)
        return {**metrics, **self._shares(metrics)} if metrics else metrics

    def _traced(self, work: Work) -> Metrics:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        with torch.profiler.profile(activities=activities, record_shapes=True, profile_memory=True) as trace:
            metrics = work()
        number = self._learning - SKIP + 1
        trace.export_chrome_trace(str(self.folder / f"trace_{number}.json.gz"))
        table = trace.key_averages().table(sort_by="self_cpu_time_total", row_limit=OPERATORS)
        (self.folder / f"operators_{number}.txt").write_text(table, encoding="utf-8")
        return metrics

    def _shares(self, row: Metrics) -> Metrics:
        """Where the time since the last row went, as shares of it; also written for the run so far."""
        spent, self._seconds = self._seconds, {}
        backward, optimizer, draw = (spent.get(phase, 0.0) for phase in ("backward", "optimizer", "draw"))
        data = row.get("time/collect", 0.0) + draw
        forward = max(0.0, row.get("time/update", 0.0) - draw - backward - optimizer)
        seconds = {"data": data, "forward": forward, "backward": backward, "optimizer": optimizer}
        seconds["rest"] = max(0.0, spent["all"] - sum(seconds.values()))
        for phase, value in seconds.items():
            self._total[phase] = self._total.get(phase, 0.0) + value
        whole = max(sum(self._total.values()), 1e-9)
        content = {"seconds": self._total, "shares": {phase: value / whole for phase, value in self._total.items()}}
        write_atomic(self.folder / "shares.json", (json.dumps(content, indent=2) + "\n").encode())
        every = max(sum(seconds.values()), 1e-9)
        return {f"profile/{phase}": value / every for phase, value in seconds.items()}


@contextmanager
def unwatched(work: Work) -> Iterator[Work]:
    """The work as it is."""
    yield work


@contextmanager
def _replaced(owner: Any, name: str, new: Callable[..., Any]) -> Iterator[None]:
    former = getattr(owner, name)
    setattr(owner, name, new)
    try:
        yield
    finally:
        setattr(owner, name, former)


def _now() -> float:
    """Seconds, once the device has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
