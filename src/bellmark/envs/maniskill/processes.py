"""Worlds of PickCube-v1 in several processes: SAPIEN holds Python's global lock while it steps, so threads do not help.

Each process has a share of the slots. What comes out does not depend on the number of processes, because no world's
physics sees its neighbours.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bellmark.envs.api import Indices, Streams, Transition
from bellmark.envs.maniskill.painter import Painter
from bellmark.envs.maniskill.simulation import PickCubeV1
from bellmark.errors import UserError

LEAVE = 5.0  # seconds a process has to leave before it is killed
EXIT_PRIORITY = 100  # above 0: before multiprocessing joins its children
QUIET = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # sent to a whole group; the owner ends its processes itself
Saved = dict[str, NDArray[Any]]


class Apart:
    """A `Simulation` whose worlds are dealt out to processes in equal runs of slots."""

    action_repeat = PickCubeV1.action_repeat
    exactness = PickCubeV1.exactness
    succeeds = PickCubeV1.succeeds

    def __init__(self, num_envs: int, processes: int, *, reward: str, horizon: int) -> None:
        self.num_envs, self.horizon = num_envs, horizon
        self.observation_space, self.action_space = PickCubeV1.observation_space, PickCubeV1.action_space
        self._bounds = np.linspace(0, num_envs, processes + 1).astype(np.int64)
        self._painter = Painter()
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._pipes: list[Connection] = []
        workers: list[ForkServerProcess] = []
        self._dismiss = Finalize(self, _dismiss, (self._pipes, workers), exitpriority=EXIT_PRIORITY)
        for count in np.diff(self._bounds).tolist():
            here, there = context.Pipe()
            worker = context.Process(target=_serve, args=(there, count, reward, horizon), daemon=True)
            worker.start()
            there.close()
            self._pipes.append(here)
            workers.append(worker)
        for pipe in self._pipes:
            _answer(pipe)

    def begin(self, indices: Indices, rngs: Streams) -> NDArray[np.float32]:
        """See `PickCubeV1.begin`."""
        return self._joined("begin", indices, lambda at: Streams(rngs.keys[at]))[0]

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        """See `PickCubeV1.advance`."""
        return Transition(*self._joined("advance", indices, lambda at: actions[at]))

    def save(self, indices: Indices) -> Saved:
        """See `PickCubeV1.save`."""
        return dict(zip(PickCubeV1.SAVED, self._joined("save", indices), strict=True))

    def load(self, indices: Indices, saved: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """See `PickCubeV1.load`."""
        return self._joined("load", indices, lambda at: {name: saved[name][at] for name in PickCubeV1.SAVED})[0]

    def render(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """See `PickCubeV1.render`; drawn in this process."""
        return self._painter.draw(self.save(np.array([index]))["reading"][0], height, width)

    def close(self) -> None:
        """Send the processes away."""
        self._dismiss()
        self._painter.close()

    def _joined(self, name: str, indices: Indices, part: Callable[[Indices], Any] | None = None) -> list[NDArray[Any]]:
        """What the owners of the indexed slots answer to a request, in the order of `indices`.

        `part(positions)` is the request's argument for the slots at these positions of `indices`.
        """
        owner = np.searchsorted(self._bounds, indices, side="right") - 1
        shares = {who: np.flatnonzero(owner == who) for who in np.unique(owner).tolist() or [0]}
        for who, at in shares.items():
            own = indices[at] - self._bounds[who]
            self._pipes[who].send((name, own, part(at)) if part else (name, own))
        answers = [_answer(self._pipes[who]) for who in shares]
        whole = [np.empty((len(indices), *field.shape[1:]), field.dtype) for field in answers[0]]
        for answer, at in zip(answers, shares.values(), strict=True):
            for field, values in zip(whole, answer, strict=True):
                field[at] = values
        return whole


def _answer(pipe: Connection) -> tuple[NDArray[Any], ...]:
    try:
        error, value = pipe.recv()
    except (EOFError, ConnectionResetError):
        raise RuntimeError("a process that steps ManiSkill worlds has died (out of memory?)") from None
    if error is not None:
        raise error(value)
    answer: tuple[NDArray[Any], ...] = value
    return answer


def _serve(pipe: Connection, count: int, reward: str, horizon: int) -> None:
    """A process's life: it builds its worlds, and answers one request after the other until the pipe closes."""
    for number in QUIET:
        signal.signal(number, signal.SIG_IGN)
    try:
        worlds = PickCubeV1(count, reward=reward, horizon=horizon)
    except UserError as refusal:
        pipe.send((UserError, str(refusal)))
        return
    pipe.send((None, ()))
    while True:
        try:
            name, *arguments = pipe.recv()
        except EOFError:
            worlds.close()
            return
        try:
            pipe.send((None, _arrays(getattr(worlds, name)(*arguments))))
        except ValueError as error:
            pipe.send((ValueError, str(error)))
        except Exception:
            pipe.send((RuntimeError, f"in a process that steps ManiSkill worlds:\n{traceback.format_exc()}"))


def _arrays(result: Any) -> tuple[NDArray[Any], ...]:
    """An array, a transition or saved arrays as a tuple."""
    if isinstance(result, dict):
        return tuple(result.values())
    return tuple(result) if isinstance(result, tuple) else (result,)


def _dismiss(pipes: list[Connection], workers: list[ForkServerProcess]) -> None:
    for pipe in pipes:
        pipe.close()
    for worker in workers:
        worker.join(LEAVE)
        if worker.is_alive():
            worker.kill()
            worker.join()
