"""The fake learner with its weight in a module, so that collectors in other processes can play it; and ways to fail."""

from __future__ import annotations

import os
from typing import Any

import torch
from fake_learner import FakeConfig, FakeLearner
from torch import nn

from bellmark.agents.api import Schedule, Spec, State
from bellmark.envs.api import BatchedEnv
from bellmark.errors import UserError
from bellmark.train.worlds import spec_of


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(()))


class PortableLearner(FakeLearner):
    """Its actions are its weight, with a little noise."""

    schedule = Schedule(random_steps=0, pretrain=0, per_step=0.5)

    def __init__(self, spec: Spec) -> None:
        self.acting = Scale()
        super().__init__(spec)

    @property
    def weight(self) -> torch.Tensor:
        found: torch.Tensor = self.acting.weight
        return found

    @weight.setter
    def weight(self, value: torch.Tensor) -> None:
        self.acting.weight.copy_(value)

    def act(self, obs: torch.Tensor, first: torch.Tensor, state: State, **kwargs: Any) -> Any:
        return super().act(obs, first, state, **{**kwargs, "deterministic": True})


def build(worlds: int) -> tuple[BatchedEnv, PortableLearner]:
    env = FakeConfig().task.make(worlds)
    return env, PortableLearner(spec_of(env))


def crash(worlds: int) -> tuple[BatchedEnv, PortableLearner]:
    raise ZeroDivisionError("on purpose")


def refuse(worlds: int) -> tuple[BatchedEnv, PortableLearner]:
    raise UserError("no such thing")


def vanish(worlds: int) -> tuple[BatchedEnv, PortableLearner]:
    os._exit(7)
