"""The configuration of the finetune family, assembled from the classes that live beside the code that reads them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from bellmark.agents.api import Checkpoints, Doctor, Evaluation
from bellmark.agents.finetune.advantages import Faithful, Gae, MonteCarlo, QMinusV, Random, Reversed
from bellmark.agents.finetune.allocation import Needed
from bellmark.agents.finetune.branches import Branch, Nothing, TimestepMean
from bellmark.agents.finetune.critics import Continued, FromStart, Iql, Joint, NoCritic, Returns, Td
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
    seed: int = knob(1, "seeds parameters, action noise, minibatch order and the training start states", ge=0)
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

    @model_validator(mode="after")
    def _consistent(self) -> Finetune:
        batch = self.collect.envs * self.collect.steps
        if self.steps < batch:
            raise ValueError(f"steps={self.steps} is less than one iteration (collect.envs x collect.steps = {batch})")
        for refuse, reason in self._refusals():
            if refuse:
                raise ValueError(reason)
        return self

    def _refusals(self) -> list[tuple[bool, str]]:
        """Combinations that make no sense, each with the reason."""
        branching = isinstance(self.advantage, Branch | TimestepMean)
        source = f"advantage={self.advantage.kind}"
        no_values = isinstance(self.critic, NoCritic)
        stored = isinstance(self.critic, Joint) and isinstance(self.critic.initial, FromStart)
        return [
            (
                no_values and isinstance(self.advantage, Gae | MonteCarlo),
                f"{source} needs a value network: set critic=joint, or advantage=branch",
            ),
            (
                isinstance(self.advantage, QMinusV) and not isinstance(self.critic, Iql | Returns),
                f"{source} needs a critic with action values: set critic=iql or critic=returns",
            ),
            (stored and isinstance(self.start, Scratch), "critic.initial=stored needs start=stored"),
            (
                isinstance(self.update, Ppo | Pg) and isinstance(self.data, Offline),
                f"update={self.update.kind} is for data of the policy itself, and data=offline is another policy's: "
                "use update=awr, recap or filtered_bc",
            ),
            (
                isinstance(self.critic, Continued) and not branching,
                f"critic=continued starts from saved states, and {source} saves none: use advantage=branch",
            ),
            (
                isinstance(self.critic, Continued) and isinstance(self.data, Offline | Replay),
                f"critic=continued goes on from the states of one rollout, not of data={self.data.kind}",
            ),
            (
                no_values and isinstance(self.advantage, Branch) and not isinstance(self.advantage.beyond, Nothing),
                "advantage.beyond needs values of the continuation: set critic=continued",
            ),
            (
                isinstance(self.advantage, Branch)
                and isinstance(self.advantage.allocation, Needed)
                and not self.advantage.n_q == self.advantage.n_v >= self.advantage.allocation.pilot,
                "advantage.allocation=needed shares pairs out: n_q and n_v must be equal, and at least its pilot",
            ),
            (
                isinstance(self.advantage, TimestepMean) and not isinstance(self.data, Iterate | Once),
                f"{source} compares environments at the same time of one rollout: use data=iterate or data=once",
            ),
            (
                branching and isinstance(self.data, Replay),
                f"{source} would re-roll every kept rollout again at every iteration: use data=iterate or data=once",
            ),
            (
                isinstance(self.advantage, Branch | TimestepMean)
                and isinstance(self.task, ManiSkill)
                and self.task.simulator == "cpu"
                and self.advantage.worlds > MOST,
                f"advantage.worlds={getattr(self.advantage, 'worlds', 0)} is too many for task=maniskill, where each "
                f"is a PhysX scene of its own (at most {MOST}): set advantage.worlds=512, which changes no result",
            ),
            (
                branching and self.reward_scale != 1,
                f"reward_scale={self.reward_scale} is for learned values; {source} simulates its own",
            ),
        ]
