"""From keys and values to overrides: as text, in an order that works, without those that cannot take effect."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from bellmark.config import Config, flatten, knobs, parse_value


class Resolved(Protocol):
    """What a resolver returns: a validated configuration and its fingerprints."""

    @property
    def family(self) -> str:
        """The agent family."""
        ...

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        ...

    @property
    def config(self) -> Config:
        """The configuration as an object."""
        ...

    @property
    def tree(self) -> dict[str, Any]:
        """The configuration as a plain JSON tree."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal exactly when two runs would be the same run."""
        ...

    @property
    def model_fingerprint(self) -> str:
        """Equal exactly when checkpoints cross."""
        ...


Resolve = Callable[[str, Sequence[str]], Resolved]  # (recipe, overrides) -> Resolved, or UserError


def as_text(key: str, value: Any) -> str:
    """`key=value` that is read back as exactly this value."""
    if isinstance(value, str):
        return f"{key}={value}" if _reads_back(value) else f"{key}={json.dumps(value)}"
    return f"{key}={json.dumps(value)}"


def _reads_back(text: str) -> bool:
    return text == text.strip() and parse_value(text) == text


def in_order(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Choices before the knobs that belong to them: by depth of the key, else as written."""
    return sorted(settings.items(), key=lambda item: item[0].count("."))


def without_dead(base: Resolved, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Split settings on a resolved base into those that can take effect and those of an option not chosen.

    Returns:
        The live settings, and for each dead key the choice it would need (`update=awr`). A key that is no knob at
        all stays among the live ones: resolving it gives the error that names the nearest right one.
    """
    every = list(knobs(type(base.config)))
    kinds = {knob.path: knob.default for knob in every if knob.options}
    kinds.update({path: value for path, value in flatten(base.tree).items() if path in kinds})
    places = {knob.path: [k.choice for k in every if k.path == knob.path] for knob in every}
    live: dict[str, Any] = {}
    dead: dict[str, str] = {}
    for key, value in in_order(settings):
        if key in kinds and isinstance(value, str):
            if value != kinds[key]:
                kept = {k.path for k in every if k.options and k.choice == f"{key}={kinds[key]}"}
                fresh = [k for k in every if k.options and k.choice == f"{key}={value}" and k.path not in kept]
                kinds.update({k.path: k.default for k in fresh})
            kinds[key] = value
        needed = _unmet(key, kinds, places)
        if needed:
            dead[key] = needed
        else:
            live[key] = value
    return live, dead


def _unmet(path: str, kinds: Mapping[str, Any], places: Mapping[str, list[str]]) -> str:
    """The choice that a knob needs, outermost first, and that is not made; "" when it has all it needs."""
    missing = []
    for choice in places.get(path, []):
        option, _, kind = choice.partition("=")
        lacking = choice and (_unmet(option, kinds, places) or ("" if kinds[option] == kind else choice))
        if not lacking:
            return ""
        missing.append(lacking)
    return missing[0] if missing else ""
