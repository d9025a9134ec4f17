"""A family's options and knobs, one at a time: each learns, none is dead, and what follows the run's length says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from traced import Trace

from bellmark.config import Config, Knob, flatten, knobs
from bellmark.errors import UserError


class Build(Protocol):
    """Makes a small configuration, or an agent of one, from overrides on a named base."""

    def __call__(self, *overrides: str, base: str) -> Any: ...


@dataclass(frozen=True, eq=False)
class Matrix:
    """What can be set in a family, on small bases that take every option between them."""

    family: type[Config]
    bases: Collection[str]
    config: Build
    agent: Build
    trace: Callable[..., Trace]  # of an agent; takes the number of updates
    updates: int
    elsewhere: tuple[str, ...]  # beginnings of keys that are left out
    companions: Mapping[str, tuple[str, ...]]  # knob -> what else must be set for it to have an effect
    other: Mapping[str, str]  # knob -> the value to try where the rule of `_other` finds none that makes a difference
    _configs: dict[tuple[str, ...], Any] = field(default_factory=dict)
    _traces: dict[tuple[str, ...], Trace] = field(default_factory=dict)

    @cached_property
    def knobs(self) -> dict[str, Knob]:
        """Every knob, by its key and the option it belongs to."""
        return {k.path + "@" + k.choice: k for k in knobs(self.family) if not k.path.startswith(self.elsewhere)}

    @property
    def options(self) -> list[tuple[str, str]]:
        """(key, option) of every choice."""
        return sorted({(k.path, name) for k in self.knobs.values() for name in k.options})

    @property
    def numbers(self) -> list[str]:
        """Every knob that is no choice."""
        return [where for where, k in self.knobs.items() if not k.options]

    @property
    def shares_of_the_run(self) -> list[str]:
        """The knobs that are told as such."""
        return [where for where, k in self.knobs.items() if k.unit == "share of the run"]

    def check_option(self, path: str, name: str) -> None:
        """Every base that takes an option learns with it."""
        for base, overrides in self._taking(path, name):
            seen = self.trace(self.agent(*overrides, base=base), updates=2)
            assert all(math.isfinite(x) for values in seen.values() for x in values), (path, name, base)

    def check_effect(self, where: str) -> None:
        """Another value of a knob changes something on one base at least."""
        tried = self._changed(where)
        for base, fixed, change in tried:
            if self._before(base, *fixed) != self.trace(self.agent(*fixed, change, base=base), updates=self.updates):
                return
        raise AssertionError(f"{self.knobs[where].path} changes nothing: {tried}")

    def check_length_of_option(self, path: str, name: str) -> None:
        """Where an option makes a longer run another one, the configuration says so."""
        for base, overrides in self._taking(path, name):
            self._check_length(base, *overrides)

    def check_length_of_knob(self, where: str) -> None:
        """The same of another value of a knob."""
        for base, fixed, change in self._changed(where):
            self._check_length(base, *fixed, change)

    def _check_length(self, base: str, *overrides: str) -> None:
        config = self._built(base, *overrides)
        if not config.follows_length():
            longer = self.agent(*overrides, f"steps={2 * config.steps}", base=base)
            assert self._before(base, *overrides) == self.trace(longer, updates=self.updates), (base, overrides)

    def _taking(self, path: str, name: str) -> list[tuple[str, tuple[str, ...]]]:
        """(base, overrides) that choose an option, of the bases that take it."""
        knob = next(k for k in self.knobs.values() if k.path == path)
        overrides = (*_choosing(knob), f"{path}={name}")
        found = [(base, overrides) for base in self.bases if self._built(base, *overrides)]
        assert found, f"no base takes {path}={name}"
        return found

    def _changed(self, where: str) -> list[tuple[str, tuple[str, ...], str]]:
        """(base, what is fixed, the change) of the bases that take another value of a knob."""
        knob, found = self.knobs[where], []
        for base in self.bases:
            fixed = (*_choosing(knob), *self.companions.get(knob.path, ()))
            former = self._built(base, *fixed)
            if former is None:
                continue
            change = f"{knob.path}={self._other(knob, flatten(former.tree())[knob.path])}"
            if self._built(base, *fixed, change) is not None:
                found.append((base, fixed, change))
        return found

    def _other(self, knob: Knob, now: Any) -> str:
        """Another value of a knob, as an override's text."""
        if knob.path in self.other:
            return self.other[knob.path]
        if " | " in knob.type:
            return next(name for name in knob.type.split(" | ") if name != now)
        if knob.type == "bool":
            return "false" if now else "true"
        return str(now + 1) if knob.type == "int" else str(now / 2 if now else 0.5)

    def _built(self, base: str, *overrides: str) -> Any:
        """The configuration; None where the base does not take the overrides."""
        key = (base, *overrides)
        if key not in self._configs:
            try:
                self._configs[key] = self.config(*overrides, base=base)
            except UserError:
                self._configs[key] = None
        return self._configs[key]

    def _before(self, base: str, *overrides: str) -> Trace:
        """The trace of an agent that others are compared with."""
        key = (base, *overrides)
        if key not in self._traces:
            self._traces[key] = self.trace(self.agent(*overrides, base=base), updates=self.updates)
        return self._traces[key]


def _choosing(knob: Knob) -> tuple[str, ...]:
    return (knob.choice,) if knob.choice else ()
