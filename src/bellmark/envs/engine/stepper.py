"""Control intervals of many worlds: in C where a compiler is there, else from Python, with the same results.

Both work on shared buffers, by ranges of rows, so that threads with disjoint ranges never meet.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from bellmark.envs import failures
from bellmark.envs.engine.native import Native, Sweep, native
from bellmark.envs.engine.task import Floats, Phases, once

STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
BROKEN = ("BADQPOS", "BADQVEL", "BADQACC")  # adjacent warnings, after which MuJoCo has thrown the state away
FIRST_BROKEN = int(mujoco.mjtWarning.mjWARN_BADQPOS)
GOING, NON_FINITE, ENDED = 0, len(BROKEN) + 1, len(BROKEN) + 2  # statuses; 1 + i is BROKEN[i]
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


class Stepper(Protocol):
    """Steps the worlds of rows low..high-1."""

    def begin(self, low: int, high: int) -> None:
        """Keep their states in `before` and hand them their controls."""
        ...

    def interval(self, low: int, high: int) -> None:
        """One control interval of those whose status is 0; it becomes 1 + i where warning BROKEN[i] was raised."""
        ...


def stepper(model: mujoco.MjModel, datas: Sequence[mujoco.MjData], phases: Phases, buffers: Buffers) -> Stepper:
    """The loop in C if it can be had here, else the one in Python."""
    compiled = native()
    return InC(compiled, model, datas, phases, buffers) if compiled else InPython(model, datas, phases, buffers)


@dataclass
class InPython:
    """One call of MuJoCo's bindings after the other."""

    model: mujoco.MjModel
    datas: Sequence[mujoco.MjData]
    phases: Phases
    buffers: Buffers
    _steps: list[Callable[[], None]] = field(init=False)
    _warned: list[NDArray[np.int32]] = field(init=False)

    def __post_init__(self) -> None:
        self._steps = [once(self.phases, self.model, data) for data in self.datas]
        self._warned = [d.warning.number[FIRST_BROKEN : FIRST_BROKEN + len(BROKEN)] for d in self.datas]
        self._none = bytes(self._warned[0].nbytes)

    def begin(self, low: int, high: int) -> None:
        """See `Stepper`."""
        for slot, control in zip(self.buffers.slots[low:high].tolist(), self.buffers.controls[low:high], strict=True):
            mujoco.mj_getState(self.model, self.datas[slot], self.buffers.before[slot], STATE)
            self.datas[slot].ctrl[:] = control

    def interval(self, low: int, high: int) -> None:
        """See `Stepper`."""
        status = self.buffers.status
        for k, slot in enumerate(self.buffers.slots[low:high].tolist(), low):
            if status[k] == GOING:
                self._steps[slot]()
                warned = self._warned[slot]
                if warned.tobytes() != self._none:
                    status[k] = 1 + int(warned.argmax())


class InC:
    """The loop of `sweep.c`, called without Python's global lock."""

    def __init__(
        self,
        compiled: Native,
        model: mujoco.MjModel,
        datas: Sequence[mujoco.MjData],
        phases: Phases,
        buffers: Buffers,
    ) -> None:
        fields = {name: getattr(buffers, name).ctypes.data for name in ("before", "slots", "controls", "status")}
        pointers = {
            "datas": [d._address for d in datas],
            "ctrl": [d.ctrl.ctypes.data for d in datas],
            "warned": [d.warning.number.ctypes.data for d in datas],
        }
        arrays = {name: np.array(rows, dtype=np.uintp) for name, rows in pointers.items()}
        self._alive = (model, list(datas), buffers, arrays)  # what the addresses point into
        self._sweep = Sweep(
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
        self._at = ctypes.addressof(self._sweep)
        self._begin, self._interval = compiled.loop.begin, compiled.loop.interval

    def begin(self, low: int, high: int) -> None:
        """See `Stepper`."""
        self._begin(self._at, low, high)

    def interval(self, low: int, high: int) -> None:
        """See `Stepper`."""
        self._interval(self._at, low, high)
