"""An environment of your own: a boat that is to reach a buoy against a current, in plain Gymnasium.

    python examples/own_env.py

Shows what an environment must have, and what the package then does with it: a batch of worlds with final observations,
worlds saved and continued, and Monte-Carlo values by branching from a saved world. The same class is addressed on the
command line by its import path: `bellmark envs show own_env:Boat` in this folder.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from bellmark.envs.custom import Custom
from bellmark.envs.suite import make_env

STEPS = 60  # per episode
REACHED = 0.2  # m
GAMMA = 0.98


class Boat(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Two thrusts in [-1, 1] move a boat on a drifting sea; reward 1 ends the episode at the buoy.

    Four things make an environment exact here: all its state in its own attributes, chance from `self.np_random` alone,
    `terminated` for the task's own end, and no time limit in `step` (the package applies the class's `horizon`).
    """

    horizon = STEPS

    def __init__(self, current: float = 0.3) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (6,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.current = current
        self.place, self.velocity, self.buoy = np.zeros(2), np.zeros(2), np.zeros(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """A boat at rest near the middle, a buoy somewhere."""
        super().reset(seed=seed)
        self.place, self.velocity = self.np_random.normal(0, 0.1, 2), np.zeros(2)
        self.buoy = self.np_random.uniform(-1, 1, 2)
        return self._observe(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """A tenth of a second."""
        waves = self.np_random.normal(0, 0.1, 2)
        self.velocity = 0.8 * self.velocity + 0.2 * action
        self.place = self.place + 0.1 * (self.velocity + self.current * np.array([1.0, 0.0]) + waves)
        reached = bool(np.linalg.norm(self.place - self.buoy) < REACHED)
        return self._observe(), float(reached), reached, False, {"success": reached}

    def _observe(self) -> NDArray[np.float32]:
        return np.concatenate([self.place, self.velocity, self.buoy - self.place]).astype(np.float32)


def steer(obs: NDArray[np.float32]) -> NDArray[np.float32]:
    """A helmsman: actions (N, 2) that point at the buoy, for observations (N, 6)."""
    return np.clip(3 * obs[:, 4:], -1, 1)


def main() -> None:
    """Play, save, and look ahead."""
    task = Custom(env=f"{__name__}:Boat", arguments={"current": 0.2})
    env = make_env(task, num_envs=16)
    obs, _ = env.reset(seed=0)
    print(f"{env.num_envs} worlds, observations {obs.shape}, restored worlds are {env.exactness}")

    ended, successes = 0, 0
    for _ in range(STEPS):
        obs, _, terminated, truncated, info = env.step(steer(obs))
        ended += int((terminated | truncated).sum())
        successes += int((info["success"] & terminated).sum())
    print(f"{ended} episodes, {successes} at the buoy")

    # The value of one state, by many futures of it: the waves differ because each copy is given its own chance.
    start = env.snapshot(np.array([0]))
    branches = make_env(task, num_envs=64)
    branches.reset(seed=1)
    obs = branches.restore(start.repeat(64))
    simulation: Any = branches.simulation
    for i, world in enumerate(simulation.worlds):
        world.unwrapped.np_random = np.random.default_rng(i)
    value, alive = np.zeros(64), np.ones(64, dtype=bool)
    for t in range(STEPS):
        obs, reward, terminated, _ = branches.advance(np.arange(64), steer(obs))
        value += alive * GAMMA**t * reward
        alive &= ~terminated
    print(f"value of world 0: {value.mean():.3f} +- {value.std() / 8:.3f} over 64 futures")
    env.close()
    branches.close()


if __name__ == "__main__":
    main()
