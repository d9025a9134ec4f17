"""Control intervals of many worlds: in C where a compiler is there, else from Python, with the same results.

Both work on shared buffers, row by row; a row is in one thread's hands at a time.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from bellmark.envs import failures
from bellmark.envs.engine.native import Native, Sweep, native
from bellmark.envs.engine.pool import Pool
from bellmark.envs.engine.task import Floats, Phases, once

STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
BROKEN = ("BADQPOS", "BADQVEL", "BADQACC")  # adjacent warnings, after which MuJoCo has thrown the state away
FIRST_BROKEN = int(mujoco.mjtWarning.mjWARN_BADQPOS)
GOING, NON_FINITE, ENDED = 0, len(BROKEN) + 1, len(BROKEN) + 2  # statuses; 1 + i is BROKEN[i]
NOBODY = -1  # no row
REASONS = {**{1 + i: reason for i, reason in enumerate(BROKEN)}, NON_FINITE: failures.NON_FINITE}


@dataclass
class Buffers:
    """What one agent step reads and writes: row k belongs to the k-th world that is stepped, `before` to a slot."""

    slots: NDArray[np.int64]  # (N,)
    controls: Floats  # (N, nu)
    status: NDArray[np.uint8]  # (N,)
    before: Floats  # (N, S): the integration state before the step, by slot

    @staticmethod
    def empty(model: mujoco.MjModel, count: int) -> Buffers:
        """For up to `count` worlds."""
        slots, status = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.uint8)
        return Buffers(slots, np.zeros((count, model.nu)), status, np.zeros((count, mujoco.mj_stateSize(model, STATE))))


Read = Callable[[int], bool]  # a row that has been stepped -> whether it goes on


class Stepper(Protocol):
    """Steps the worlds of rows 0..count-1."""

    def drive(self, count: int, read: Read) -> None:
        """Keep their states in `before`, hand them their controls, and step each as long as `read` wants.

        `read(k)` is called after every control interval of row k. Only rows of status 0 are stepped; it becomes 1 + i
        where warning BROKEN[i] was raised.
        """
        ...

    def close(self) -> None:
        """Stop the threads."""
        ...


def stepper(
    model: mujoco.MjModel, datas: Sequence[mujoco.MjData], phases: Phases, buffers: Buffers, repeat: int, pool: Pool
) -> Stepper:
    """The loop in C if it can be had here, else the one in Python; at most `repeat` intervals a turn."""
    compiled = native()
    if compiled:
        return InC(compiled, model, datas, phases, buffers, repeat, pool.threads)
    return InPython(model, datas, phases, buffers, pool)


@dataclass
class InPython:
    """One call of MuJoCo's bindings after the other, each world on one of the pool's threads."""

    model: mujoco.MjModel
    datas: Sequence[mujoco.MjData]
    phases: Phases
    buffers: Buffers
    pool: Pool
    _steps: list[Callable[[], None]] = field(init=False)
    _warned: list[NDArray[np.int32]] = field(init=False)

    def __post_init__(self) -> None:
        self._steps = [once(self.phases, self.model, data) for data in self.datas]
        self._warned = [d.warning.number[FIRST_BROKEN : FIRST_BROKEN + len(BROKEN)] for d in self.datas]

    def drive(self, count: int, read: Read) -> None:
        """See `Stepper`; `read` is called from the pool's threads."""
        self.pool.run(lambda k: self._drive(k, read), count)

    def close(self) -> None:
        """The pool is another's."""

    def _drive(self, k: int, read: Read) -> None:
        slot, status = int(self.buffers.slots[k]), self.buffers.status
        mujoco.mj_getState(self.model, self.datas[slot], self.buffers.before[slot], STATE)
        self.datas[slot].ctrl[:] = self.buffers.controls[k]
        more = True
        while more:
            if status[k] == GOING:
                self._steps[slot]()
                if self._warned[slot].any():
                    status[k] = 1 + int(self._warned[slot].argmax())
            more = read(k)


class InC:
    """The loop of `sweep.c`: its threads step worlds while this one reads those that are ready."""

    def __init__(
        self,
        compiled: Native,
        model: mujoco.MjModel,
        datas: Sequence[mujoco.MjData],
        phases: Phases,
        buffers: Buffers,
        repeat: int,
        threads: int,
    ) -> None:
        fields = {name: getattr(buffers, name).ctypes.data for name in ("before", "slots", "controls", "status")}
        pointers = {
            "datas": [d._address for d in datas],
            "ctrl": [d.ctrl.ctypes.data for d in datas],
            "warned": [d.warning.number.ctypes.data for d in datas],
        }
        arrays = {name: np.array(rows, dtype=np.uintp) for name, rows in pointers.items()}
        sweep = Sweep(
            model=model._address,
            **fields,
            **{name: array.ctypes.data for name, array in arrays.items()},
            **compiled.functions,
            state_size=buffers.before.shape[1],
            control_size=model.nu,
            spec=STATE,
            leads=phases.leads,
            steps=phases.steps,
            trails=phases.trails,
            first_bad=FIRST_BROKEN,
            bad_count=len(BROKEN),
        )
        self._loop = compiled.loop
        self._crew = self._loop.hire(ctypes.addressof(sweep), len(datas), len(datas) * repeat, threads - 1)
        if not self._crew:
            raise MemoryError(f"no memory to step {len(datas)} worlds")
        pointed_at = (model, list(datas), buffers, arrays, sweep)
        self.close = weakref.finalize(self, _dismiss, self._loop, self._crew, pointed_at)

    def drive(self, count: int, read: Read) -> None:
        """See `Stepper`; `read` is called from this thread alone."""
        crew, ready = self._crew, self._loop.next
        self._loop.start(crew, count)
        try:
            again = NOBODY
            while count:
                k = ready(crew, again)
                if read(k):
                    again = k
                else:
                    again = NOBODY
                    count -= 1
        finally:
            self._loop.rest(crew)


def _dismiss(loop: ctypes.CDLL, crew: int, pointed_at: tuple[object, ...]) -> None:
    """Stop the threads; only then may go what they point at."""
    loop.dismiss(crew)
