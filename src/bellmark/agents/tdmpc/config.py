"""The configuration of the tdmpc family, assembled from the classes that live beside the code that reads them.

Defaults are TD-MPC2 as its official code runs it, but for the two of five values that its policy climbs (the recipe).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from bellmark.agents.api import Checkpoints, Collect, Doctor, Evaluation, rows_at_evaluations
from bellmark.agents.tdmpc import names
from bellmark.agents.tdmpc.auxiliary import Joint, NoAuxiliary, Separate
from bellmark.agents.tdmpc.improvement import Gradient, PolicyLearning
from bellmark.agents.tdmpc.model import ActionValue, Clipped, Model
from bellmark.agents.tdmpc.planning import Lazy, Never, Planner
from bellmark.agents.tdmpc.schedules import Cadence, Fixed, Heuristic, Optimizer
from bellmark.agents.tdmpc.targets import Imagined, Replayed
from bellmark.config import Config, knob, option, part
from bellmark.envs.cartpole import CartPole
from bellmark.envs.custom import Custom
from bellmark.envs.dmc import Dmc
from bellmark.envs.humanoid import H1
from bellmark.envs.maniskill import ManiSkill
from bellmark.envs.pick_cube import PickCube
from bellmark.envs.probe import Probe

OFFICIAL = "tdmpc2 config.yaml"


class Judged(Evaluation):
    """Few episodes, as planning is dear; only as the official code judges."""

    every: int = knob(
        50_000, "agent steps between evaluations; also before the first and after the last", source=OFFICIAL, ge=1
    )
    episodes: int = knob(10, "episodes per evaluation, each from its own fixed start state", source=OFFICIAL, ge=1)
    sampled: bool = knob(False, "judge the collecting mode too")


class Collecting(Collect):
    """One world, its episodes learned from once they are over."""

    insert_every: int = knob(
        -1,
        "agent steps after which a running episode's rows can be drawn; -1: only when it has ended",
        source=OFFICIAL,
        ge=-1,
    )
    random_steps: int = knob(
        -1, "agent steps of random actions first; -1: five episodes, at least 1000", source=OFFICIAL, ge=-1
    )
    pretrain: int = knob(-1, "updates at once when they are over; -1: as many as random steps", source=OFFICIAL, ge=-1)


class Slices(Config):
    """What an update learns from."""

    size: int = knob(256, "slices", source=OFFICIAL, ge=1)
    horizon: int = knob(3, "T, steps of a slice", source=OFFICIAL, ge=1)
    hot: int = knob(0, "slices of these that are drawn from the newest rows", source="user's hot buffer", ge=0)
    hot_rows: int = knob(10_000, "how many rows count as the newest", unit="rows", ge=1)
    rollout_heads: Literal["single", "concat", "split"] = knob(
        "single",
        "of several dynamics heads' rollouts values and policy learn at the first one's, at all, or each slice at one",
        source="user's rollout_head_strategy",
    )


class Loss(Config):
    """Weights of the world model's terms."""

    consistency: float = knob(20.0, "of predicted latents", source=OFFICIAL, ge=0)
    encoder: float = knob(0.0, "of encoded observations towards predicted latents", ge=0)
    encoder_from: float = knob(0.0, "where the latter sets in", unit="share of the run", ge=0, le=1)
    reward: float = knob(0.1, "of predicted rewards", source=OFFICIAL, ge=0)
    value: float = knob(0.1, "of values", source=OFFICIAL, ge=0)
    termination: float = knob(1.0, "of predicted ends, where the model has them", source=OFFICIAL, ge=0)
    rho: float = knob(0.5, "weight of a step relative to the one before it", source=OFFICIAL, gt=0, le=1)
    over_time: Literal["mean", "unit", "unit_mean"] = knob(
        "mean",
        "steps weigh rho^t / T, rho^t / sum rho, or the latter / T (the user's normalize_rho_weights)",
        source="tdmpc2.py; bmpc-jax: unit",
    )


