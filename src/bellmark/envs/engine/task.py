"""What tells one MuJoCo task from another: a model, an order of stepping, functions bound to one world's arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Phases(NamedTuple):
    """A control interval: `mj_step2` if it leads, `steps` times `mj_step`, `mj_step1` if it trails."""

    leads: bool
    steps: int
    trails: bool


Order = Callable[[mujoco.MjModel, int], Phases]  # model, physics steps per control interval


def stepped(model: mujoco.MjModel, substeps: int) -> Phases:
    """`mj_step` alone: derived arrays (poses, sensors) are those of the last substep's start."""
    return Phases(leads=False, steps=substeps, trails=False)


def refreshed(model: mujoco.MjModel, substeps: int) -> Phases:
    """dm_control's order: poses and velocities are those of the new state, forces those of the last substep.

    It begins with `mj_step2` because the interval before ended with `mj_step1`; RK4 cannot be split and pays `mj_step1`
    on top. Source: dm_control 1.0.50, `Physics._step_with_up_to_date_position_velocity`.
    """
    split = model.opt.integrator != mujoco.mjtIntegrator.mjINT_RK4
    return Phases(leads=split, steps=substeps - split, trails=True)


def once(phases: Phases, model: mujoco.MjModel, data: mujoco.MjData) -> Callable[[], None]:
    """One control interval of one world as a function."""
    leads, steps, trails = phases

    def interval() -> None:
        if leads:
            mujoco.mj_step2(model, data)
        if steps:
            mujoco.mj_step(model, data, steps)
        if trails:
            mujoco.mj_step1(model, data)

    return interval


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
