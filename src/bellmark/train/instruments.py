"""What is measured beside an evaluation, on the beginnings of its episodes: rows that nobody learns from.

Axes: T steps, B worlds, A action.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bellmark.agents.api import Agent, Batch, Behaviour, Instruments, Metrics
from bellmark.envs.api import Transition
from bellmark.train.families import instruments_of

MOST_WORLDS, MOST_STEPS, LEAST_STEPS = 16, 32, 4
LEAST_PROBABILITY = 1e-6
LEAST_STD = 0.05  # finer differences of a nearly fixed action do not count: the box is 2 wide


class Tape:
    """Keeps the beginnings of some worlds' episodes while they are judged."""

    def __init__(self) -> None:
        self._rows: dict[int, list[tuple[Tensor, Tensor, float, bool]]] = {}
        self._after: dict[int, Tensor] = {}

    def __call__(self, worlds: NDArray[np.int64], obs: Tensor, action: Tensor, moved: Transition) -> None:
        """One step of the worlds that still play."""
        for place, world in enumerate(worlds[worlds < MOST_WORLDS].tolist()):
            rows = self._rows.setdefault(world, [])
            if len(rows) < MOST_STEPS:
                end = bool(moved.terminated[place])
                rows.append((obs[place].clone(), action[place].clone(), float(moved.reward[place]), end))
                self._after[world] = torch.as_tensor(np.array(moved.obs[place])).to(obs.dtype)

    def batch(self) -> Batch | None:
        """Slices of equal length, each from its episode's start: of half the worlds at least; None if all are short."""
        lengths = sorted(len(rows) for rows in self._rows.values())
        length = lengths[len(lengths) // 2] if lengths else 0
        if length < LEAST_STEPS:
            return None
        kept = [world for world, rows in self._rows.items() if len(rows) >= length]
        return _stacked([(self._rows[w][:length], self._following(w, length)) for w in kept])

    def _following(self, world: int, length: int) -> Tensor:
        rows = self._rows[world]
        return rows[length][0] if len(rows) > length else self._after[world]


def _stacked(slices: list[tuple[list[tuple[Tensor, Tensor, float, bool]], Tensor]]) -> Batch:
    """Rows as a learner sees them: what arrived with an observation stands beside it, the last has no action."""
    obs = torch.stack([torch.stack([*(row[0] for row in rows), after]) for rows, after in slices], 1)
    action = torch.stack([torch.stack([*(row[1] for row in rows), rows[0][1] * 0]) for rows, _ in slices], 1)
    reward = torch.tensor([[0.0, *(row[2] for row in rows)] for rows, _ in slices]).t()
    ended = torch.tensor([[False, *(row[3] for row in rows)] for rows, _ in slices]).t()
    first = torch.zeros_like(ended)
    first[0] = True
    return Batch(obs, action.detach(), reward, ended, first, {}, torch.full(ended.shape, -1))


class Watcher:
    """A run's instruments, and the policy's answers at the last evaluation, to see how far it has moved since."""

    def __init__(self, agent: Agent, family: str) -> None:
        self._instruments: Instruments = instruments_of(agent, family)
        self._rows: Batch | None = None
        self._former: Behaviour | None = None

    def measure(self, tape: Tape) -> Metrics:
        """All that can be measured on the episodes just judged; nothing where they were too short."""
        moved = self._churn()
        rows = tape.batch()
        if rows is None:
            return moved
        self._rows, self._former = rows, self._instruments.behaviour(rows)
        return {**moved, **{name: float(value) for name, value in self._instruments.measure(rows).items()}}

    def _churn(self) -> Metrics:
        """How differently the policy would act now in the states of the former evaluation."""
        if self._rows is None or self._former is None:
            return {}
        now = self._instruments.behaviour(self._rows)
        changed = {"policy/churn": float(divergence(self._former, now).mean())}
        if not now.std.shape[1]:
            other = self._former.mean.argmax(1) != now.mean.argmax(1)
            changed["policy/churn_choices"] = float(other.float().mean())
        return changed

    def state_dict(self) -> dict[str, Any]:
        """The former evaluation's rows and answers."""
        if self._rows is None or self._former is None:
            return {}
        return {"rows": self._rows._asdict(), "former": self._former._asdict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on comparing."""
        if state:
            self._rows, self._former = Batch(**state["rows"]), Behaviour(**state["former"])


def divergence(former: Behaviour, now: Behaviour) -> Tensor:
    """KL(former || now) in nats, (N,): of choices, or of normal distributions summed over action dimensions."""
    least = LEAST_STD if now.std.shape[1] else LEAST_PROBABILITY
    if not now.std.shape[1]:
        p, q = former.mean.clamp(min=least), now.mean.clamp(min=least)
        return (p * (p / q).log()).sum(1)
    a, b = former.std.clamp(min=least), now.std.clamp(min=least)
    return ((b / a).log() + (a.square() + (former.mean - now.mean).square()) / (2 * b.square()) - 0.5).sum(1)
