"""The configuration of the finetune family, assembled from the classes that live beside the code that reads them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from bellmark.agents.api import Checkpoints, Doctor, Evaluation
from bellmark.agents.finetune.advantages import Faithful, Gae, MonteCarlo, QMinusV, Random, Reversed
from bellmark.agents.finetune.branches import Branch, TimestepMean
from bellmark.agents.finetune.critics import Continued, Iql, Joint, NoCritic, Returns, Td
from bellmark.agents.finetune.refusals import refusals
from bellmark.agents.finetune.schedules import Iterate, Offline, Once, Replay
from bellmark.agents.finetune.updates import Awr, FilteredBc, Pg, Ppo, Recap
from bellmark.config import Choice, Config, knob, option, part
from bellmark.envs.cartpole import CartPole
from bellmark.envs.custom import Custom
from bellmark.envs.dmc import Dmc
from bellmark.envs.humanoid import H1
from bellmark.envs.maniskill import MOST, ManiSkill
from bellmark.envs.pick_cube import PickCube
from bellmark.envs.probe import Probe


class Scratch(Choice):
    """A fresh policy."""

    kind: Literal["scratch"] = "scratch"
    log_std: float = knob(-0.5, "initial spread of the policy", unit="log action units", source="ManiSkill ppo.py")


class Stored(Choice):
    """A stored policy to improve."""

    kind: Literal["stored"] = "stored"
    checkpoint: str = knob("pickcube_weak", "shipped checkpoint, run folder or checkpoint file")
    max_log_std: float = knob(
        10.0,
        "the loaded policy's spread is cut to at most this, so that what is improved is skill, not action noise; "
        "the default changes nothing",
        unit="log action units",
        source="user's later work: -1.5",
    )


class PolicyNet(Config):
    """The actor's network."""

    hidden: int = knob(256, "width of a layer", source="ManiSkill ppo.py", scope="model", ge=1)
    layers: int = knob(3, "hidden layers", source="ManiSkill ppo.py", scope="model", ge=1)


class Collect(Config):
    """One iteration's data."""

    envs: int = knob(512, "environments stepped together", ge=1)
    steps: int = knob(50, "control steps per environment and iteration", ge=1)


class Adam(Config):
    """The optimiser, kept across iterations."""

    lr: float = knob(3e-4, "learning rate", source="ManiSkill ppo.py", gt=0)
    eps: float = knob(1e-5, "denominator offset", source="ManiSkill ppo.py", gt=0)
    max_grad_norm: float = knob(0.5, "the gradient of policy and critic together is cut to this norm", gt=0)


class Finetune(Config):
    """A run of the finetune family."""

    family: ClassVar[str] = "finetune"
    headline: ClassVar[str] = "eval/success"  # by which checkpoints are called best

    task: PickCube | ManiSkill | Dmc | H1 | CartPole | Custom | Probe = option(
        PickCube(), "what is to be learned", scope="model"
    )
    seed: int = knob(1, "seeds parameters, action noise, minibatch order and the training start states", ge=0, lt=2**32)
    steps: int = knob(
        50_000,
        "iterations x collect.envs x collect.steps, rounded down: where data is new at every iteration, the real "
        "environment steps to train for (steps/real counts those in any case)",
        ge=1,
    )
    start: Scratch | Stored = option(Scratch(), "where the policy comes from")
    policy: PolicyNet = part(PolicyNet(), "the actor's network")
    collect: Collect = part(Collect(), "one iteration's data")
    data: Iterate | Once | Replay | Offline = option(Iterate(), "what each iteration learns from")
    gamma: float = knob(0.8, "discount per control step", source="ManiSkill baselines, PickCube", gt=0, lt=1)
    reward_scale: float = knob(1.0, "factor of rewards before values and advantages", source="user's log", gt=0)
    critic: NoCritic | Joint | Td | Continued | Iql | Returns = option(
        Joint(), "what values are learned, and how", scope="model"
    )
    advantage: Gae | MonteCarlo | QMinusV | Branch | TimestepMean = option(
        Gae(), "what decides which actions were better than expected"
    )
    control: Faithful | Random | Reversed = option(Faithful(), "advantages as estimated, or a control in their place")
    update: Ppo | Awr | Recap | Pg | FilteredBc = option(Ppo(), "how advantages move the policy")
    optimizer: Adam = part(Adam(), "the optimiser")
    evaluation: Evaluation = part(Evaluation(), "how the policy is judged")
    checkpoints: Checkpoints = part(Checkpoints(), "what is kept on disk")
    doctor: Doctor = part(Doctor(), "what a critical finding does")

    def follows_length(self) -> list[str]:
        """The settings that make a run of another length another one from its first step on: none here."""
        return []

    @model_validator(mode="after")
    def _consistent(self) -> Finetune:
        batch = self.collect.envs * self.collect.steps
        if self.steps < batch:
            raise ValueError(f"steps={self.steps} is less than one iteration (collect.envs x collect.steps = {batch})")
        for refuse, reason in refusals(self):
            if refuse:
                raise ValueError(reason)
        worlds = self.advantage.worlds if isinstance(self.advantage, Branch | TimestepMean) else 0
        if isinstance(self.task, ManiSkill) and self.task.simulator == "cpu" and worlds > MOST:
            raise ValueError(
                f"advantage.worlds={worlds} is too many for task=maniskill, where each is a PhysX scene of its own "
                f"(at most {MOST}): set advantage.worlds=512, which changes no result"
            )
        return self
