"""CartPole-v1 in NumPy, all worlds at once: Gymnasium's arithmetic in Gymnasium's order, its trajectories bit for bit.

Barto, Sutton and Anderson (1983) in the constants and Euler step of `gymnasium.envs.classic_control.cartpole` 1.4:
float64 states, float32 observations, reward 1 per step, an end beyond 2.4 m or 12 degrees, a limit of 500 steps. Only
start states differ: they have the same distribution, but come from this package's (seed, slot, episode) streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from bellmark.config import Choice, knob
from bellmark.envs.api import BatchedEnv, Exactness, Indices, Streams, Transition
from bellmark.envs.cartpole_picture import draw

GRAVITY = 9.8  # m/s2
POLE_MASS = 0.1  # kg
TOTAL_MASS = POLE_MASS + 1.0  # kg
HALF_LENGTH = 0.5  # m: pivot to centre of the pole
POLE_MOMENT = POLE_MASS * HALF_LENGTH  # kg m
FORCE = 10.0  # N
DT = 0.02  # s
X_LIMIT = 2.4  # m
ANGLE_LIMIT = 12 * 2 * np.pi / 360  # rad
START = 0.05  # half width of the start state's range, each of x, x', angle, angle'
SIDE = 64  # pixels

_LIMITS = np.array([[X_LIMIT], [ANGLE_LIMIT]])
_FORCES = np.array([-FORCE, FORCE])


class CartPoleSimulation:
    """A `Simulation` of n carts (see `bellmark.envs.api`); states are columns of one (4, n) array."""

    action_repeat = 1
    exactness = Exactness.BITWISE
    succeeds = False
    horizon = 500

    def __init__(self, num_envs: int, *, pixels: bool = False, discrete: bool = True) -> None:
        self.num_envs = num_envs
        self._pixels, self._discrete = pixels, discrete
        high = np.array([2 * X_LIMIT, np.inf, 2 * ANGLE_LIMIT, np.inf], dtype=np.float32)
        self.observation_space: gymnasium.spaces.Box[Any] = (
            gymnasium.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
            if pixels
            else gymnasium.spaces.Box(-high, high, dtype=np.float32)
        )
        self.action_space: gymnasium.spaces.Box[Any] | gymnasium.spaces.Discrete[Any] = (
            gymnasium.spaces.Discrete(2) if discrete else gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        )
        self._state = np.zeros((4, num_envs))

    def begin(self, indices: Indices, rngs: Streams) -> NDArray[Any]:
        """Each of the four numbers uniform within START of zero."""
        state = (2 * START) * rngs.uniform(4).T - START
        self._state[:, indices] = state
        return self._observe(state)

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        """20 ms under a force of 10 N, to the right for action 1, or above zero where actions are numbers (K, 1).

        Raises:
            ValueError: an action is not finite, or neither 0 nor 1 where actions are choices.
        """
        force = self._force(indices, actions)
        state = self._state.take(indices, axis=1)
        _, speed, angle, angular_speed = state
        cos, sin = np.cos(angle), np.sin(angle)
        push = (force + POLE_MOMENT * np.square(angular_speed) * sin) / TOTAL_MASS
        angular_acceleration = (GRAVITY * sin - cos * push) / (
            HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * np.square(cos) / TOTAL_MASS)
        )
        slope = np.empty_like(state)
        slope[0], slope[2], slope[3] = speed, angular_speed, angular_acceleration
        np.subtract(push, POLE_MOMENT * angular_acceleration * cos / TOTAL_MASS, out=slope[1])
        slope *= DT
        state += slope
        self._state[:, indices] = state
        beyond = np.abs(state[::2]) > _LIMITS
        count = len(indices)
        return Transition(self._observe(state), np.ones(count), beyond[0] | beyond[1], np.zeros(count, dtype=bool))

    def save(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """The states, one row (4,) per world."""
        return {"state": self._state.T[indices]}

    def load(self, indices: Indices, saved: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Put saved states into slots; returns their observations."""
        state = saved["state"].T
        self._state[:, indices] = state
        return self._observe(state)

    def render(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """The picture Gymnasium draws, at any size."""
        return draw(self._state[0, [index]], self._state[2, [index]], height, width)[0]

    def close(self) -> None:
        """Nothing is held."""

    def _force(self, indices: Indices, actions: NDArray[Any]) -> NDArray[np.float64]:
        if self._discrete:
            wrong = actions >> 1 != 0
            if wrong.any():
                raise ValueError(f"actions must be 0 or 1, got {actions[wrong][0]} in world {indices[wrong][0]}")
            return _FORCES.take(actions)
        if not np.isfinite(actions).all():
            raise ValueError(f"non-finite action in worlds {indices[~np.isfinite(actions[:, 0])][:5].tolist()}")
        return np.where(actions[:, 0] > 0, FORCE, -FORCE)

    def _observe(self, state: NDArray[np.float64]) -> NDArray[Any]:
        return draw(state[0], state[2], SIDE, SIDE) if self._pixels else state.T.astype(np.float32, order="C")


class CartPole(Choice):
    """CartPole-v1, seen as its four numbers or as a 64x64 picture."""

    kind: Literal["cartpole"] = "cartpole"
    observation: Literal["state", "pixels"] = knob(
        "state", "the four numbers of the state, or a picture (64, 64, 3)", scope="model"
    )
    action: Literal["discrete", "continuous"] = knob(
        "discrete",
        "left or right as a choice (Gymnasium's task), or as the sign of a number in [-1, 1], for Gaussian policies",
        scope="model",
    )

    def make(self, num_envs: int, threads: int = 1) -> BatchedEnv:
        """The batched environment; one thread is all it uses."""
        pixels, discrete = self.observation == "pixels", self.action == "discrete"
        return BatchedEnv(CartPoleSimulation(num_envs, pixels=pixels, discrete=discrete))
