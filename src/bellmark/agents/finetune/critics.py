"""Critics: what values are learned, and how they are trained apart from the policy's minibatches.

Every critic is an option with `build` (its networks), `begin`, called once before the first step, for what is learned
from other policies' data, and `fit`, called whenever there is new data, before advantages are estimated. `Joint` also
learns in the policy's minibatches; how it may be given a head start is its `initial`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from bellmark.agents.api import Watch, nobody
from bellmark.config import Choice, knob, option

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from bellmark.agents.finetune.networks import ActionValues, ApartCritic, Critic, ZeroCritic
    from bellmark.agents.finetune.rollout import Rollout
    from bellmark.envs.api import Snapshot


class Gather(Protocol):
    """Rollouts of a stored policy."""

    def __call__(self, checkpoint: str, worlds: int, steps: int, start: Snapshot | None = None) -> Rollout:
        """From start states of its own, or from as many saved ones as there are worlds."""
        ...


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What a critic may learn from before the run's first step."""

    gather: Gather
    horizon: int  # control steps until an episode is truncated
    gamma: float
    generator: torch.Generator
    watch: Watch = nobody  # told how far it is before the first step


@dataclass(frozen=True, kw_only=True)
class Lesson(Preparation):
    """What a critic may learn from before advantages are estimated."""

    rollout: Rollout
    first: bool  # the first data of this run
    targets: Callable[[], Tensor]  # value targets (B,) of the advantage source under the critic as it is now


class ApartFromPolicy(Choice):
    """A critic that the policy's minibatches leave alone."""

    warmup_iterations: ClassVar[int] = 0

    def begin(self, critic: Any, given: Preparation) -> dict[str, float]:
        """Nothing before the run's own data."""
        return {}


class NoCritic(ApartFromPolicy):
    """No value network."""

    kind: Literal["none"] = "none"

    def build(self, dims: tuple[int, int], generator: torch.Generator) -> ZeroCritic:
        """Zeros for values."""
        from bellmark.agents.finetune.networks import ZeroCritic

        return ZeroCritic()

    def fit(self, critic: ZeroCritic, lesson: Lesson) -> dict[str, float]:
        """Nothing to learn."""
        return {}


class HeadStart(Choice):
    """What a critic knows before the first update."""

    def begin(self, critic: Critic, given: Preparation) -> dict[str, float]:
        """Learn before the run's first step; the metrics of it."""
        return {}

    def prepare(self, critic: Critic, lesson: Lesson) -> None:
        """Learn from new data, before advantages are estimated."""


class Fresh(HeadStart):
    """Random weights."""

    kind: Literal["fresh"] = "fresh"


class FromStart(HeadStart):
    """The critic in the start checkpoint, loaded with the policy."""

    kind: Literal["stored"] = "stored"


class Pretrained(HeadStart):
    """Regressed on Monte-Carlo returns of a stored policy before the run begins (the user's `pretrain_critic`).

    A return that the end of the data cuts off counts only what was seen.
    """

    kind: Literal["pretrained"] = "pretrained"
    expert: str = knob("pickcube_optimal", "checkpoint whose value function is learned")
    worlds: int = knob(512, "environments stepped together", source="user's pretrain_critic", ge=1)
    rollouts: int = knob(20, "rollouts of 50 steps", source="user's pretrain_critic", ge=1)
    epochs: int = knob(100, "passes over the data", source="user's pretrain_critic", ge=1)
    batch_size: int = knob(4096, "rows per gradient step", source="user's pretrain_critic", ge=1)
    lr: float = knob(1e-3, "learning rate", source="user's pretrain_critic", gt=0)

    def begin(self, critic: Critic, given: Preparation) -> dict[str, float]:
        """Collect with the expert and regress."""
        from bellmark.agents.finetune.transitions import fit, minibatches, transitions

        data = transitions(given.gather(self.expert, self.worlds, 50 * self.rollouts), given.gamma, 1, "bootstrap")
        rows = minibatches(len(data), self.batch_size, self.epochs, given.generator, given.watch)

        def loss(at: Tensor) -> Tensor:
            return critic.loss(data.obs_BO[at], data.return_B[at])

        return {"loss/value": fit(loss, list(critic.parameters()), rows, self.lr)}


