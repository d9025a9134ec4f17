"""Worlds in processes of their own, which play a copy of the policy while the learner updates.

Every process writes its worlds' steps into a ring in shared memory, and waits when it is `ahead` steps before the
learner. The learner takes one step of every world at a time, in order, and owes updates for what it has *taken*: the
replay ratio is kept exactly, and what has been collected exceeds what was asked for by at most one ring.

Not kept across a stop: running episodes (worlds begin new ones, and the interrupted rows stay, without an end) and the
steps in the rings. What is played depends on when weights arrive, so a run is not repeatable bit for bit.

A process that must not outlive its parent: it looks for it whenever it waits, and it must wait within one ring.

Axes: R places in a ring, n worlds of a process.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing import get_context

from bellmark.agents.api import Learner, Metrics, Policy, Portable, Processes, Spec
from bellmark.envs.api import BatchedEnv
from bellmark.errors import UserError
from bellmark.train.worlds import COLLECTING, Append, Finished, RandomPolicy, Worlds, blank_row, spec_of, summary

WAIT = 0.2  # seconds between looks at whether the other side still lives
LEAVE = 5.0  # seconds a process has to leave before it is killed
QUIET = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # sent to a whole group; the learner tells its collectors
EXIT_PRIORITY = 100  # above 0: before multiprocessing joins its children

Build = Callable[[int], tuple[BatchedEnv, Learner]]  # n worlds and a learner, in whatever process
Context = get_context("spawn")


class Ring:
    """R steps of n worlds in shared memory: every step's rows, and the final rows of episodes that it ended."""

    def __init__(self, places: int, worlds: int, blank: Mapping[str, Tensor]) -> None:
        def shared(like: Tensor) -> Tensor:
            return like.expand(places, worlds, *like.shape).clone().share_memory_()

        self.places = places
        self.rows = {name: shared(value) for name, value in blank.items()}
        self.final = {name: shared(blank[name]) for name in ("obs", "reward", "terminated")}
        self.ended = shared(torch.zeros((), dtype=torch.bool))
        self.episodes = shared(torch.zeros(3, dtype=torch.float64))  # return, length, success where `ended`
        self.free, self.filled = Context.Semaphore(places), Context.Semaphore(0)
        self.count = torch.zeros(1, dtype=torch.int64).share_memory_()  # steps ever written

    def place(self, step: int) -> int:
        """Where a step is kept."""
        return step % self.places


class Weights:
    """A policy's parameters and buffers as one vector in shared memory, with a version."""

    def __init__(self, module: nn.Module) -> None:
        self.vector = _vector(module).share_memory_()
        self.lock = Context.Lock()
        self.version = torch.zeros(1, dtype=torch.int64).share_memory_()

    def push(self, module: nn.Module) -> None:
        """Hand over the weights as they are now."""
        vector = _vector(module)
        with self.lock:
            self.vector.copy_(vector)
            self.version += 1

    @torch.no_grad()
    def pull(self, module: nn.Module) -> int:
        """Put the newest weights into `module`; returns their version."""
        with self.lock:
            vector, version = self.vector.clone(), int(self.version)
        tensors = list(module.state_dict().values())
        for tensor, part in zip(tensors, vector.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))
        return version


@dataclass
class Wires:
    """What all collectors share with the learner."""

    weights: Weights
    playing: Any  # event: the learned policy plays, the random phase is over
    stopping: Any  # event