class Tdmpc(Config):
    """A run of the tdmpc family."""

    family: ClassVar[str] = "tdmpc"
    headline: ClassVar[str] = "eval/return"  # by which checkpoints are called best

    task: PickCube | ManiSkill | Dmc | H1 | CartPole | Custom | Probe = option(
        Dmc(), "what is to be learned", scope="model"
    )
    seed: int = knob(1, "seeds parameters, plans, minibatches and the training start states", ge=0, lt=2**32)
    steps: int = knob(500_000, "agent steps to train for", ge=1)
    precision: Literal["single", "half", "bfloat16"] = knob(
        "single",
        "of the factors of matrix products, in plans and learning alike; half: on processors with AVX-512 FP16, off by "
        "1.2e-3 of a typical element; bfloat16: with AVX-512 BF16 or AMX, off by 2.3e-3; other processors: single; "
        "CUDA devices: TF32 and bfloat16",
    )
    model: Model = part(Model(), "the networks")
    discount: Heuristic | Fixed = option(Heuristic(), "discount per agent step")
    planner: Planner = part(Planner(), "how actions are chosen")
    reanalysis: Never | Lazy = option(Never(), "what keeps replayed plans fresh")
    target: Replayed | Imagined = option(Replayed(), "what values regress to")
    auxiliary: NoAuxiliary | Joint | Separate = option(NoAuxiliary(), "values of other discounts", scope="model")
    policy: PolicyLearning = part(PolicyLearning(), "how the policy learns")
    loss: Loss = part(Loss(), "weights of the world model's terms")
    slices: Slices = part(Slices(), "what an update learns from")
    cadence: Cadence = part(Cadence(), "how often each part learns")
    optimizer: Optimizer = part(Optimizer(), "the optimisers")
    collect: Collecting = part(Collecting(), "how replay is filled")
    evaluation: Judged = part(Judged(), "how the agent is judged")
    checkpoints: Checkpoints = part(Checkpoints(), "what is kept on disk")
    doctor: Doctor = part(Doctor(), "what a critical finding does")

    @classmethod
    def translate(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings under the users' names (`names.py`) as ours."""
        return names.translate(settings)

    @classmethod
    def words(cls) -> Collection[str]:
        """The users' names."""
        return names.NAMES.keys()

    def follows_length(self) -> list[str]:
        """The settings that make a run of another length another one from its first step on."""
        entropy, optimizer, loss = self.policy.entropy, self.optimizer, self.loss
        changes = {
            "policy.entropy": entropy.at(0) != entropy.at(1),
            "optimizer.encoder_step_at, encoder_frozen_at": optimizer.encoder_factor(0) != optimizer.encoder_factor(1),
            "loss.encoder_from": loss.encoder > 0 and loss.encoder_from > 0,
        }
        return [name for name, varies in changes.items() if varies]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if isinstance(self.task, CartPole) and self.task.action == "discrete":
            raise ValueError("the tdmpc family plans continuous actions: set task.action=continuous")
        if getattr(self.task, "observation", "state") == "pixels":
            raise ValueError("the tdmpc family learns from states: set task.observation=state")
        acts = isinstance(self.model.critic, ActionValue)
        plans = not isinstance(self.policy.improvement, Gradient)
        if acts and isinstance(self.target, Imagined):
            raise ValueError("target=imagined needs values of states: set model.critic=state, or target=replayed")
        if plans and not isinstance(self.model.policy, Clipped):
            raise ValueError(
                f"policy.improvement={self.policy.improvement.kind} compares the policy with plans, which needs "
                "model.policy=clipped"
            )
        if isinstance(self.reanalysis, Lazy) and not plans:
            raise ValueError(
                "reanalysis=lazy renews plans that nothing reads: set policy.improvement=distillation, or "
                "reanalysis=never"
            )
        if isinstance(self.reanalysis, Never) and getattr(self.policy.improvement, "initial", "") == "replan":
            raise ValueError("policy.improvement.initial=replan plans with reanalysis' settings: set reanalysis=lazy")
        if getattr(self.auxiliary, "learn_from", "") == "imagined":
            if not isinstance(self.target, Imagined):
                raise ValueError("auxiliary.learn_from=imagined needs target=imagined")
            if self.target.horizon > 1:
                raise ValueError(
                    f"auxiliary.learn_from=imagined needs target.horizon=1, not {self.target.horizon}: what the target "
                    "imagines beyond a step is discounted by the main discount"
                )
        self._within_bounds()
        self._plans_to_draw("planner", self.planner.samples, self.planner.policy_plans, self.planner.elites)
        if isinstance(self.reanalysis, Lazy):
            plans_again = self.reanalysis.policy_plans
            self._plans_to_draw(
                "reanalysis",
                self.reanalysis.samples or self.planner.samples,
                self.planner.policy_plans if plans_again < 0 else plans_again,
                self.reanalysis.elites or self.planner.elites,
            )
        rows_at_evaluations(self.collect, self.evaluation)
        if self.slices.hot > self.slices.size:
            raise ValueError(f"slices.hot={self.slices.hot} is more than slices.size={self.slices.size}")
        return self

    def _within_bounds(self) -> None:
        """Numbers that others bound."""
        planner, policy = self.planner, self.model.policy
        bounds = [
            ("planner.min_std", planner.min_std, "planner.max_std", planner.max_std),
            ("model.policy.log_std_min", policy.log_std_min, "model.policy.log_std_max", policy.log_std_max),
        ]
        if isinstance(self.discount, Heuristic):
            bounds.append(("discount.low", self.discount.low, "discount.high", self.discount.high))
        for key, value, limit, most in bounds:
            if value > most:
                raise ValueError(f"{key}={value:g} is more than {limit}={most:g}")
        for gamma in getattr(self.auxiliary, "gammas", ()):
            if not 0 < gamma < 1:
                raise ValueError(f"auxiliary.gammas: {gamma:g} is no discount between 0 and 1")

    def _plans_to_draw(self, where: str, samples: int, policy_plans: int, elites: int) -> None:
        within = self.planner.policy_plans_are == "within"
        if within and policy_plans >= samples:
            raise ValueError(
                f"{where}.policy_plans={policy_plans} leaves none of {where}.samples={samples} to be drawn; take "
                "fewer, or planner.policy_plans_are=beside"
            )
        scored = samples if within else samples + policy_plans
        if elites > scored:
            raise ValueError(f"{where}.elites={elites} is more than the {scored} plans that an iteration scores")
