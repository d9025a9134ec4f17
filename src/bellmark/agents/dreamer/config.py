"""The configuration of the dreamer family, assembled from the classes that live beside the code that reads them.

Defaults are DreamerV3 as its official code runs it today (Hafner et al. 2025; danijar/dreamerv3, configs.yaml).
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from bellmark.agents.api import Checkpoints, Collect, Doctor, Evaluation, rows_at_evaluations
from bellmark.agents.dreamer.gating import Gated, Open
from bellmark.agents.dreamer.learning import Learning, Losses
from bellmark.agents.dreamer.model import OFFICIAL, IndependentGrus, Model
from bellmark.agents.dreamer.optimizing import Optimizer
from bellmark.agents.dreamer.start import Bootstrap, Scratch, Stored
from bellmark.agents.dreamer.surprise import Surprise
from bellmark.config import Config, knob, option, part
from bellmark.envs.cartpole import CartPole
from bellmark.envs.custom import Custom
from bellmark.envs.dmc import Dmc
from bellmark.envs.humanoid import H1
from bellmark.envs.maniskill import ManiSkill
from bellmark.envs.pick_cube import PickCube
from bellmark.envs.probe import Probe


class Judged(Evaluation):
    """A few episodes, from fixed start states."""

    every: int = knob(16_000, "agent steps between evaluations; also before the first and after the last", ge=1)
    episodes: int = knob(20, "episodes per evaluation, each from its own fixed start state", ge=1)
    sampled: bool = knob(True, "judge sampled actions too, beside deterministic ones")
    latents: Literal["sampled", "mode"] = knob(
        "sampled", "while judged, latents are drawn from the posterior, or its most likely ones", source="agent.policy"
    )


class Collecting(Collect):
    """Worlds that begin with the policy: it starts out (almost) uniform."""

    envs: int = knob(16, "worlds stepped together while the learner updates", source=OFFICIAL, ge=1)
    capacity: int = knob(
        5_000_000, "rows of replay, all worlds together; the oldest leave first", unit="rows", source=OFFICIAL, ge=1
    )
    log_every: int = knob(1_600, "agent steps between rows of the record; a multiple of envs", ge=1)
    random_steps: int = knob(0, "agent steps of uniformly random actions first", source=OFFICIAL, ge=0)
    pretrain: int = knob(0, "updates at once when they are over", source=OFFICIAL, ge=0)


class Dreamer(Config):
    """A run of the dreamer family."""

    family: ClassVar[str] = "dreamer"
    headline: ClassVar[str] = "eval/return"  # by which checkpoints are called best

    task: CartPole | Dmc | PickCube | ManiSkill | H1 | Custom | Probe = option(
        CartPole(), "what is to be learned", scope="model"
    )
    seed: int = knob(1, "seeds parameters, dreams, minibatches and the training start states", ge=0, lt=2**32)
    steps: int = knob(1_000_000, "agent steps to train for", ge=1)
    train_ratio: float = knob(32.0, "replayed rows per agent step", unit="rows / step", source=OFFICIAL, gt=0)
    batch: int = knob(16, "slices per update", source=OFFICIAL, ge=1)
    length: int = knob(64, "rows that a slice learns from", unit="rows", source=OFFICIAL, ge=2)
    context: int = knob(
        1,
        "rows before them whose stored latents start the slice; 0: it starts from nothing",
        source=OFFICIAL,
        ge=0,
        le=1,
    )
    online_queue: bool = knob(True, "every row is served once, in order, before uniform draws", source=OFFICIAL)
    model: Model = part(Model(), "the networks")
    loss: Losses = part(Losses(), "weights of the terms of the loss")
    learning: Learning = part(Learning(), "how the terms are made")
    optimizer: Optimizer = part(Optimizer(), "the optimiser")
    surprise: Surprise = part(Surprise(), "how a lagging world model is noticed")
    gating: Open | Gated = option(Open(), "when actor and critic learn")
    start: Scratch | Bootstrap | Stored = option(Scratch(), "where the run begins, and which parts learn")
    collect: Collecting = part(Collecting(), "how replay is filled")
    evaluation: Judged = part(Judged(), "how the agent is judged")
    checkpoints: Checkpoints = part(Checkpoints(), "what is kept on disk")
    doctor: Doctor = part(Doctor(), "what a critical finding does")

    @property
    def updates(self) -> int:
        """How many updates the run will make, about."""
        return int(max(0, self.steps - self.collect.random_steps) * self.per_step) + self.collect.pretrain

    @property
    def per_step(self) -> float:
        """Updates per agent step."""
        return self.train_ratio / (self.batch * self.length)

    def follows_length(self) -> list[str]:
        """The settings that make a run of another length another one from its first step on."""
        courses = {
            "learning.entropy": self.learning.entropy,
            "optimizer.course": self.optimizer.course,
            "gating.ratio": self.gating.ratio,
        }
        return [name for name, course in courses.items() if course.at(0) != course.at(1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        widths, cell = self.model.widths, self.model.cell
        parts = cell.cells if isinstance(cell, IndependentGrus) else cell.blocks
        if widths.deter % parts:
            raise ValueError(f"model.deter={widths.deter} must be a multiple of model.cell's {parts} parts")
        last = self.learning.imagination.last
        if last == 1 or last > self.length:
            raise ValueError(f"learning.imagination.last={last} must be 0, or between 2 and length={self.length}")
        if widths.depth % 2:
            raise ValueError(f"model.depth={widths.depth} must be even")
        rows_at_evaluations(self.collect, self.evaluation)
        return self
