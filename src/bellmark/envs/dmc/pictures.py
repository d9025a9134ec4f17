"""A simulation seen through its camera: the state's vector is replaced by a picture of 64 x 64.

What a world does, and how it is saved and restored, stays the wrapped simulation's; a picture is a function of the
state, drawn anew after every step, so nothing of it is saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from bellmark.envs.api import Indices, Simulation, Streams, Transition

SIDE = 64  # pixels, as the official dmc_vision


class PictureSimulation:
    """A `Simulation` whose observations are pictures (64, 64, 3) of another's worlds."""

    def __init__(self, simulation: Simulation) -> None:
        """Make sure that something can draw here.

        Raises:
            UserError: nothing can draw without a display; names the packages that bring it.
        """
        from bellmark.envs.video import ensure_gl

        ensure_gl()
        self.wrapped = simulation
        self.num_envs, self.horizon = simulation.num_envs, simulation.horizon
        self.action_repeat, self.exactness = simulation.action_repeat, simulation.exactness
        self.succeeds = simulation.succeeds
        self.observation_space = gymnasium.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        self.action_space = simulation.action_space
        self.failures = getattr(simulation, "failures", None)

    def begin(self, indices: Indices, rngs: Streams) -> NDArray[Any]:
        """Start states of the wrapped simulation, as pictures."""
        self.wrapped.begin(indices, rngs)
        return self._seen(indices)

    def advance(self, indices: Indices, actions: NDArray[Any]) -> Transition:
        """One control step, its observations as pictures."""
        return self.wrapped.advance(indices, actions)._replace(obs=self._seen(indices))

    def save(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """What the wrapped simulation saves."""
        return self.wrapped.save(indices)

    def load(self, indices: Indices, saved: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Put saved worlds into slots; returns their pictures."""
        self.wrapped.load(indices, saved)
        return self._seen(indices)

    def render(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """One frame of one world."""
        return self.wrapped.render(index, height, width)

    def close(self) -> None:
        """Release what the wrapped simulation holds."""
        self.wrapped.close()

    def _seen(self, indices: Indices) -> NDArray[np.uint8]:
        return np.stack([self.wrapped.render(int(index), SIDE, SIDE) for index in indices])
