"""PickCube control steps per second: closed loop through the environment against MuJoCo's open-loop rollout.

    python benchmarks/pick_cube_speed.py            # prints the table, writes benchmarks/results/pick_cube_speed.json

Closed loop is what a learner pays: one rollout call per control step, kinematics, observation, reward, autoreset. Open
loop hands MuJoCo whole episodes of the same controls at once and reads nothing: the physics limit. Both take turns,
and the best turn of each counts. The goal is 30,000 closed-loop steps/s on 2 threads at 512 worlds with random actions.
The last rows step worlds in which a trained policy holds the cube: contact is what costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import mujoco
import numpy as np
import provenance
import torch
from mujoco.rollout import Rollout

from bellmark.envs.api import BatchedEnv
from bellmark.envs.pick_cube import PickCube
from bellmark.envs.pick_cube.simulation import SUBSTEPS, load_model
from bellmark.train.judge import Judge
from bellmark.train.worlds import as_obs, command, spec_of

GOAL = 30_000
STEPS = 50


def closed_loop(worlds: int, threads: int) -> Callable[[], float]:
    """A turn of one episode length with random actions; returns steps per second."""
    env = PickCube().make(worlds, threads)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, worlds, 8)).astype(np.float32)
    return lambda: rate(env, lambda t, obs: actions[t], worlds)


def with_policy(worlds: int, threads: int) -> Callable[[], float]:
    """A turn in which the shipped optimal policy acts (its inference is not timed)."""
    env = PickCube().make(worlds, threads)
    policy, spec = Judge("pickcube_optimal").policy, spec_of(env)
    env.reset(seed=0)
    never, generator = torch.zeros(worlds, dtype=torch.bool), torch.Generator()

    def act(t: int, obs: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            decision = policy.act(as_obs(obs, spec), never, {}, deterministic=True, generator=generator)
        actions: np.ndarray = command(decision.action, spec)
        return actions

    return lambda: rate(env, act, worlds)


def rate(env: BatchedEnv, act: Callable[[int, np.ndarray], np.ndarray], worlds: int) -> float:
    """Control steps per second of `STEPS` batched steps, the time inside `env.step` alone."""
    obs, _ = env.reset()
    spent = 0.0
    for t in range(STEPS):
        action = act(t, obs)
        began = time.perf_counter()
        obs = env.step(action)[0]
        spent += time.perf_counter() - began
    return worlds * STEPS / spent


def open_loop(worlds: int, threads: int) -> Callable[[], float]:
    """A turn of MuJoCo's rollout over whole episodes of random servo targets, nothing read in between."""
    model = load_model()
    env = PickCube().make(worlds)
    env.reset(seed=0)
    start = env.snapshot().arrays["physics"]
    rng = np.random.default_rng(0)
    delta = np.cumsum(rng.uniform(-0.04, 0.04, (worlds, STEPS, 7)), axis=1)  # the arm's real speed under random actions
    grip = rng.uniform(-0.01, 0.04, (worlds, STEPS, 1))
    targets = np.concatenate([start[:, None, 1:8] + delta, grip, grip], axis=2)
    control = np.repeat(targets, SUBSTEPS, axis=1)
    pool, data = Rollout(nthread=threads), [mujoco.MjData(model) for _ in range(threads)]

    def turn() -> float:
        began = time.perf_counter()
        pool.rollout(model, data, start, control)
        return worlds * STEPS / (time.perf_counter() - began)

    return turn


@click.command()
@click.option("--turns", default=8, show_default=True, help="Turns of each contender; the best counts.")
@click.option("--save/--no-save", default=True, show_default=True, help="Write the result file.")
def main(turns: int, save: bool) -> None:
    """Measure PickCube's speed."""
    torch.set_num_threads(1)
    contenders = {
        f"{name}, {worlds} worlds, {threads} threads": make(worlds, threads)
        for name, make, sizes in (
            ("closed loop", closed_loop, ((512, 1), (100, 2), (512, 2), (3200, 2))),
            ("open loop (physics limit)", open_loop, ((512, 2),)),
            ("closed loop, policy in contact", with_policy, ((512, 2),)),
        )
        for worlds, threads in sizes
    }
    best = dict.fromkeys(contenders, 0.0)
    for _ in range(turns):
        for name, turn in contenders.items():
            best[name] = max(best[name], turn())
    for name, speed in best.items():
        print(f"{name:<52}{speed:>10,.0f} steps/s")
    ours = best["closed loop, 512 worlds, 2 threads"]
    share = ours / best["open loop (physics limit), 512 worlds, 2 threads"]
    print(f"goal {GOAL:,}: {'met' if ours >= GOAL else 'MISSED'}; {share:.0%} of the physics limit")
    if save:
        rounded = {name: round(speed) for name, speed in best.items()}
        print(f"wrote {provenance.save('pick_cube_speed', {'goal': GOAL, 'steps_per_second': rounded})}")


if __name__ == "__main__":
    main()