class TdPretrained(HeadStart):
    """Regressed on n-step TD targets of the first rollout (the user's `td_pretrain_v`)."""

    kind: Literal["td"] = "td"
    when: Literal["first", "finetune", "retrain"] = knob(
        "first", "on the first rollout, on every one going on from the last, or on every one from random weights"
    )
    n: int = knob(1, "steps of reward before bootstrapping", source="user's td_nstep", ge=1)
    epochs: int = knob(200, "passes over the data", source="user's td_epochs", ge=1)
    batch_size: int = knob(256, "rows per gradient step", source="user's td_batch_size", ge=1)
    lr: float = knob(3e-4, "learning rate", source="user's learning_rate", gt=0)

    def prepare(self, critic: Critic, lesson: Lesson) -> None:
        """Regress on the rollout at hand, as often as `when` says."""
        from bellmark.agents.finetune.values import fit_td, reset

        if self.when == "first" and not lesson.first:
            return
        if self.when == "retrain":
            reset(critic, lesson.generator)
        fit_td(critic, lesson, self.n, self.epochs, self.batch_size, self.lr, ema=1.0)


class GaePretrained(HeadStart):
    """Alternately recompute the advantage source's value targets and regress, on the first rollout."""

    kind: Literal["targets"] = "targets"
    rounds: int = knob(10, "times that targets are recomputed", source="user's gae_pretrain_iters", ge=1)
    epochs: int = knob(100, "passes per round", source="user's gae_pretrain_epochs", ge=1)
    batch_size: int = knob(800, "rows per gradient step", ge=1)
    lr: float = knob(3e-4, "learning rate", source="user's learning_rate", gt=0)

    def prepare(self, critic: Critic, lesson: Lesson) -> None:
        """Regress in rounds, once."""
        if lesson.first:
            for _ in range(self.rounds):
                _to_targets(critic, lesson, self.epochs, self.batch_size, self.lr)


def _to_targets(critic: Critic, lesson: Lesson, epochs: int, batch_size: int, lr: float) -> None:
    """Regress values to the advantage source's targets as they are now."""
    from bellmark.agents.finetune.transitions import fit, minibatches

    target = lesson.targets()
    obs = lesson.rollout.obs_TNO.flatten(0, 1)
    rows = minibatches(len(obs), batch_size, epochs, lesson.generator)
    fit(lambda at: critic.loss(obs[at], target[at]), list(critic.parameters()), rows, lr)


class Joint(Choice):
    """A value network trained in the same minibatches as the policy."""

    kind: Literal["joint"] = "joint"
    hidden: int = knob(256, "width of a layer", scope="model", ge=1)
    layers: int = knob(3, "hidden layers", scope="model", ge=1)
    initial: Fresh | FromStart | Pretrained | TdPretrained | GaePretrained = option(
        Fresh(), "what the critic knows before the first update"
    )
    warmup_iterations: int = knob(0, "first iterations in which only the critic learns", ge=0)
    extra_epochs: int = knob(
        0, "passes over each rollout that regress values alone, before advantages are estimated", ge=0
    )
    extra_batch_size: int = knob(800, "rows per gradient step of those passes", ge=1)
    extra_lr: float = knob(3e-4, "learning rate of those passes", gt=0)

    def build(self, dims: tuple[int, int], generator: torch.Generator) -> Critic:
        """A fresh network."""
        from bellmark.agents.finetune.networks import Critic

        return Critic(dims[0], self.hidden, self.layers, generator)

    def begin(self, critic: Critic, given: Preparation) -> dict[str, float]:
        """The head start that another policy's data give."""
        return self.initial.begin(critic, given)

    def fit(self, critic: Critic, lesson: Lesson) -> dict[str, float]:
        """The head start that the data at hand give, then the extra passes."""
        self.initial.prepare(critic, lesson)
        if self.extra_epochs:
            _to_targets(critic, lesson, self.extra_epochs, self.extra_batch_size, self.extra_lr)
        return {}


