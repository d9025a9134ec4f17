"""The loop of agents that learn from replay: step the worlds, owe updates for it, pay them.

One unit of work at a time, an update while one is owed, else one step of every world. `iterate` does as many as fit
into a short slice of time, so that a request to stop is heard soon; what is done never depends on how long it took.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from bellmark.agents.api import Batch, Collect, Evaluation, Learner, Metrics, Policy, Watch, nobody
from bellmark.envs.api import BatchedEnv
from bellmark.replay import Replay
from bellmark.train.journal import Journal
from bellmark.train.worlds import DRAWING, Append, Players, RandomPolicy, Worlds, blank_row, spec_of, stream

MakePlayers = Callable[[BatchedEnv, int, Policy, Append], Players]
SLICE = 2.0  # seconds of work between looks at whether somebody asked to stop
OWN = ("obs", "action", "reward", "terminated", "first")  # the columns that are not a learner's extras


class OnlineConfig(Protocol):
    """The part of a family's configuration that this loop reads."""

    @property
    def seed(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def collect(self) -> Collect: ...
    @property
    def evaluation(self) -> Evaluation: ...


class Online:
    """A learner with its worlds and its replay: an `Agent` for the run loop."""

    def __init__(
        self,
        config: OnlineConfig,
        learner: Learner,
        env: BatchedEnv,
        folder: Path,
        device: str,
        players: MakePlayers = Worlds,
    ) -> None:
        """`folder` is where the replay's journal is kept; `players` step the worlds."""
        self.config, self.learner = config, learner
        self.total = config.steps
        self.step = self.updates = 0
        self._window, self._schedule = learner.window, learner.schedule
        self._owed = 0.0
        self._logged = 0  # rows of the record so far
        self._tally = Tally()
        self._generator = stream(config.seed, DRAWING)
        spec, collect = spec_of(env), config.collect
        self.replay = Replay(
            min(collect.capacity, 2 * (config.steps + env.num_envs)),  # an episode of one step is two rows
            env.num_envs,
            blank_row(spec, learner.blank),
            insert_every=collect.insert_every,
            device=device,
        )
        self._journal = Journal(folder)
        start = RandomPolicy(spec) if self._schedule.random_steps else learner.policy
        self._worlds: Players = players(env, config.seed, start, self.replay.append)
        self._pace = Pace(self._window.batch * (self._window.length - self._window.lead_in))

    @property
    def policy(self) -> Policy:
        """The learner's policy."""
        return self.learner.policy

    @property
    def gamma(self) -> float:
        """The learner's discount."""
        return self.learner.gamma

    def start_values(self, obs: Tensor) -> Tensor:
        """The learner's values of start states."""
        return self.learner.start_values(obs)

    def prepare(self, watch: Watch = nobody) -> Metrics:
        """Nothing: these agents learn from their own steps alone."""
        return {}

    def iterate(self) -> Metrics:
        """Work for a short while; returns a row of metrics where one is due or a loss is no number, else nothing."""
        until = time.monotonic() + SLICE
        while True:
            if self._owed < 1 or not self._update():
                rows = self.step // self.config.collect.log_every
                if rows > self._logged or self.step >= self.total:
                    self._logged = rows
                    return self._row()
                self._step()
            if time.monotonic() > until:
                return self._row() if self._tally.diverged else {}

    def steps_taken(self) -> Metrics:
        """Agent steps, simulator steps and updates so far."""
        simulator = self.step * self._worlds.spec.action_repeat
        counts = {"steps/real": self.step, "steps/simulator": simulator, "steps/updates": self.updates}
        return {name: float(count) for name, count in counts.items()}

    def state_dict(self) -> dict[str, Any]:
        """All that decides the future of this run; replay's changed rows are written to the journal and named here."""
        return {
            "learner": self.learner.state_dict(),
            "worlds": self._worlds.state_dict(),
            "replay": self._journal.save(self.replay),
            "generator": self._generator.get_state(),
            "tally": self._tally.state_dict(),
            "step": self.step,
            "updates": self.updates,
            "owed": self._owed,
            "logged": self._logged,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue a saved run of the same configuration, bit for bit."""
        self.step, self.updates = state["step"], state["updates"]
        self._owed, self._logged = state["owed"], state["logged"]
        self.learner.load_state_dict(state["learner"])
        if self.step >= self._schedule.random_steps:
            self._worlds.hand_over(self.learner.policy)
        self._worlds.load_state_dict(state["worlds"])
        self._journal.load(self.replay, state["replay"])
        self._generator.set_state(state["generator"])
        self._tally.load_state_dict(state["tally"])
        self._pace.mark(self.step, self.updates)

    def _step(self) -> None:
        """One step of every world, and the updates it makes due."""
        with self._tally.timed("collect"):
            self._worlds.step()
        random, pretrain, per_step = self._schedule
        former, self.step = self.step, self.step + self.config.collect.envs
        if self.step < random:
            return
        self._owed += per_step * (self.step - max(former, random))
        if former < random:
            self._owed += pretrain
            self._worlds.hand_over(self.learner.policy)

    def _update(self) -> bool:
        """One update; False while replay holds too little to learn from."""
        with self._tally.timed("update"):
            batch = self._draw()
            if batch is None:
                return False
            metrics, writeback = self.learner.update(batch, self.step)
            if writeback is not None:
                self.replay.write(writeback.rows, writeback.values)
        self._tally.add(metrics)
        self._owed -= 1
        self.updates += 1
        self._worlds.learned(self.updates)
        return True

    def _draw(self) -> Batch | None:
        """The slices that the learner's window asks for; None while there are none."""
        window, replay = self._window, self.replay
        parts = [
            replay.draw(
                window.batch - window.hot, window.length, self._generator, whole=window.whole, fresh=window.fresh
            ),
            replay.draw(window.hot, window.length, self._generator, whole=window.whole, newest=window.hot_rows),
        ]
        drawn = [part for part in parts if part is not None]
        if len(drawn) < len(parts):
            return None
        rows = torch.cat(drawn, dim=1)
        columns = replay.read(rows)
        own = {name: columns.pop(name) for name in OWN}
        return Batch(**own, extras=columns, rows=rows)

    def _row(self) -> Metrics:
        return {
            **self._tally.take(),
            **self._worlds.news(),
            **self.steps_taken(),
            **self._pace.take(self.step, self.updates),
            "replay/rows": float(len(self.replay)),
        }


class Pace:
    """How fast a run goes, and how often each row is replayed."""

    def __init__(self, rows: int) -> None:
        """`rows` are replayed by one update."""
        self._rows = rows
        self.mark(0, 0)

    def mark(self, step: int, updates: int) -> None:
        """Measure from now on."""
        self._since, self._step, self._updates = time.perf_counter(), step, updates

    def take(self, step: int, updates: int) -> Metrics:
        """Rates since the last call; the replay ratio of the whole run."""
        seconds = max(time.perf_counter() - self._since, 1e-9)
        per_second = (updates - self._updates) / seconds
        rates = {
            "throughput/steps": (step - self._step) / seconds,
            "throughput/updates": per_second,
            "throughput/transitions": per_second * self._rows,
        }
        self.mark(step, updates)
        return {**rates, "replay/ratio": updates * self._rows / max(1, step)}


class Tally:
    """Sums of metrics and of time since the last row of the record; values stay on the device until then."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._seconds: dict[str, float] = {}

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Count one update's metrics."""
        for name, value in metrics.items():
            former = self._sums.get(name)
            self._sums[name] = value.detach().double() if former is None else former + value.detach()
            self._counts[name] = self._counts.get(name, 0) + 1

    @property
    def diverged(self) -> bool:
        """Whether a loss has been no number since the last row."""
        losses = [total for name, total in self._sums.items() if name.startswith("loss/")]
        return bool(losses) and not torch.stack(losses).isfinite().all()

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Count the time inside as that of a phase."""
        began = time.perf_counter()
        yield
        self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - began

    def take(self) -> Metrics:
        """Means and seconds since the last call."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        seconds = {f"time/{phase}": spent for phase, spent in self._seconds.items()}
        for counted in (self._sums, self._counts, self._seconds):
            counted.clear()
        return {**means, **seconds}

    def state_dict(self) -> dict[str, Any]:
        """What has been counted since the last row."""
        return {"sums": dict(self._sums), "counts": dict(self._counts), "seconds": dict(self._seconds)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
        self._seconds = dict(state["seconds"])
