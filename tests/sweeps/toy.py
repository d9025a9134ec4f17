"""A family of no substance: its configuration and its recipes, for tests and for the scripts that they start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bellmark.config import Choice, Config, build, fingerprint, knob, model_fingerprint, option, part
from bellmark.errors import unknown


class Reach(Choice):
    kind: Literal["reach"] = "reach"
    name: str = knob("dog-run", "which")


class Push(Choice):
    kind: Literal["push"] = "push"
    goal: float = knob(1.0, "where")


class Ppo(Choice):
    kind: Literal["ppo"] = "ppo"
    clip: float = knob(0.2, "clip")


class Mean(Choice):
    kind: Literal["mean"] = "mean"


class Clipped(Choice):
    kind: Literal["clipped"] = "clipped"
    most: float = knob(20.0, "highest weight")


class Awr(Choice):
    kind: Literal["awr"] = "awr"
    beta: float = knob(1.0, "temperature")
    weight: Mean | Clipped = option(Mean(), "weights")


class Net(Config):
    heads: int = knob(1, "heads")
    lr_scaling: bool = knob(False, "scale")


class Toy(Config):
    task: Reach | Push = option(Reach(), "task")
    seed: int = knob(1, "seed")
    steps: int = knob(10, "steps", ge=1)
    update: Ppo | Awr = option(Ppo(), "update")
    net: Net = part(Net(), "net")
    gamma: float = knob(0.9, "discount")
    gammas: list[float] = knob([0.9, 0.95], "several")
    tau: float = knob(0.003, "slowness")
    utd: int = knob(1, "updates")
    coef: float = knob(0.0, "optimism")
    local: bool = knob(False, "local")
    source: str = knob("replay", "where from")
    behave: str = knob("well", "what the fake worker does")
    pause: float = knob(0.0, "seconds per step")


RECIPES: dict[str, dict[str, Any]] = {
    "toy": {},
    "toy_awr": {"update": {"kind": "awr", "beta": 0.3}, "gamma": 0.8},
    "ensemble": {"net": {"heads": 4}, "coef": 0.3},
}


@dataclass(frozen=True)
class Resolved:
    family: str
    recipe: str
    config: Config
    tree: dict[str, Any]
    fingerprint: str
    model_fingerprint: str


def resolve(recipe: str, overrides: Sequence[str]) -> Resolved:
    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    config = build(Toy, RECIPES[recipe], overrides)
    tree = config.tree()
    return Resolved("toy", recipe, config, tree, fingerprint(tree), model_fingerprint(config))
