"""One run from its folder: continue where it stands, judge it on the way, and never lose more than a checkpoint's worth.

The runner contract that every launcher relies on: `execute` may be called any number of times on the same folder. It
returns 0 when the run is done, 75 when it was asked to stop (SIGTERM, SIGUSR2, SIGINT), saved itself and wants to go on.
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
from bellmark.records import CheckpointStore, Run, RunWriter
from bellmark.train import checkpoint
from bellmark.train.evaluate import evaluate

DONE, REQUEUE = 0, 75
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)

Show = Callable[[int, int, Metrics], None]  # (step, total, newest metrics)


class StopRequest:
    """Whether somebody asked this process to save and leave; a second request leaves at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle the stop signals while inside."""
        former = {s: signal.signal(s, self) for s in STOP_SIGNALS}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


def load_start(config: Finetune) -> Callable[[str], dict[str, Any]]:
    """How a configuration's checkpoints are loaded: by name, refused when their policy or task is of another family."""

    def load(name: str) -> dict[str, Any]:
        content = checkpoint.read(name)
        checkpoint.check_family(content, name, "finetune", config, ("policy", "task"))
        state: dict[str, Any] = content["state"]
        return state

    return load


def execute(folder: Path, *, threads: int = 1, show: Show = lambda step, total, metrics: None) -> int:
    """Run or continue the run in `folder`; returns the exit code of the runner contract."""
    torch.set_num_threads(threads)
    meta = Run(folder).meta
    config = build(Finetune, meta.config)
    with StopRequest().listening() as stop, RunWriter(folder) as record:
        agent = FinetuneAgent(config, load_start(config), threads)
        loop = Loop(agent, config, folder, record, show, threads)
        finished = loop.run(stop)
        record.finish("done" if finished else "preempted", "" if finished else f"asked to stop by {stop.signal}")
    return DONE if finished else REQUEUE


class Loop:
    """Iterate, evaluate, save; the order that makes a resumed run repeat nothing and miss nothing."""

    def __init__(
        self, agent: Agent, config: Finetune, folder: Path, record: RunWriter, show: Show, threads: int
    ) -> None:
        self._agent = agent
        self._config = config
        self._store = CheckpointStore(folder / "checkpoints")
        self._record = record
        self._show = show
        self._eval_env = config.task.make(config.evaluation.episodes, threads)
        self._saved_at = time.monotonic()
        per_iteration = config.collect.envs * config.collect.steps
        self._total = config.steps // per_iteration * per_iteration

    def run(self, stop: StopRequest) -> bool:
        """To the end (True) or to a stop request (False)."""
        agent = self._agent
        last = self._store.last()
        if last is not None:
            agent.load_state_dict(checkpoint.unpack(last.read_bytes(), str(last))["state"])
        else:
            self._log(self._evaluate())
            self._save(None)
        while agent.step < self._total:
            if stop.signal is not None:
                self._save(None)
                return False
            before = agent.step
            metrics = agent.iterate()
            every = self._config.evaluation.every
            due = agent.step // every > before // every or agent.step >= self._total
            judged = self._evaluate() if due else {}
            self._log({**metrics, **judged})
            if due or time.monotonic() - self._saved_at > self._config.checkpoints.seconds:
                self._save(judged.get(self._config.headline))
        return True

    def _evaluate(self) -> Metrics:
        began = time.perf_counter()
        settings = self._config.evaluation
        metrics = evaluate(self._agent.policy, self._eval_env, settings.seed)
        return {**metrics, "time/evaluate": time.perf_counter() - began, **self._agent.steps_taken()}

    def _log(self, metrics: Metrics) -> None:
        self._record.log(self._agent.step, metrics)
        brief = {k: v for k, v in metrics.items() if k in ("eval/success", "train/success", "policy/kl")}
        self._record.beat(self._agent.step, self._total, **brief)
        self._show(self._agent.step, self._total, metrics)

    def _save(self, headline: float | None) -> None:
        data = checkpoint.pack(self._config.family, self._config.tree(), self._agent.state_dict())
        self._store.save(self._agent.step, data, metric=headline, keep_every=self._config.checkpoints.every or None)
        self._saved_at = time.monotonic()