class Td(ApartFromPolicy):
    """V by n-step TD towards a slow copy of itself, apart from the policy (the user's `td_ema` scripts)."""

    kind: Literal["td"] = "td"
    hidden: int = knob(256, "width of a layer", scope="model", ge=1)
    layers: int = knob(3, "hidden layers", scope="model", ge=1)
    n: int = knob(10, "steps of reward before bootstrapping", source="user's td_n", ge=1)
    epochs: int = knob(200, "passes over each new data", ge=1)
    batch_size: int = knob(256, "rows per gradient step", ge=1)
    lr: float = knob(3e-4, "learning rate", gt=0)
    ema: float = knob(0.005, "how far the slow copy moves per gradient step; 1 is no slow copy", gt=0, le=1)

    def build(self, dims: tuple[int, int], generator: torch.Generator) -> ApartCritic:
        """A fresh network that the policy's minibatches leave alone."""
        from bellmark.agents.finetune.networks import ApartCritic

        return ApartCritic(dims[0], self.hidden, self.layers, generator)

    def fit(self, critic: ApartCritic, lesson: Lesson) -> dict[str, float]:
        """TD regression on the data at hand, going on from the former weights."""
        from bellmark.agents.finetune.values import fit_td

        return fit_td(critic.v, lesson, self.n, self.epochs, self.batch_size, self.lr, ema=self.ema)


class Continued(ApartFromPolicy):
    """V of the policy that re-rollouts follow, from that policy's rollouts out of the states that were collected.

    What cut re-rollouts (`advantage.beyond`) need: values where the present policy goes, of the one that takes over.
    """

    kind: Literal["continued"] = "continued"
    checkpoint: str = knob("pickcube_optimal", "whose values; the same as `advantage.continuation.checkpoint`")
    starts: int = knob(1000, "collected states of each new data from which it goes on, spread evenly", ge=1)
    steps: int = knob(25, "control steps from each", ge=1)
    hidden: int = knob(256, "width of a layer", scope="model", ge=1)
    layers: int = knob(3, "hidden layers", scope="model", ge=1)
    epochs: int = knob(40, "passes over each new data", ge=1)
    batch_size: int = knob(512, "rows per gradient step", ge=1)
    lr: float = knob(1e-3, "learning rate", gt=0)
    ema: float = knob(0.05, "how far the slow copy that values the end of the data moves per gradient step", gt=0, le=1)

    def build(self, dims: tuple[int, int], generator: torch.Generator) -> ApartCritic:
        """A fresh network that the policy's minibatches leave alone."""
        from bellmark.agents.finetune.networks import ApartCritic

        return ApartCritic(dims[0], self.hidden, self.layers, generator)

    def fit(self, critic: ApartCritic, lesson: Lesson) -> dict[str, float]:
        """Regress on returns to the end of each episode, or of the data with the slow copy's value beyond it."""
        from bellmark.agents.finetune.rerollout import spread
        from bellmark.agents.finetune.values import fit_td

        saved = lesson.rollout.snapshots
        every = type(saved[0]).concatenate(saved)
        start = every.take(spread(len(every), min(1.0, self.starts / len(every))).numpy())
        seen = replace(lesson, rollout=lesson.gather(self.checkpoint, len(start), self.steps, start))
        return fit_td(critic.v, seen, self.steps, self.epochs, self.batch_size, self.lr, ema=self.ema)


class OwnData(Choice):
    """The run's own rollouts."""

    kind: Literal["own"] = "own"

    def before(self, given: Preparation) -> list[Rollout]:
        """None before the first step."""
        return []

    def new(self, lesson: Lesson) -> list[Rollout]:
        """The data that the policy learns from."""
        return [lesson.rollout]


class Collected(Choice):
    """Rollouts of stored policies, collected before the first step: Q and V are learned once, then kept."""

    kind: Literal["collected"] = "collected"
    checkpoints: tuple[str, ...] = knob(
        ("pickcube_weak", "pickcube_medium", "pickcube_optimal"), "whose rollouts", source="user's iql_data_checkpoints"
    )
    episodes: int = knob(200, "worlds per checkpoint, each for one horizon of steps", source="user's log", ge=1)

    def before(self, given: Preparation) -> list[Rollout]:
        """At least `episodes` episodes of each; what the horizon cuts off stays as a piece without an end."""
        return [given.gather(name, self.episodes, given.horizon) for name in self.checkpoints]

    def new(self, lesson: Lesson) -> list[Rollout]:
        """Nothing is new once the run has begun."""
        return []


