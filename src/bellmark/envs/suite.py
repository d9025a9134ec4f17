"""Every task by name: one function from text to a configuration, one from a configuration to worlds.

A task is written as people write it: `pick_cube`, `maniskill`, `dmc/dog-run`, `h1-walk` (or `humanoid_h1-walk-v0`),
`cartpole/pixels`, `probe/policy`, `gym/Pendulum-v1`, `my_module:MyEnv`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np

from bellmark.config import build
from bellmark.envs.cartpole import CartPole
from bellmark.envs.custom import Custom
from bellmark.envs.dmc import Dmc, task_ids
from bellmark.envs.dmc.catalogue import normal
from bellmark.envs.humanoid import H1
from bellmark.envs.humanoid import TaskName as H1Name
from bellmark.envs.maniskill import ManiSkill
from bellmark.envs.pick_cube import PickCube
from bellmark.envs.probe import Probe, ProbeName
from bellmark.errors import UserError, unknown

if TYPE_CHECKING:
    from bellmark.envs.api import BatchedEnv
    from bellmark.envs.failures import Failure


class Task(Protocol):
    """A configuration that can make its own worlds."""

    def make(self, num_envs: int, threads: int = 1) -> BatchedEnv:
        """n worlds stepped on at most `threads` threads."""
        ...


AnyTask = PickCube | ManiSkill | Dmc | H1 | CartPole | Probe | Custom
Build = Callable[[], AnyTask]
SUITES: Mapping[str, tuple[str, Mapping[str, Build]]] = {
    "pick_cube": (
        "PickCube: a seven-joint arm grasps a cube and holds it at a goal (MuJoCo)",
        {"pick_cube": PickCube, "pick_cube/dense": partial(PickCube, reward="dense")},
    ),
    "maniskill": (
        "ManiSkill's own PickCube-v1 (PhysX; pip install 'bellmark[maniskill]')",
        {"maniskill": ManiSkill, "maniskill/dense": partial(ManiSkill, reward="dense")},
    ),
    "dmc": (
        "DeepMind Control from states, equal to dm_control (MuJoCo)",
        {name: partial(Dmc, task=name) for name in task_ids()},
    ),
    "h1": (
        "HumanoidBench's H1 locomotion (MuJoCo; shapes by `bellmark assets humanoid`)",
        {f"h1-{name}": partial(H1, task=name) for name in get_args(H1Name)},
    ),
    "cartpole": (
        "CartPole-v1 in NumPy, from its state or from 64x64 pictures",
        {
            "cartpole": CartPole,
            "cartpole/continuous": partial(CartPole, action="continuous"),
            "cartpole/pixels": partial(CartPole, observation="pixels"),
        },
    ),
    "probe": (
        "tasks with known values and actions, for finding mistakes in learners",
        {f"probe/{name}": partial(Probe, name=name) for name in get_args(ProbeName)},
    ),
}
# Kinds that are one task in two simulators: what they observe and do means the same, so policies cross.
TWINS = frozenset({"pick_cube", "maniskill"})
TASKS: Mapping[str, Build] = {name: make for _, tasks in SUITES.values() for name, make in tasks.items()}


def parse_task(text: str) -> AnyTask:
    """The configuration that a task's name stands for.

    Raises:
        UserError: no task has this name; says the nearest ones.
    """
    name = text.strip()
    if ":" in name:
        return Custom(env=name)
    if name.startswith(("gym/", "custom/")):
        return Custom(env=name.partition("/")[2])
    humanoid = re.fullmatch(r"(?:humanoid_)?(h1-[a-z]+)(?:-v0)?", name)
    known = humanoid[1] if humanoid else name.lower()
    if known in TASKS:
        return TASKS[known]()
    if known.startswith("dmc/"):
        return build(Dmc, {"task": known})
    shorter = [task for task in TASKS if task.partition("/")[2] == normal(known)]
    if len(shorter) == 1:
        return TASKS[shorter[0]]()
    short = {task.partition("/")[2] or task: task for task in TASKS}
    raise unknown("task", known, {*TASKS, *short})


def make_env(task: Task, num_envs: int, threads: int = 1) -> BatchedEnv:
    """n worlds of a task, stepped on at most `threads` threads; what comes out does not depend on their number.

    Raises:
        UserError: fewer than one world or thread, or something that the task needs is missing.
    """
    if num_envs < 1 or threads < 1:
        raise UserError(f"at least one world and one thread are needed, got num_envs={num_envs} threads={threads}")
    return task.make(num_envs, threads)


def failed_again(config: Mapping[str, Any], failure: Failure) -> str:
    """Take the step of a written failure again, in one world of its task; the reason it fails for now, "" if not.

    Raises:
        UserError: the configuration is of no task that keeps failures, or something that it needs is missing.
    """
    kinds: dict[str, type[Dmc | H1 | PickCube]] = {"dmc": Dmc, "h1": H1, "pick_cube": PickCube}
    if config.get("kind") not in kinds:
        raise unknown("kind of task", str(config.get("kind")), kinds)
    env = make_env(build(kinds[config["kind"]], config), 1)
    simulation: Any = env.simulation
    try:
        simulation.load(np.zeros(1, dtype=np.int64), failure.saved)
        simulation.failures.config = None  # it has its file
        simulation.advance(np.zeros(1, dtype=np.int64), failure.action[None])
        return simulation.failures[0].reason if simulation.failures else ""
    finally:
        env.close()
