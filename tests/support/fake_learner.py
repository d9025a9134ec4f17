"""A learner that learns nothing and asserts on what it is fed, with the configuration it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from bellmark.agents.api import (
    Batch,
    Checkpoints,
    Collect,
    Decision,
    Doctor,
    Evaluation,
    Metrics,
    Schedule,
    Spec,
    State,
    Window,
    Writeback,
)
from bellmark.config import Config, knob, part
from bellmark.envs.probe import Probe


class FakeConfig(Config):
    """As a family's configuration, on a probe whose x counts its steps."""

    family: ClassVar[str] = "fake"
    headline: ClassVar[str] = "eval/return"
    task: Probe = part(Probe(name="time-limit"), "a task of five steps")
    seed: int = knob(1, "seed")
    steps: int = knob(120, "steps")
    collect: Collect = part(Collect(envs=2, log_every=20), "collection")
    evaluation: Evaluation = part(Evaluation(every=40, episodes=4, sampled=False), "evaluation")
    checkpoints: Checkpoints = part(Checkpoints(), "checkpoints")
    doctor: Doctor = part(Doctor(), "doctor")


class FakeLearner:
    """Counts; a column `age` holds how often a row has been drawn."""

    window = Window(batch=6, length=3, whole=True)
    schedule = Schedule(random_steps=20, pretrain=3, per_step=0.5)

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.seen: list[tuple[int, float]] = []  # (step, fingerprint of the batch)
        self.weight = torch.zeros(())

    @property
    def policy(self) -> FakeLearner:
        return self

    @property
    def blank(self) -> Mapping[str, torch.Tensor]:
        return {"age": torch.zeros(()), "steps": torch.full((), -1.0)}

    def initial(self, worlds: int) -> State:
        return {"steps": torch.zeros(worlds)}

    def act(
        self, obs: torch.Tensor, first: torch.Tensor, state: State, *, deterministic: bool, generator: torch.Generator
    ) -> Decision:
        """A draw around the weight; the extras say how many steps of this episode the policy has seen."""
        steps = torch.where(first, 0.0, state["steps"] + 1)
        noise = 0.0 if deterministic else torch.randn((len(obs), self.spec.actions), generator=generator)
        return Decision(
            (self.weight + noise) * torch.ones(len(obs), self.spec.actions), {"steps": steps}, {"steps": steps}
        )

    gamma = 0.9

    def start_values(self, obs: torch.Tensor) -> torch.Tensor:
        return obs.sum(-1)

    def update(self, batch: Batch, step: int) -> tuple[Metrics, Writeback]:
        """Check the batch, count its rows, and move the weight by what was in it."""
        length, count = self.window.length, self.window.batch
        assert batch.obs.shape == (length, count, *self.spec.obs_shape)
        assert batch.action.shape == (length, count, self.spec.actions)
        assert not batch.first[1:].any()  # whole slices
        assert (batch.reward[batch.first] == 0).all()
        print_of = float((batch.obs.sum() + batch.action.sum() + 10 * batch.extras["age"].sum()).double())
        self.seen.append((step, print_of))
        self.weight = (0.9 * self.weight + 0.01 * batch.action.mean()).detach()
        rows = batch.rows.flatten()
        metrics = {"loss/age": batch.extras["age"].mean(), "loss/weight": self.weight}
        return metrics, Writeback(rows, {"age": batch.extras["age"].flatten() + 1})

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight, "seen": list(self.seen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weight, self.seen = state["weight"], [tuple(s) for s in state["seen"]]
