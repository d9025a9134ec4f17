"""The installed dm_control's models, and the look-ups that a task makes once, without importing dm_control's Python.

Reading the MJCF directly saves two seconds and dm_control's search for a display; the compiled models are the same
(a test compares every array).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np

from bellmark.envs.engine import Floats

INTERVALS = 1000  # control intervals of an episode: every task's time limit divided by its control timestep
XX, XZ, ZX, ZZ = 0, 2, 6, 8  # places of those entries in a row of `data.xmat`


def read(domain: str) -> mujoco.MjSpec:
    """The editable model of a domain, from the installed package."""
    package = find_spec("dm_control")
    assert package is not None
    assert package.submodule_search_locations is not None
    return mujoco.MjSpec.from_file(str(Path(package.submodule_search_locations[0]) / "suite" / f"{domain}.xml"))


def row(model: mujoco.MjModel, body: str) -> int:
    """A body's row in `data.xpos`, `data.xmat` and the like."""
    return int(model.body(body).id)


def sensors(model: mujoco.MjModel, *names: str) -> list[slice]:
    """Where the named sensors lie in `data.sensordata`, in the order named, neighbours merged."""
    found: list[slice] = []
    for name in names:
        start, size = int(model.sensor(name).adr[0]), int(model.sensor(name).dim[0])
        if found and found[-1].stop == start:
            found[-1] = slice(found[-1].start, start + size)
        else:
            found.append(slice(start, start + size))
    return found


def sensor(model: mujoco.MjModel, name: str) -> int:
    """The first number of a sensor in `data.sensordata`."""
    return int(model.sensor(name).adr[0])


def scaled(model: mujoco.MjModel) -> Callable[[Floats], Floats]:
    """Actions in [-1, 1] onto the actuators' ranges, as dm_control's `action_scale` wrapper does."""
    low, high = model.actuator_ctrlrange.T.copy()
    scale = (high - low) / 2
    return lambda actions: low + scale * (actions + 1)


def joint_draw(model: mujoco.MjModel, data: mujoco.MjData) -> Callable[[np.random.Generator], None]:
    """A draw of every limited joint within its limits and every other hinge over the circle; slides are left alone.

    A free joint gets a quaternion of four uniforms, normalised: not uniform on the sphere, and kept because benchmarks
    rest on it. Draws are made in the order of dm_control's `randomize_limited_and_rotational_joints`, free joint first.
    """
    kind, limited = model.jnt_type, model.jnt_limited.astype(bool)
    free = np.flatnonzero(kind == mujoco.mjtJoint.mjJNT_FREE)
    hinge = kind == mujoco.mjtJoint.mjJNT_HINGE
    chosen = np.flatnonzero(limited | hinge)
    low, high = np.where(limited[:, None], model.jnt_range, [-np.pi, np.pi])[chosen].T.copy()
    address, qpos = model.jnt_qposadr[chosen].copy(), data.qpos
    roots = [qpos[a + 3 : a + 7] for a in model.jnt_qposadr[free].tolist()]

    def draw(rng: np.random.Generator) -> None:
        for root in roots:
            quaternion = rng.random(4)
            root[:] = quaternion / np.linalg.norm(quaternion)
        qpos[address] = rng.uniform(low, high)

    return draw


def collides(model: mujoco.MjModel, data: mujoco.MjData) -> bool:
    """Whether the present configuration has contacts; cheaper than a forward, and leaves the state alone."""
    mujoco.mj_kinematics(model, data)
    mujoco.mj_collision(model, data)
    return bool(data.ncon)
