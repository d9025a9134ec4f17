"""Data schedules: what each iteration learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bellmark.config import Choice, knob

if TYPE_CHECKING:
    from collections.abc import Callable

    from bellmark.agents.finetune.rollout import Rollout


@dataclass(frozen=True)
class Source:
    """Where data comes from."""

    collect: Callable[[], Rollout]  # go on with the present policy in the run's environments
    gather: Callable[[str, int, int], Rollout]  # (checkpoint, worlds, steps): a stored policy in fresh ones


class Iterate(Choice):
    """New data from the present policy at every iteration: on-policy."""

    kind: Literal["iterate"] = "iterate"
    keeps: ClassVar[bool] = False  # whether data outlives its iteration

    def following(self, held: list[Rollout], source: Source) -> list[Rollout]:
        """One new rollout."""
        return [source.collect()]


class Once(Choice):
    """One rollout of the start policy, and its advantages, for the whole run (the user's `_offline` scripts)."""

    kind: Literal["once"] = "once"
    keeps: ClassVar[bool] = True

    def following(self, held: list[Rollout], source: Source) -> list[Rollout]:
        """The rollout held already."""
        return held or [source.collect()]


class Replay(Choice):
    """New data at every iteration beside that of the iterations before."""

    kind: Literal["replay"] = "replay"
    rollouts: int = knob(10, "newest rollouts that are learned from together", ge=2)
    keeps: ClassVar[bool] = True

    def following(self, held: list[Rollout], source: Source) -> list[Rollout]:
        """The newest of those held, and a new one."""
        return [*held[1 - self.rollouts :], source.collect()]


class Offline(Choice):
    """Rollouts of stored policies, collected once: no step of the policy in training is ever seen."""

    kind: Literal["offline"] = "offline"
    checkpoints: tuple[str, ...] = knob(("pickcube_weak", "pickcube_medium"), "whose rollouts", min_length=1)
    keeps: ClassVar[bool] = True
    worlds: int = knob(100, "environments per checkpoint", ge=1)
    steps: int = knob(50, "control steps per environment", ge=1)

    def following(self, held: list[Rollout], source: Source) -> list[Rollout]:
        """Everything, collected the first time."""
        return held or [source.gather(name, self.worlds, self.steps) for name in self.checkpoints]
