"""Where a run begins and which of its parts learn: all from scratch, the world model alone, or from a stored run.

The three modes of the user's protocol: train, bootstrap, dreamer. His code trained the world model in the third mode
too, whatever it said, and always with a new actor and critic; here both are said, and done as said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol

from bellmark.agents.api import Load
from bellmark.agents.dreamer.surprise import PROTOCOL
from bellmark.config import Choice, knob


class Startable(Protocol):
    """A learner that can take over parts of a stored one."""

    def take(self, state: Mapping[str, Any], *, actor_critic: bool) -> None:
        """Take the world model of a learner's saved state and, where asked for, actor and critic.

        A part comes with its slow copy, its scales and its optimiser's moments; counters and random state do not come.
        """
        ...


class Scratch(Choice):
    """New parameters; everything learns."""

    kind: Literal["scratch"] = "scratch"
    world_learns: ClassVar[bool] = True
    actor_critic_learns: ClassVar[bool] = True
    acts_randomly: ClassVar[bool] = False

    def begin(self, learner: Startable, load: Load) -> str:
        """Nothing to take; returns what is to be said of it."""
        return "start: new parameters"


class Bootstrap(Choice):
    """New parameters; the world model learns from uniformly random actions, actor and critic not at all."""

    kind: Literal["bootstrap"] = "bootstrap"
    world_learns: ClassVar[bool] = True
    actor_critic_learns: ClassVar[bool] = False
    acts_randomly: ClassVar[bool] = True  # while collecting; evaluations judge the untrained actor

    def begin(self, learner: Startable, load: Load) -> str:
        """Nothing to take; returns what is to be said of it."""
        return "start: new parameters; the world model learns from random actions, actor and critic do not learn"


class Stored(Choice):
    """The world model of a stored run, and what is to become of it and of actor and critic."""

    kind: Literal["stored"] = "stored"
    checkpoint: str = knob("", "run folder or checkpoint file; must be given", source=PROTOCOL)
    of_run: Literal["last", "best"] = knob(
        "last", "which checkpoint of a run folder: judged by its policy, a bootstrapped world model's best is any"
    )
    world: Literal["frozen", "training"] = knob(
        "frozen", "whether the stored world model stays as it is or goes on learning", source=PROTOCOL
    )
    actor_critic: Literal["reset", "kept"] = knob("reset", "new actor and critic, or the stored ones", source=PROTOCOL)
    actor_critic_learns: ClassVar[bool] = True
    acts_randomly: ClassVar[bool] = False

    @property
    def world_learns(self) -> bool:
        """Whether the world model's parameters may change, by any loss at all."""
        return self.world == "training"

    def begin(self, learner: Startable, load: Load) -> str:
        """Take the stored parts into a fresh learner; returns what is to be said of it.

        Raises:
            UserError: no such checkpoint, or one of another model family (the difference is named).
        """
        state = load(self.checkpoint, self.of_run)
        learner.take(state["learner"], actor_critic=self.actor_critic == "kept")
        return (
            f"start: world model of {self.checkpoint} (step {state['step']:,}), {self.world}; "
            f"actor and critic {self.actor_critic}"
        )
