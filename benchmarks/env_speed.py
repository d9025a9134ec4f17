"""Agent steps per second of MuJoCo tasks: ours, dm_control, Gymnasium's vector modes, EnvPool, and physics.

    python benchmarks/env_speed.py [--task dog-run ...] [--rounds 5] [--seconds 0.3]

One agent step of DeepMind Control is two simulator steps under one action (action repeat 2), of the H1 one. All
contenders begin at the task's start states, get actions drawn alike, begin anew at every turn, and take turns in short
windows, so that a neighbour's load falls on all of them; the best window counts. "physics" is MuJoCo alone, stepped in
C on all cores without observations, rewards or actions to wait for: the limit. "elsewhere" is the share of the machine
that other processes had in a window; where that is much, compare the rates per second of processor time.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("MUJOCO_GL", "disabled")  # dm_control would look for a display

import click
import gymnasium
import mujoco
import numpy as np
import provenance
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from mujoco.rollout import Rollout
from numpy.typing import NDArray

from bellmark.envs.dmc.catalogue import DIRECT_IDS
from bellmark.envs.engine import MujocoSimulation
from bellmark.envs.suite import make_env, parse_task

PACKAGES = ("mujoco", "dm_control", "gymnasium", "numpy")
GOALS = {  # on two cores, and the physics limit beside which each was set (spec, section 8; h1's is extrapolated)
    "dog-run": (1_800, 2_100),
    "hopper-hop": (26_000, 37_900),
    "quadruped-walk": (10_500, 12_900),
    "humanoid-walk": (6_200, 7_400),
    "h1-walk": (6_000, 7_500),
    "h1-slide": (3_900, 5_800),
}
ENVPOOL = {
    "dog-run": "DogRun",
    "hopper-hop": "HopperHop",
    "quadruped-walk": "QuadrupedWalk",
    "humanoid-walk": "HumanoidWalk",
}
REPEAT = 2
WORLDS = 16
GYM_WORLDS = 4
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Turn = Callable[[int], int]  # run about that many agent steps from the start states; returns how many


class Window(NamedTuple):
    """One turn of one contender, or its best."""

    rate: float  # agent steps per second of wall clock
    per_core: float  # agent steps per second of processor time; 0 where worker processes spend it
    elsewhere: float  # share of the machine used by other processes

    def better(self, other: Window) -> Window:
        """The better of each rate; the neighbours' share is that of the better wall clock."""
        first = max(self, other)
        return Window(first.rate, max(self.per_core, other.per_core), first.elsewhere)


