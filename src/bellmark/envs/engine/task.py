"""What tells one MuJoCo task from another: a model, an order of stepping, functions bound to one world's arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Order = Callable[[mujoco.MjModel, mujoco.MjData, int], Callable[[], None]]


def stepped(model: mujoco.MjModel, data: mujoco.MjData, substeps: int) -> Callable[[], None]:
    """`mj_step` alone: derived arrays (poses, sensors) are those of the last substep's start."""
    step = mujoco.mj_step
    return lambda: step(model, data, substeps)


def refreshed(model: mujoco.MjModel, data: mujoco.MjData, substeps: int) -> Callable[[], None]:
    """dm_control's order: poses and velocities are those of the new state, forces those of the last substep.

    It begins with `mj_step2` because the interval before ended with `mj_step1`; RK4 cannot be split and pays `mj_step1`
    on top. Source: dm_control 1.0.50, `Physics._step_with_up_to_date_position_velocity`.
    """
    step, first, second = mujoco.mj_step, mujoco.mj_step1, mujoco.mj_step2
    more = substeps - 1

    def whole() -> None:
        step(model, data, substeps)
        first(model, data)

    def one() -> None:
        second(model, data)
        first(model, data)

    def many() -> None:
        second(model, data)
        step(model, data, more)
        first(model, data)

    if model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4:
        return whole
    return many if more else one


def never() -> bool:
    """The termination of a task that has none."""
    return False


def unchanged(actions: Floats) -> Floats:
    """Actions that are actuator controls already."""
    return actions


def undressed(model: mujoco.MjModel, memory: Floats) -> None:
    """A task without memory has nothing to show of it."""


@dataclass(frozen=True, slots=True)
class World:
    """A task bound to one `MjData`: closures over its arrays, since they run at every step.

    `begin(rng)` draws a start state; the data has been reset to the model's default and forwarded, and the engine
    forwards it again afterwards. `observe(row)` writes the observation into a row of floats. `reward()` is that of the
    control interval just ended, and `terminated()`, read after it, whether the task has ended.
    """

    begin: Callable[[np.random.Generator], None]
    observe: Callable[[Floats], None]
    reward: Callable[[], float]
    terminated: Callable[[], bool] = never


@dataclass(frozen=True)
class MujocoTask:
    """One task for the engine, which works on its own copy of `model`."""

    model: mujoco.MjModel
    bind: Callable[[mujoco.MjModel, mujoco.MjData, Floats], World]  # (model, data, the world's row of memory)
    observation_size: int
    substeps: int  # physics steps per control interval
    intervals: int  # control intervals until truncation
    order: Order = refreshed
    control: Callable[[Floats], Floats] = unchanged  # actions (K, A) in [-1, 1] -> actuator controls (K, nu)
    memory: int = 0  # floats of task state per world beside MuJoCo's, saved and loaded with it
    reset_passive: bool = True  # start states are forwarded with the actuators off, as dm_control does
    show: Callable[[mujoco.MjModel, Floats], None] = undressed  # writes a world's memory into the model, for pictures
    camera: int | str = 0
    dtype: type[np.floating[Any]] = np.float64  # of the observations handed out