class Iql(ApartFromPolicy):
    """Implicit Q-learning (Kostrikov et al. 2021): expectile V, TD Q; the user's networks are one Q and one V."""

    kind: Literal["iql"] = "iql"
    hidden: int = knob(256, "width of a layer", scope="model", ge=1)
    layers: int = knob(3, "hidden layers", scope="model", ge=1)
    twins: int = knob(1, "Q networks; 2 takes the smaller (the paper)", scope="model", ge=1, le=2)
    expectile: float = knob(
        0.7, "1/2 is the mean, towards 1 the best action in the data", source="IQL eq. 5", gt=0, lt=1
    )
    n: int = knob(1, "steps of reward before bootstrapping", source="user's iql_nstep", ge=1)
    epochs: int = knob(200, "passes over each new data", source="user's iql_epochs", ge=1)
    batch_size: int = knob(256, "rows per gradient step", source="user's iql_batch_size", ge=1)
    lr: float = knob(3e-4, "learning rate, to a thirtieth by a cosine", source="user's iql_lr", gt=0)
    weight_decay: float = knob(1e-4, "Adam's decay of weights", source="user's iql scripts", ge=0)
    polyak: float = knob(0.005, "how far the slow Q moves per gradient step", source="IQL table 3", gt=0, le=1)
    time_limit: Literal["bootstrap", "terminal"] = knob(
        "bootstrap", "what a time limit is; the user's scripts count it as an end of the task"
    )
    select: Literal["last", "return_correlation", "td_loss"] = knob(
        "last",
        "which epoch's networks are kept: the last, the one whose Q best ranks the returns of held-out rows, or the "
        "one of least held-out TD loss (the user's scripts; under sparse reward it prefers those that learned little)",
    )
    patience: int = knob(50, "epochs without a better held-out score after which training ends", ge=1)
    data: OwnData | Collected = option(OwnData(), "what Q and V are learned from")
    weights: Literal["keep", "reset"] = knob("keep", "from where new data goes on: the former weights or random ones")

    def build(self, dims: tuple[int, int], generator: torch.Generator) -> ActionValues:
        """Fresh networks."""
        from bellmark.agents.finetune.networks import ActionValues

        return ActionValues(dims, self.hidden, self.layers, self.twins, generator)

    def begin(self, critic: ActionValues, given: Preparation) -> dict[str, float]:
        """Train Q and V on other policies' data."""
        return self._train(critic, self.data.before(given), given)

    def fit(self, critic: ActionValues, lesson: Lesson) -> dict[str, float]:
        """Train Q and V on the run's data."""
        return self._train(critic, self.data.new(lesson), lesson)

    def _train(self, critic: ActionValues, data: list[Rollout], given: Preparation) -> dict[str, float]:
        from bellmark.agents.finetune.iql import train

        return train(self, critic, data, given) if data else {}


class Returns(ApartFromPolicy):
    """Q and V regressed on Monte-Carlo returns (the user's `sarsa_finetune`)."""

    kind: Literal["returns"] = "returns"
    hidden: int = knob(256, "width of a layer", scope="model", ge=1)
    layers: int = knob(3, "hidden layers", scope="model", ge=1)
    epochs: int = knob(50, "passes over each new data", ge=1)
    batch_size: int = knob(256, "rows per gradient step", ge=1)
    lr: float = knob(3e-4, "learning rate", gt=0)

    def build(self, dims: tuple[int, int], generator: torch.Generator) -> ActionValues:
        """Fresh networks."""
        from bellmark.agents.finetune.networks import ActionValues

        return ActionValues(dims, self.hidden, self.layers, 1, generator)

    def fit(self, critic: ActionValues, lesson: Lesson) -> dict[str, float]:
        """Regress on the data at hand, going on from the former weights."""
        from bellmark.agents.finetune.values import fit_returns

        return fit_returns(critic, lesson, self.epochs, self.batch_size, self.lr)