class DmControl(gymnasium.Env[NDArray[np.float64], NDArray[np.float64]]):
    """dm_control's API as a Gymnasium environment, as a user would wrap it."""

    def __init__(self, name: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from dm_control import suite
        domain, task = DIRECT_IDS[name]
        self.env: Any = suite.load(domain, task.replace("-", "_"), task_kwargs={"random": 0})
        spec = self.env.action_spec()
        self._low, self._scale = spec.minimum, (spec.maximum - spec.minimum) / 2
        size = len(flat(self.env.reset()))
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, spec.shape, np.float64)

    def reset(self, **_: Any) -> tuple[NDArray[np.float64], dict[str, Any]]:
        return flat(self.env.reset()), {}

    def step(self, action: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        control, reward = self._low + self._scale * (action + 1), 0.0
        for _ in range(REPEAT):
            moment = self.env.step(control)
            reward += moment.reward or 0.0  # None at the reset that follows an end
        return flat(moment), reward, False, bool(moment.last()), {}


def flat(moment: Any) -> NDArray[np.float64]:
    """The observation of a dm_env time step as one vector."""
    return np.concatenate([np.ravel(value) for value in moment.observation.values()])


def actions(count: int, size: int) -> NDArray[np.float64]:
    """Thirty-two batches of actions, repeated by whoever needs more."""
    return np.random.default_rng(0).uniform(-1, 1, (32, count, size))


@contextmanager
def ours(name: str, threads: int) -> Iterator[Turn]:
    """Our batch, observations and rewards handed out at every agent step."""
    env = make_env(parse_task(name), WORLDS, threads)
    env.reset(seed=0)
    start, path = env.snapshot(), actions(WORLDS, env.simulation.action_space.shape[0])  # type: ignore[index]

    def turn(steps: int) -> int:
        env.restore(start)
        batches = max(1, steps // WORLDS)
        for k in range(batches):
            env.step(path[k % len(path)])
        return batches * WORLDS

    yield turn
    env.close()


@contextmanager
def dm_control(name: str) -> Iterator[Turn]:
    """dm_control's own API, one environment."""
    env = DmControl(name)
    path = actions(1, env.action_space.shape[0])[:, 0]  # type: ignore[index]

    def turn(steps: int) -> int:
        env.reset()
        for k in range(steps):
            env.step(path[k % len(path)])
        return steps

    yield turn


@contextmanager
def gym_vector(name: str, kind: str) -> Iterator[Turn]:
    """Gymnasium's vector modes over dm_control's API: `sync` in one process, `async` in one process per world."""
    makers = [partial(DmControl, name) for _ in range(GYM_WORLDS)]
    env: Any = SyncVectorEnv(makers) if kind == "sync" else AsyncVectorEnv(makers, context="spawn")
    path = actions(GYM_WORLDS, env.single_action_space.shape[0])

    def turn(steps: int) -> int:
        env.reset()
        batches = max(1, steps // GYM_WORLDS)
        for k in range(batches):
            env.step(path[k % len(path)])
        return batches * GYM_WORLDS

    yield turn
    env.close()


@contextmanager
def env_pool(name: str) -> Iterator[Turn]:
    """EnvPool's own C++ environment; an agent step is two calls, since its frame_skip shortens the control interval."""
    envpool: Any = import_module("envpool")
    env = envpool.make(f"{ENVPOOL[name]}-v1", env_type="gymnasium", num_envs=WORLDS, num_threads=CORES, seed=0)
    path = actions(WORLDS, env.action_space.shape[0])

    def turn(steps: int) -> int:
        env.reset()
        batches = max(1, steps // WORLDS)
        for k in range(batches):
            for _ in range(REPEAT):
                env.step(path[k % len(path)])
        return batches * WORLDS

    yield turn


@contextmanager
def physics(name: str) -> Iterator[Turn]:
    """`mujoco.rollout` on all cores, the whole turn in one call: nothing but physics."""
    env = make_env(parse_task(name), WORLDS)
    env.reset(seed=0)
    simulation = env.simulation
    assert isinstance(simulation, MujocoSimulation)
    model, task = simulation.model, simulation.task
    interval = task.substeps * simulation.action_repeat
    start = np.empty((WORLDS, mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)))
    for row, data in zip(start, simulation.datas, strict=True):
        mujoco.mj_getState(model, data, row, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    path = actions(WORLDS, model.nu)
    pool, datas = Rollout(nthread=CORES), [mujoco.MjData(model) for _ in range(CORES)]

    def turn(steps: int) -> int:
        batches = max(1, steps // WORLDS)
        held = np.stack([task.control(path[k % len(path)]) for k in range(batches)], axis=1)
        pool.rollout(model, datas, start, np.repeat(held, interval, axis=1))
        return batches * WORLDS

    yield turn
    pool.close()
    env.close()


def contenders(name: str) -> dict[str, Callable[[], Any]]:
    """What can run here, by label."""
    found: dict[str, Callable[[], Any]] = {
        "ours": partial(ours, name, CORES),
        "ours, one thread": partial(ours, name, 1),
    }
    if name in DIRECT_IDS:
        found["dm_control"] = partial(dm_control, name)
        found["gymnasium sync"] = partial(gym_vector, name, "sync")
        found["gymnasium async"] = partial(gym_vector, name, "async")
    if f"{ENVPOOL.get(name)}-v1" in pooled():
        found["envpool"] = partial(env_pool, name)
    return found | {"physics": partial(physics, name)}


def pooled() -> list[str]:
    """What the installed EnvPool has: its wheels differ in the tasks they bring."""
    return import_module("envpool").list_all_envs() if find_spec("envpool") else []


def window(turn: Turn, steps: int, in_process: bool = True) -> Window:
    """One turn, timed."""
    busy, cpu, wall = busy_seconds(), time.process_time(), time.perf_counter()
    done = turn(steps)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    elsewhere = max(0.0, (busy_seconds() - busy - cpu) / wall / (os.cpu_count() or 1))
    return Window(done / wall, done / cpu, elsewhere) if in_process else Window(done / wall, 0.0, 0.0)


def busy_seconds() -> float:
    """Processor seconds that the whole machine has spent, by all processes (0 where the system does not say)."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    ticks = [int(x) for x in stat.read_text().split("\n", 1)[0].split()[1:]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def measure(name: str, rounds: int, seconds: float) -> dict[str, Window]:
    """The best window of each contender."""
    best: dict[str, Window] = {}
    with ExitStack() as stack:
        turns = {label: stack.enter_context(make()) for label, make in contenders(name).items()}
        sizes = {label: max(32, int(window(turn, 32).rate * seconds)) for label, turn in turns.items()}
        for _ in range(rounds):
            for label, turn in turns.items():
                now = window(turn, sizes[label], in_process=label != "gymnasium async")
                best[label] = now.better(best.get(label, now))
    return best


def shares(found: dict[str, Window]) -> str:
    """Ours as a share of the physics limit and as a multiple of dm_control's API."""
    ours, limit = found["ours"], found["physics"]
    parts = [
        f"{ours.rate / limit.rate:.0%} of the physics limit ({ours.per_core / limit.per_core:.0%} per core-second)"
    ]
    if "dm_control" in found:
        parts.append(f"{ours.rate / found['dm_control'].rate:.1f} x dm_control on one core")
    return ", ".join(parts)


@click.command()
@click.option("--task", "tasks", multiple=True, default=tuple(GOALS), help="Task to measure; may be repeated.")
@click.option("--rounds", default=5, help="Turns of each contender; the best counts.")
@click.option("--seconds", default=0.3, help="Length of a turn.")
def main(tasks: tuple[str, ...], rounds: int, seconds: float) -> None:
    """Measure, print the table, write the result file."""
    results: dict[str, dict[str, Window]] = {}
    for name in tasks:
        results[name] = measure(name, rounds, seconds)
        goal = "; goal {:,} of {:,} on two cores".format(*GOALS[name]) if name in GOALS else ""
        print(f"{name}: agent steps/s{goal} ({results[name]['ours'].elsewhere:.0%} of the machine busy elsewhere)")
        print(f"  {shares(results[name])}")
        for label, best in results[name].items():
            per_core = f"{best.per_core:>10,.0f} per core-second" if best.per_core else ""
            print(f"  {label:<18}{best.rate:>10,.0f} {per_core}")
    tables = {name: {label: w._asdict() for label, w in found.items()} for name, found in results.items()}
    packages = {package: version(package) for package in PACKAGES}
    print(provenance.save("env_speed", {"worlds": WORLDS, "packages": packages, "tasks": tables}))


if __name__ == "__main__":
    main()
