"""One run from its folder: continue where it stands, judge it on the way, lose no more than since the last checkpoint.

The runner contract that every launcher relies on: `execute` may be called any number of times on the same folder. It
returns 0 when the run is done, 75 when it was asked to stop (SIGTERM, SIGUSR2, SIGINT), saved itself and can go on.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from bellmark.agents.api import Agent, Metrics
from bellmark.agents.finetune.agent import FinetuneAgent
from bellmark.agents.finetune.config import Finetune
from bellmark.config import build
from bellmark.records import Run, RunWriter
from bellmark.train import checkpoint
from bellmark.train.evaluate import evaluate

DONE, REQUEUE = 0, 75
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)

BRIEF = ("eval/success", "eval/return", "train/success")  # what a live table shows of a run

Show = Callable[[int, int, Metrics], None]  # (step, total, newest metrics)


class StopRequest:
    """Whether somebody asked this process to save and leave; a second request leaves at once."""

    def __init__(self) -> None:
        self.name = ""

    @property
    def asked(self) -> bool:
        """Whether a stop signal has come."""
        return bool(self.name)

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle the stop signals while inside."""
        former = {number: signal.signal(number, self._receive) for number in STOP_SIGNALS}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name


def load_start(config: Finetune) -> Callable[[str], dict[str, Any]]:
    """How a configuration's checkpoints are loaded: by name, refused when their policy or task is of another family."""

    def load(name: str) -> dict[str, Any]:
        content = checkpoint.read(name)
        checkpoint.check_family(content, name, "finetune", config, ("policy", "task"))
        state: dict[str, Any] = content["state"]
        return state

    return load


def execute(folder: Path, *, threads: int = 1, show: Show = lambda step, total, metrics: None) -> int:
    """Run or continue the run in `folder`; returns the exit code of the runner contract.

    Raises:
        UserError: not a run folder, a configuration that no longer fits, a start checkpoint of another model family.
    """
    torch.set_num_threads(threads)
    run = Run(folder)
    if run.status.state == "done":
        return DONE
    config = build(Finetune, run.meta.config)
    with StopRequest().listening() as stop, RunWriter(folder) as record:
        agent = FinetuneAgent(config, load_start(config), threads)
        finished = Loop(agent, config, record, show, threads).run(stop)
        record.finish("done" if finished else "preempted", "" if finished else f"asked to stop by {stop.name}")
    return DONE if finished else REQUEUE


class Loop:
    """Iterate, evaluate, save; the order that makes a resumed run repeat nothing and miss nothing."""

    def __init__(self, agent: Agent, config: Finetune, record: RunWriter, show: Show, threads: int) -> None:
        self._agent = agent
        self._config = config
        self._record = record
        self._show = show
        self._eval_env = config.task.make(config.evaluation.episodes, threads)
        self._saved_at = time.monotonic()
        per_iteration = config.collect.envs * config.collect.steps
        self._total = config.steps // per_iteration * per_iteration

    def run(self, stop: StopRequest) -> bool:
        """To the end (True) or to a stop request (False)."""
        agent, every = self._agent, self._config.evaluation.every
        self._begin()
        while agent.step < self._total:
            if stop.asked:
                self._save()
                return False
            before = agent.step
            metrics = agent.iterate()
            due = agent.step // every > before // every or agent.step >= self._total
            judged = self._evaluate() if due else {}
            self._log({**metrics, **judged})
            if due or time.monotonic() - self._saved_at > self._config.checkpoints.seconds:
                self._save(judged.get(self._config.headline))
        return True

    def _begin(self) -> None:
        """Continue from the last checkpoint; without one, judge the start, so that every curve begins at step 0."""
        last = self._record.checkpoints.last()
        if last is None:
            self._log(self._evaluate())
            self._save()
        else:
            self._agent.load_state_dict(checkpoint.unpack(last.read(), last.path.name)["state"])
            self._record.resume(self._agent.step)

    def _evaluate(self) -> Metrics:
        began = time.perf_counter()
        metrics = evaluate(self._agent.policy, self._eval_env, self._config.evaluation.seed)
        return {**metrics, "time/evaluate": time.perf_counter() - began, **self._agent.steps_taken()}

    def _log(self, metrics: Metrics) -> None:
        self._record.log(self._agent.step, metrics)
        brief = {k: metrics[k] for k in BRIEF if k in metrics}
        self._record.beat(self._agent.step, self._total, **brief)
        self._show(self._agent.step, self._total, metrics)

    def _save(self, headline: float | None = None) -> None:
        data = checkpoint.pack(self._config.family, self._config.tree(), self._agent.state_dict())
        keep_every = self._config.checkpoints.every or None
        self._record.checkpoint(self._agent.step, data, metric=headline, keep_every=keep_every)
        self._saved_at = time.monotonic()