class Collectors:
    """The worlds of a run in processes of their own: `Players` for the online loop."""

    def __init__(
        self,
        where: Processes,
        learner: Learner,
        build: Build,
        env: BatchedEnv,
        seed: int,
        policy: Policy,
        append: Append,
    ) -> None:
        """`env` says what the worlds look like and how many there are; they are made by `build`, elsewhere.

        Raises:
            UserError: worlds that cannot be shared evenly, or a learner that cannot be copied.
        """
        self.spec: Spec = spec_of(env)
        self._succeeds = env.succeeds
        self._where, self._build, self._seed, self._append = where, build, seed, append
        self._worlds = share(env.num_envs, where)
        if not isinstance(learner, Portable):
            raise UserError("collect.where=processes: this family's policy cannot play in other processes; use inline")
        self._module = learner.acting
        self._blank = blank_row(self.spec, {k: v.cpu() for k, v in learner.blank.items()})
        self._random = -(-learner.schedule.random_steps // env.num_envs) if isinstance(policy, RandomPolicy) else 0
        self._wires = Wires(Weights(self._module), Context.Event(), Context.Event())
        self._steps = 0  # taken of every world, over all attempts
        self._taken = 0  # of these, in this attempt
        self._finished: list[Finished] = []
        self._rings: list[Ring] = []
        self._lanes: list[Tensor] = []
        self._processes: list[Any] = []
        self._errors: list[Connection] = []
        if not self._random:
            self.hand_over(policy)

    def hand_over(self, policy: Policy) -> None:
        """Let the learner's policy play from now on."""
        self._wires.weights.push(self._module)
        self._wires.playing.set()

    def learned(self, updates: int) -> None:
        """Hand over the weights where that is due."""
        if updates % self._where.push_every == 0:
            self._wires.weights.push(self._module)

    def step(self) -> None:
        """Take one step of every world, waiting for those that have none.

        Raises:
            UserError: what a collector could not do for the user's reasons.
            RuntimeError: a collector has crashed; its traceback is in the message.
        """
        if not self._processes:
            self._start()
        for number, (ring, lanes) in enumerate(zip(self._rings, self._lanes, strict=True)):
            while not ring.filled.acquire(timeout=WAIT):
                self._check(number)
            place = ring.place(self._taken)
            self._append(lanes, _at(ring.rows, place), torch.zeros(len(lanes), dtype=torch.bool))
            ended = ring.ended[place]
            if ended.any():
                final = {name: column[ended] for name, column in _at(ring.final, place).items()}
                first = torch.zeros(int(ended.sum()), dtype=torch.bool)
                self._append(lanes[ended], {**final, "first": first}, ~first)
                self._finished += [(float(a), float(b), float(c)) for a, b, c in ring.episodes[place][ended]]
            ring.free.release()
        self._taken += 1
        self._steps += 1

    def news(self) -> Metrics:
        """Means over the episodes that ended since the last call, and how many steps wait in the rings."""
        finished, self._finished = self._finished, []
        waiting = sum(
            (int(r.count) - self._taken) * len(lanes) for r, lanes in zip(self._rings, self._lanes, strict=True)
        )
        return {**summary(finished, self._succeeds), "replay/waiting": float(waiting)}

    def state_dict(self) -> dict[str, Any]:
        """How many steps were taken; worlds and rings are not kept."""
        return {"steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with new episodes."""
        self._steps = state["steps"]

    def close(self) -> None:
        """Let all processes leave, as they do too when this object goes and when the learner's process ends."""
        if self._processes:
            self._farewell()

    def _start(self) -> None:
        """Start the processes, at the first step: whatever was loaded before, they begin with."""
        self._wires.weights.push(self._module)
        begin = 0
        for number, worlds in enumerate(self._worlds):
            ring = Ring(self._where.ahead, worlds, self._blank)
            here, there = Context.Pipe(duplex=False)
            seed = int(np.random.SeedSequence((self._seed, COLLECTING, number, self._steps)).generate_state(1)[0])
            job = Job(self._build, worlds, seed, max(0, self._random - self._steps), self._where.swap)
            process = Context.Process(target=work, args=(job, ring, self._wires, there), daemon=True)
            process.start()
            there.close()
            self._lanes.append(torch.arange(begin, begin + worlds))
            self._rings.append(ring)
            self._processes.append(process)
            self._errors.append(here)
            begin += worlds
        self._taken = 0
        self._farewell = Finalize(
            self, farewell, args=(self._processes, self._wires.stopping), exitpriority=EXIT_PRIORITY
        )

    def _check(self, number: int) -> None:
        """Raise what a collector says of its end, or that it has ended without a word."""
        process = self._processes[number]
        if not self._errors[number].poll() and process.is_alive():
            return
        try:
            whose, text = self._errors[number].recv()
        except EOFError:
            process.join()
            raise RuntimeError(f"collector {number} ended with exit code {process.exitcode}") from None
        raise UserError(text) if whose == "user" else RuntimeError(f"collector {number} crashed:\n{text}")


@dataclass(frozen=True)
class Job:
    """What one collector is to do."""

    build: Build
    worlds: int
    seed: int
    random: int  # steps of random actions, after which it waits for the learner's policy
    swap: str  # "episode" | "step": when newer weights are taken up


def share(worlds: int, where: Processes) -> list[int]:
    """How many worlds each process steps.

    Raises:
        UserError: they cannot be shared evenly, or the weights are to change between episodes that do not end together.
    """
    count = where.count or worlds
    if worlds % count:
        near = [n for n in range(1, worlds + 1) if worlds % n == 0]
        raise UserError(
            f"collect.where.count={count} processes cannot share collect.envs={worlds} evenly; "
            f"choose one of {', '.join(map(str, near))}"
        )
    if where.swap == "episode" and count != worlds:
        raise UserError(
            f"collect.where.swap=episode needs a process per world: set collect.where.count={worlds}, or "
            "collect.where.swap=step"
        )
    return [worlds // count] * count


def farewell(processes: list[Any], stopping: Any) -> None:
    """Ask processes to leave, wait a little, and kill what has not left."""
    stopping.set()
    until = time.monotonic() + LEAVE
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()


def work(job: Job, ring: Ring, wires: Wires, errors: Connection) -> None:
    """The life of a collector."""
    for number in QUIET:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        _collect(job, ring, wires)
    except UserError as error:
        errors.send(("user", str(error)))
    except Exception:
        errors.send(("bug", traceback.format_exc()))


def _collect(job: Job, ring: Ring, wires: Wires) -> None:
    """Step the worlds whenever the ring has a free place, until asked to stop or the parent is gone."""
    env, learner = job.build(job.worlds)
    assert isinstance(learner, Portable)
    start = RandomPolicy(spec_of(env)) if job.random else learner.policy
    writer = Writer(ring)
    version = wires.weights.pull(learner.acting)
    worlds = Worlds(env, job.seed, start, writer.append)
    for _ in _turns(ring, wires):
        if writer.step == job.random and job.random:
            if not _patient(lambda: bool(wires.playing.wait(WAIT)), wires):
                return
            worlds.hand_over(learner.policy)
        ready = job.swap == "step" or worlds.between_episodes
        if ready and int(wires.weights.version) != version:
            version = wires.weights.pull(learner.acting)
        worlds.step()
        writer.publish(worlds.take_finished())


def _turns(ring: Ring, wires: Wires) -> Iterator[None]:
    """One turn per free place of the ring."""
    while _patient(lambda: bool(ring.free.acquire(timeout=WAIT)), wires):
        yield


def _patient(come: Callable[[], bool], wires: Wires) -> bool:
    """Wait for what is to come; False when there is nobody left to wait for."""
    parent = parent_process()
    while not wires.stopping.is_set():
        if come():
            return True
        if parent is not None and not parent.is_alive():
            return False
    return False


class Writer:
    """The writing end of a ring: takes the rows of one step, then publishes them."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self.step = 0

    def append(self, lanes: Tensor, values: Mapping[str, Tensor], ended: Tensor) -> None:
        """As `Replay.append`: a step's rows of all worlds, then the final rows of the worlds that ended."""
        place = self._ring.place(self.step)
        final = bool(ended.any())
        columns = self._ring.final if final else self._ring.rows
        self._ring.ended[place] = False
        for name, column in columns.items():
            if name in values:  # random actions have no extras: those columns are still blank, as they were made
                column[place, lanes] = values[name].to(column)
        if final:
            self._ring.ended[place, lanes] = True

    def publish(self, finished: list[Finished]) -> None:
        """Let the learner have the step."""
        place = self._ring.place(self.step)
        ended = self._ring.ended[place]
        self._ring.episodes[place, ended] = torch.tensor(finished, dtype=torch.float64).reshape(-1, 3)
        self._ring.count += 1
        self._ring.filled.release()
        self.step += 1


def _at(columns: Mapping[str, Tensor], place: int) -> dict[str, Tensor]:
    return {name: column[place] for name, column in columns.items()}


def _vector(module: nn.Module) -> Tensor:
    """All parameters and buffers as one float32 vector on the host."""
    tensors = [t.detach().float().flatten() for t in module.state_dict().values()]
    return torch.cat(tensors).cpu()
