"""The names of DeepMind Control's tasks, and which way each is simulated; importable without MuJoCo."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bellmark.errors import UserError, unknown

if TYPE_CHECKING:
    from bellmark.envs.engine import MujocoTask

DIRECT = {  # module of this package -> its tasks, by direct arrays on the engine
    "acrobot": ("swingup", "swingup-sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": ("balance", "balance-sparse", "swingup", "swingup-sparse"),
    "cheetah": ("run",),
    "dog": ("stand", "walk", "trot", "run"),
    "finger": ("spin", "turn-easy", "turn-hard"),
    "fish": ("swim",),
    "hopper": ("stand", "hop"),
    "humanoid": ("stand", "walk", "run"),
    "pendulum": ("swingup",),
    "quadruped": ("walk", "run"),
    "reacher": ("easy", "hard"),
    "walker": ("stand", "walk", "run"),
}
# dm_control's domain -> its tasks that run through dm_control unchanged. quadruped's escape is missing: it cannot be
# reset without an OpenGL context, to which dm_control uploads the terrain it has drawn.
STOCK = {
    "cartpole": ("two_poles", "three_poles"),
    "dog": ("fetch",),
    "fish": ("upright",),
    "humanoid": ("run_pure_state",),
    "humanoid_CMU": ("stand", "walk", "run"),
    "lqr": ("lqr_2_1", "lqr_6_2"),
    "manipulator": ("bring_ball", "bring_peg", "insert_ball", "insert_peg"),
    "point_mass": ("easy", "hard"),
    "quadruped": ("fetch",),
    "stacker": ("stack_2", "stack_4"),
    "swimmer": ("swimmer6", "swimmer15"),
}
SHORT = {"ball-in-cup": "cup"}  # domains with a shorter customary name


def normal(name: str) -> str:
    """A task's id as users write it ("dmc/dog-run", "cup_catch", "ball_in_cup-catch") in the form used here."""
    bare = name.strip().lower().removeprefix("dmc/").replace("_", "-")
    for long, short in SHORT.items():
        bare = bare.replace(f"{long}-", f"{short}-") if bare.startswith(long) else bare
    return bare


def _ids(table: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, str]]:
    return {normal(f"{domain}-{task}"): (domain, task) for domain, tasks in table.items() for task in tasks}


DIRECT_IDS = _ids(DIRECT)
STOCK_IDS = _ids(STOCK)


def task_ids() -> list[str]:
    """Every task, "dmc/dog-run" style, in order."""
    return sorted(f"dmc/{name}" for name in DIRECT_IDS | STOCK_IDS)


def resolve(name: str) -> str:
    """The id of a task in its one form, without the suite's prefix.

    Raises:
        UserError: no such task; names the nearest ones.
    """
    bare = normal(name)
    if bare not in DIRECT_IDS | STOCK_IDS:
        raise unknown("task", name, [i.removeprefix("dmc/") for i in task_ids()])
    return bare


def check_installed() -> None:
    """Make sure that MuJoCo and dm_control (for its models) are there.

    Raises:
        UserError: one is missing; names the command that installs it.
    """
    missing = [package for package in ("mujoco", "dm_control") if find_spec(package) is None]
    if missing:
        raise UserError(f"DeepMind Control needs {' and '.join(missing)}; run: pip install 'bellmark[dmc]'")


@lru_cache(maxsize=4)
def direct_task(name: str) -> MujocoTask:
    """The engine's task of a resolved direct id; kept, because compiling the dog takes seconds."""
    domain, task = DIRECT_IDS[name]
    make: Callable[[str], MujocoTask] = import_module(f"bellmark.envs.dmc.{domain}").make
    return make(task)
