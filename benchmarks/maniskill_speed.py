"""ManiSkill's PickCube-v1: control steps per second per process, straight on SAPIEN's objects against ManiSkill's own.

    python benchmarks/maniskill_speed.py            # prints the table, writes benchmarks/results/maniskill_speed.json

Both play the same random actions from start states of their own, one world each, and begin anew after 50 steps: the
stock environment is `gymnasium.make("PickCube-v1")` with its time limit, ours the batched environment that learners
use (observation, reward, autoreset). They take turns, the best turn of each counts, and speed is per second of
processor time, so that a busy machine changes little. Goal: 4 times the stock wrapper in one process.
The rows with a held cube play a trained policy (its inference is not timed): there PhysX itself takes most of the
time, which both pay.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click
import gymnasium
import numpy as np
import provenance
import torch
from numpy.typing import NDArray

from bellmark.envs.api import BatchedEnv
from bellmark.envs.maniskill import ManiSkill, stand_in
from bellmark.train.judge import Judge
from bellmark.train.worlds import as_obs, command, spec_of

GOAL = 4.0
STEPS = 150
Act = Callable[[int, NDArray[np.float32]], NDArray[np.float32]]


def random_actions(worlds: int) -> Act:
    """The same for everybody."""
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, worlds, 8)).astype(np.float32)
    return lambda t, obs: actions[t]


def stock(act: Act) -> Callable[[], float]:
    """ManiSkill's own environment under its registered time limit, one world."""
    env: gymnasium.Env[Any, Any] = gymnasium.wrappers.TimeLimit(stand_in.make("sparse"), 50)

    def turn() -> float:
        obs, _ = env.reset(seed=0)
        spent = 0.0
        for t in range(STEPS):
            action = act(t, obs.numpy())[0]
            began = time.process_time()
            obs, _, terminated, truncated, _ = env.step(action)
            if bool(terminated) or bool(truncated):
                obs, _ = env.reset()
            spent += time.process_time() - began
        return STEPS / spent

    return turn


def ours(worlds: int, act: Act) -> Callable[[], float]:
    """The batched environment in this process."""
    env = ManiSkill().make(worlds)

    def turn() -> float:
        obs, _ = env.reset(seed=0)
        spent = 0.0
        for t in range(STEPS):
            action = act(t, obs)
            began = time.process_time()
            obs = env.step(action)[0]
            spent += time.process_time() - began
        return STEPS * worlds / spent

    return turn


def policy_actions(worlds: int) -> Act:
    """A trained policy acts (its inference is not timed): contact is what physics costs."""
    policy = Judge("pickcube_optimal").policy
    spec = spec_of(ManiSkill().make(1))
    never, generator = torch.zeros(worlds, dtype=torch.bool), torch.Generator()

    def act(t: int, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            decision = policy.act(as_obs(obs, spec), never, {}, deterministic=True, generator=generator)
        actions: NDArray[np.float32] = command(decision.action, spec)
        return actions

    return act


def parts(env: BatchedEnv) -> dict[str, float]:
    """Microseconds per world of a reset, a snapshot and a restore."""
    env.reset(seed=0)
    snapshot = env.snapshot()
    calls: dict[str, Callable[[], object]] = {
        "reset": env.reset,
        "snapshot": env.snapshot,
        "restore": lambda: env.restore(snapshot),
    }
    found = {}
    for name, call in calls.items():
        best = float("inf")
        for _ in range(20):
            began = time.process_time()
            call()
            best = min(best, time.process_time() - began)
        found[name] = round(best / env.num_envs * 1e6, 1)
    return found


@click.command()
@click.option("--turns", default=6, show_default=True, help="Turns of each contender; the best counts.")
@click.option("--save/--no-save", default=True, show_default=True, help="Write the result file.")
def main(turns: int, save: bool) -> None:
    """Measure ManiSkill's speed."""
    torch.set_num_threads(1)
    began = time.process_time()
    stand_in.load()
    imported = time.process_time() - began
    contenders = {
        "stock wrapper, 1 world": stock(random_actions(1)),
        "ours, 1 world": ours(1, random_actions(1)),
        "ours, 16 worlds": ours(16, random_actions(16)),
        "stock wrapper, 1 world, cube held": stock(policy_actions(1)),
        "ours, 1 world, cube held": ours(1, policy_actions(1)),
        "ours, 16 worlds, cube held": ours(16, policy_actions(16)),
    }
    best = dict.fromkeys(contenders, 0.0)
    for _ in range(turns):
        for name, turn in contenders.items():
            best[name] = max(best[name], turn())
    began = time.process_time()
    env = ManiSkill().make(16)
    build = (time.process_time() - began) / 16
    for name, speed in best.items():
        rival = best["stock wrapper, 1 world" + (", cube held" if "held" in name else "")]
        print(f"{name:<36}{speed:>8,.0f} steps/s{speed / rival:>8.1f} x stock")
    costs = parts(env)
    print(f"per world: {build * 1e3:.0f} ms to build; {costs} us; import {imported:.1f} s")
    ratio = best["ours, 1 world"] / best["stock wrapper, 1 world"]
    print(f"goal {GOAL:.0f} x: {'met' if ratio >= GOAL else 'MISSED'}")
    if save:
        result = {
            "goal": GOAL,
            "ratio": round(ratio, 2),
            "steps_per_processor_second": {name: round(speed) for name, speed in best.items()},
            "microseconds_per_world": costs,
            "milliseconds_to_build_a_world": round(build * 1e3, 1),
        }
        print(f"wrote {provenance.save('maniskill_speed', result)}")


if __name__ == "__main__":
    main()
