"""One run from its folder: continue where it stands, judge it on the way, lose no more than since the last checkpoint.

The runner contract that every launcher relies on: `execute` may be called any number of times on the same folder. It
returns 0 when the run is done, 75 when it was asked to stop (SIGTERM, SIGUSR2, SIGINT), saved itself and can go on.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from bellmark.agents.api import Agent, Metrics
from bellmark.errors import UserError
from bellmark.records import Run, RunWriter, collect_provenance
from bellmark.train import checkpoint
from bellmark.train.baselines import baselines
from bellmark.train.doctor import Attendant
from bellmark.train.evaluate import evaluate, start_values
from bellmark.train.families import RunConfig, make_agent, read_config
from bellmark.train.instruments import Tape, Watcher
from bellmark.train.profile import Profile, Work, unwatched

DONE, REQUEUE = 0, 75
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)

BRIEF = (  # what a live table shows of a run
    *("eval/success", "eval/return", "train/success", "train/return"),
    *("replay/ratio", "throughput/updates", "throughput/transitions"),
)

MOST_SAVING = 0.03  # of the time that a run takes
PREPARED = "critic/prepared"  # share of what is learned before the first step
Show = Callable[[int, int, Metrics], None]  # (step, total, newest metrics)
Say = Callable[[str], None]  # a line about the run for whoever started it; log.txt has it too


class Stopped(Exception):
    """Somebody asked this process to save and leave."""


class StopRequest:
    """Whether somebody asked this process to save and leave; Ctrl-C after a request leaves at once.

    A repeated SIGTERM or SIGUSR2 does not hurry: clusters send one after the other to a job that they take back.
    """

    def __init__(self) -> None:
        self.name = ""

    @property
    def asked(self) -> bool:
        """Whether a stop signal has come."""
        return bool(self.name)

    def check(self) -> None:
        """Raise `Stopped` once a stop signal has come."""
        if self.asked:
            raise Stopped

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
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = self.name or signal.Signals(number).name


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Inside, numbers below 1e-38 are zero: computing with them costs a hundred times as much."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def execute(
    folder: Path,
    *,
    threads: int = 1,
    device: str = "cpu",
    show: Show = lambda step, total, metrics: None,
    say: Say = lambda line: None,
    profile: bool = False,
) -> int:
    """Run or continue the run in `folder`; returns the exit code of the runner contract.

    `profile`: measure where the time goes, and write traces into the folder.

    Raises:
        UserError: not a run folder, a configuration that no longer fits, a start checkpoint of another model family.
    """
    torch.set_num_threads(threads)
    run = Run(folder)
    if run.status.state == "done":
        return DONE
    config = read_config(run.meta.family, run.meta.config)
    origin = collect_provenance()
    with (
        denormals_flushed(),
        StopRequest().listening() as stop,
        RunWriter(folder, origin=origin, device=device) as record,
    ):

        def tell(line: str) -> None:
            record.note(line)
            say(line)

        agent = make_agent(config, folder, threads, device, tell)
        watching = Profile(folder).watching if profile else unwatched
        with watching(agent.iterate) as work:
            loop = Loop(agent, work, config, record, show, threads, stop, Attendant(folder, config.doctor, tell))
            finished = loop.run()
        if not finished:
            record.finish("preempted", f"asked to stop by {stop.name}")
        elif loop.ill:
            record.finish("stopped", loop.ill)
        else:
            record.finish("done", loop.good_enough)
    return DONE if finished else REQUEUE


def diverged(row: Metrics, step: int) -> str:
    """What to tell of a row whose losses are no numbers; empty where they are."""
    lost = [name for name, value in row.items() if name.startswith("loss/") and not math.isfinite(value)]
    if not lost:
        return ""
    return (
        f"{lost[0]} is {row[lost[0]]} at step {step:,}: learning has diverged; try a smaller learning rate or stronger "
        "gradient clipping (the checkpoints are from before; `bellmark doctor RUN` shows what went first)"
    )


class Loop:
    """Work, evaluate, save; the order that makes a resumed run repeat nothing and miss nothing."""

    def __init__(
        self,
        agent: Agent,
        work: Work,
        config: RunConfig,
        record: RunWriter,
        show: Show,
        threads: int,
        stop: StopRequest,
        doctor: Attendant,
    ) -> None:
        self._agent, self._work = agent, work
        self._config = config
        self._record = record
        self._show = show
        self._stop = stop
        self._doctor = doctor
        self._watcher = Watcher(agent, config.family)
        self.ill = ""  # why the doctor ended the run; empty while it has not
        self._eval_env = config.task.make(config.evaluation.episodes, threads)
        self._saved_at = time.monotonic()
        self._saving = 0.0  # seconds that the newest save took
        self._judged_at = 0  # step of the newest evaluation
        self._reached = 0  # evaluations in a row that were good enough to stop
        self._row: Metrics = {}  # the newest row, while it waits for its evaluation
        self._begun = False  # the start has been judged, or a checkpoint loaded
        self._news: Metrics = {}  # what a live table shows

    @property
    def good_enough(self) -> str:
        """Why the run is over before its last step; empty while it is not."""
        return self._config.evaluation.stop.reason(self._reached)

    def run(self) -> bool:
        """To the end (True) or to a stop request (False), which also interrupts an evaluation."""
        try:
            self._begin()
            while self._judged_at < self._agent.total and not self.good_enough and not self.ill:
                self._stop.check()
                self._row = self._row or self._work()
                self._finish_row()
        except Stopped:
            if self._begun:
                self._save()
            return False
        return True

    def _begin(self) -> None:
        """Continue from the last checkpoint; without one, judge the start, so that every curve begins at step 0."""
        last = self._record.checkpoints.last()
        if last is None:
            learned = self._agent.prepare(self._preparing)
            judged = self._evaluate()
            self._config.evaluation.stop.count(0, judged)  # a metric that does not exist is refused now
            self._log({**baselines(self._eval_env, self._config.evaluation.seed), **learned, **judged})
            self._save()
            self.ill = self._doctor.examine()
        else:
            state = checkpoint.unpack(last.read(), last.path.name)["state"]
            self._agent.load_state_dict(state)
            self._judged_at, self._reached, self._row = state["judged_at"], state["reached"], state["row"]
            self._watcher.load_state_dict(state.get("watcher", {}))
            self._record.resume(self._agent.step, self._updates)
        self._begun = True

    def _preparing(self, share: float) -> None:
        """Show how far the agent is before its first step, and let it be stopped there; it then begins anew."""
        self._stop.check()
        self._beat()
        self._show(0, self._agent.total, {PREPARED: share})

    def _finish_row(self) -> None:
        """Judge where that is due, log the row, save where that is due: between rows too, which may lie hours apart.

        Raises:
            UserError: learning has diverged; no checkpoint keeps what is left of it.
        """
        if not self._row:
            self._beat()
            if self._save_due:
                self._save()
            return
        if lost := diverged(self._row, self._agent.step):
            self._log(self._row)
            raise UserError(lost)
        step, every = self._agent.step, self._config.evaluation.every
        due = step // every > self._judged_at // every or step >= self._agent.total
        judged = self._evaluate() if due else {}
        if due:
            self._reached = self._config.evaluation.stop.count(self._reached, judged)
        self._log({**self._row, **judged})
        self._row = {}
        if due or self._save_due:
            self._save(judged.get(self._config.headline, judged.get("eval/return")))
        if due:
            self.ill = self._doctor.examine()

    def _evaluate(self) -> Metrics:
        began = time.perf_counter()
        chosen, watch, tape = self._config.evaluation, self._stop.check, Tape()
        agent, env = self._agent, self._eval_env
        metrics = evaluate(
            agent.policy, env, chosen.seed, gamma=agent.gamma, sampled=chosen.sampled, watch=watch, witness=tape
        ) | start_values(agent, env, chosen.seed)
        self._judged_at = self._agent.step
        judged = time.perf_counter()
        metrics |= self._watcher.measure(tape)
        spent = {"time/evaluate": judged - began, "time/instruments": time.perf_counter() - judged}
        return {**metrics, **spent, **self._agent.steps_taken()}

    def _log(self, metrics: Metrics) -> None:
        self._record.log(self._agent.step, metrics)
        self._news.update({k: metrics[k] for k in BRIEF if k in metrics})
        self._beat()
        self._show(self._agent.step, self._agent.total, metrics)

    def _beat(self) -> None:
        self._record.beat(self._agent.step, self._agent.total, **self._news)

    @property
    def _updates(self) -> int:
        return int(self._agent.steps_taken().get("steps/updates", 0))

    @property
    def _save_due(self) -> bool:
        wait = max(self._config.checkpoints.seconds, self._saving / MOST_SAVING)
        return time.monotonic() - self._saved_at > wait

    def _save(self, headline: float | None = None) -> None:
        began = time.monotonic()
        state = {**self._agent.state_dict(), "judged_at": self._judged_at, "reached": self._reached}
        state["row"] = self._row
        state["watcher"] = self._watcher.state_dict()
        data = checkpoint.pack(self._config.family, self._config.tree(), state)
        keep_every = self._config.checkpoints.every or None
        self._record.checkpoint(self._agent.step, data, metric=headline, keep_every=keep_every, updates=self._updates)
        self._saved_at = time.monotonic()
        self._saving = self._saved_at - began
