"""Bring your own: a Gymnasium id, or a `gymnasium.Env` or `VectorEnv` class by import path, behind the protocol.

A world is saved by deep copy, and that is tried out before it is promised: see `foreign.why_not_copied`, and for the
whole of it docs/bring_your_own_env.md.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Literal

import gymnasium
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import VectorEnv

from bellmark.config import Choice, knob
from bellmark.envs.api import BatchedEnv
from bellmark.envs.foreign import OneByOne, Together
from bellmark.errors import UserError, unknown

Arguments = dict[str, bool | int | float | str]


class Custom(Choice):
    """Any Gymnasium environment: `env` names it, `arguments` go to its constructor."""

    kind: Literal["custom"] = "custom"
    env: str = knob(
        "CartPole-v1", "a Gymnasium id, or module:Class (looked for in the working directory, too)", scope="model"
    )
    arguments: Arguments = knob({}, "keyword arguments of the environment's constructor", scope="model")
    horizon: int = knob(
        0,
        "time limit of an episode; 0 takes the registered one, or the class's attribute `horizon`",
        unit="steps",
        ge=0,
    )

    def make(self, num_envs: int, threads: int = 1) -> BatchedEnv:
        """n worlds, one after the other in this thread, or as the class's own batch.

        Raises:
            UserError: the name, its arguments or its spaces do not fit; says what would.
        """
        build = self._class() if ":" in self.env else self._registered()
        horizon = self.horizon or self._own_horizon(build)
        batched = isinstance(build, type) and issubclass(build, VectorEnv)
        if batched:
            batch = self._call(partial(build, num_envs=num_envs, **self.arguments))
            return BatchedEnv(Together(batch, horizon))
        worlds = [self._call(partial(build, **self.arguments)) for _ in range(num_envs)]
        return BatchedEnv(OneByOne(worlds, horizon))

    def _class(self) -> Callable[..., Any]:
        module_name, _, class_name = self.env.partition(":")
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            raise UserError(f"env={self.env!r}: there is no module {module_name!r} here or installed") from None
        found = getattr(module, class_name, None)
        kinds = (gymnasium.Env, VectorEnv)
        if isinstance(found, type) and issubclass(found, kinds):
            return found
        known = [n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, kinds) and v not in kinds]
        raise unknown(f"environment class in {module_name}", class_name, known)

    def _registered(self) -> Callable[..., Any]:
        if self.env not in gymnasium.registry:
            raise unknown("Gymnasium id", self.env, gymnasium.registry)
        drawn = {"render_mode": "rgb_array"} if _draws(gymnasium.registry[self.env].entry_point) else {}
        settings: dict[str, Any] = {**drawn, "max_episode_steps": -1, "disable_env_checker": True}
        return lambda **arguments: gymnasium.make(self.env, **{**settings, **arguments})

    def _own_horizon(self, build: object) -> int:
        spec = gymnasium.registry.get(self.env)
        steps = spec.max_episode_steps if spec else getattr(build, "horizon", None)
        if not steps:
            where = "" if spec else ", or as a class attribute of that name"
            raise UserError(f"env={self.env!r} comes with no time limit; say one: task.horizon=1000{where}")
        return int(steps)

    def _call(self, build: Callable[[], Any]) -> Any:
        try:
            return build()
        except gymnasium.error.DependencyNotInstalled as error:
            raise UserError(f"env={self.env!r}: {error}") from None
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise UserError(f"env={self.env!r} with arguments={self.arguments}: {error}") from None


def _draws(entry_point: object) -> bool:
    """Whether a registered environment says that it can draw arrays."""
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    return "rgb_array" in getattr(creator, "metadata", {}).get("render_modes", ())
