"""dm_control's own environments as references, driven by the same random streams as ours."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bellmark.envs.dmc.catalogue import DIRECT_IDS


class Draws(np.random.RandomState):
    """A `RandomState` as dm_control wants one, whose numbers come from a `Generator`: both sides draw alike."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(0)
        self._rng = rng

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return self._rng.uniform(low, high, size)

    def randn(self, *shape: int) -> Any:
        return self._rng.standard_normal(shape or None)

    def rand(self, *shape: int) -> Any:
        return self._rng.random(shape or None)


class Reference:
    """One dm_control environment with flat observations."""

    def __init__(self, name: str) -> None:
        suite: Any = dm_control_suite()
        domain, task = DIRECT_IDS[name]
        self.env: Any = suite.load(domain, task.replace("-", "_"))

    def reset(self, seed: int) -> NDArray[np.float64]:
        self.env.task._random = Draws(np.random.default_rng(seed))
        return flat(self.env.reset().observation)

    def step(self, control: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        moment = self.env.step(control)
        return flat(moment.observation), moment.reward


def dm_control_suite() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a display
        from dm_control import suite
    return suite


def flat(observation: dict[str, Any]) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(value) for value in observation.values()])


@pytest.fixture(scope="session")
def reference() -> Callable[[str], Reference]:
    """Environments by task id, each loaded once."""
    return cache(Reference)


@pytest.fixture(scope="session")
def suite() -> Any:
    """The installed `dm_control.suite`."""
    return dm_control_suite()
