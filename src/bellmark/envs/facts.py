"""What can be said of a task by making it: its spaces, its limits, what a restored world promises, its speed here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete

from bellmark.envs.api import BatchedEnv
from bellmark.envs.suite import make_env, parse_task
from bellmark.envs.video import Frame, write_video
from bellmark.errors import UserError

FILM_STEPS = 250  # agent steps of a film, unless the episode ends before
FPS = 20.0


@dataclass(frozen=True)
class Facts:
    """One task as a table shows it; `missing` says what must be installed first, and the rest is then empty."""

    task: str
    observation: str = ""
    action: str = ""
    horizon: int = 0  # agent steps until truncation
    repeat: int = 0  # simulator control intervals per agent step
    exactness: str = ""
    missing: str = ""

    def row(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Speed:
    """Agent steps per second under random actions, episodes beginning anew as they end: the best of a few windows."""

    task: str
    steps_per_second: float
    num_envs: int
    threads: int


def describe(name: str) -> Facts:
    """The facts of a task, from one world of it.

    Raises:
        UserError: no such task.
    """
    config = parse_task(name)
    try:
        env = make_env(config, 1)
    except UserError as error:
        return Facts(name, missing=str(error))
    except ModuleNotFoundError as error:
        return Facts(name, missing=f"the module {error.name} is not installed")
    try:
        return Facts(
            task=name,
            observation=_shape(env.single_observation_space),
            action=_shape(env.single_action_space),
            horizon=env.horizon,
            repeat=env.simulation.action_repeat,
            exactness=str(env.exactness),
        )
    finally:
        env.close()


def measure(name: str, num_envs: int, threads: int, seconds: float = 1.0) -> Speed:
    """How fast a task is stepped here.

    Raises:
        UserError: no such task, or something that it needs is missing.
    """
    env = make_env(parse_task(name), num_envs, threads)
    try:
        env.reset(seed=0)
        actions = _actions(env)
        env.step(actions[0])
        marks = [(0, time.perf_counter())]
        while marks[-1][1] - marks[0][1] < seconds or len(marks) < 3:
            step, until = marks[-1][0], time.perf_counter() + seconds / 5
            while True:
                env.step(actions[step % len(actions)])
                step += 1
                now = time.perf_counter()
                if now >= until:
                    break
            marks.append((step, now))
    finally:
        env.close()
    rate = max((b - a) / (then - start) for (a, start), (b, then) in pairwise(marks))
    return Speed(name, rate * num_envs, num_envs, threads)


def film(name: str, path: Path, seed: int = 0) -> Path:
    """Film an episode's first steps under random actions; returns the file written.

    Raises:
        UserError: no such task, or something that it needs is missing, an OpenGL driver among it.
    """
    env = make_env(parse_task(name), 1)

    def frames() -> Iterator[Frame]:
        env.reset(seed=seed)
        actions = _actions(env)
        for step in range(min(FILM_STEPS, env.horizon)):
            yield env.frame()
            if env.advance(np.zeros(1, dtype=np.int64), actions[step % len(actions)]).terminated[0]:
                break
        yield env.frame()

    try:
        return write_video(frames(), path, FPS)
    finally:
        env.close()


def _actions(env: BatchedEnv) -> np.ndarray[Any, Any]:
    rng, space = np.random.default_rng(0), env.single_action_space
    if isinstance(space, Discrete):
        return rng.integers(0, space.n, (64, env.num_envs))
    assert space.shape is not None
    return rng.uniform(-1, 1, (64, env.num_envs, *space.shape)).astype(np.float32)


def _shape(space: Any) -> str:
    if isinstance(space, Discrete):
        return f"{space.n} choices"
    kind = "" if np.issubdtype(space.dtype, np.floating) else f" {space.dtype}"
    return "x".join(map(str, space.shape)) + kind
