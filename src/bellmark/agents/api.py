"""The small protocols between an agent and the loop that runs it, and the settings every family's run has in common.

Two kinds of agent: one whose loop *is* its algorithm (finetune) implements `Agent` itself; one that learns from replay
(tdmpc, dreamer) implements `Learner` and rides `train/online.py`, which makes an `Agent` of it. The policy that a run
evaluates, films and stores is the same protocol for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from bellmark.config import Choice, Config, knob, option
from bellmark.errors import UserError, unknown

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Metrics = dict[str, float]
State = dict[str, "Tensor"]  # what a policy carries from step to step, worlds first; {} for nothing
Watch = Callable[[float], None]  # told what share of some work is done; raises where the run is asked to stop
# A checkpoint's name, and which one of a run folder, to its state; refuses another model family.
Load = Callable[[str, Literal["last", "best"]], Mapping[str, Any]]


def nobody(share: float) -> None:
    """Watches nothing."""


class Never(Choice):
    """The run goes on to its last step."""

    kind: Literal["never"] = "never"

    def count(self, former: int, judged: Mapping[str, float]) -> int:
        """Nothing counts."""
        return 0

    def reason(self, count: int) -> str:
        """None."""
        return ""


class AtLevel(Choice):
    """The run is done once evaluations in a row have reached a level."""

    kind: Literal["at_level"] = "at_level"
    metric: str = knob("eval/return", "metric of an evaluation, never one of training episodes")
    level: float = knob(475.0, "reached when the metric is at least this", source="CartPole-v1: solved")
    evaluations: int = knob(1, "evaluations in a row", ge=1)

    def count(self, former: int, judged: Mapping[str, float]) -> int:
        """How many evaluations in a row have reached the level, `judged` included.

        Raises:
            UserError: evaluations have no such metric.
        """
        if self.metric not in judged:
            raise UserError(f"evaluation.stop.metric: {unknown('metric', self.metric, judged)}")
        return former + 1 if judged[self.metric] >= self.level else 0

    def reason(self, count: int) -> str:
        """Why the run is over; empty while it is not."""
        if count < self.evaluations:
            return ""
        return f"stopped early: {self.metric} reached {self.level:g} in {count} evaluation{'s' * (count > 1)} in a row"


class Evaluation(Config):
    """When and how a policy is judged: fixed start states, first episodes only, deterministic and sampled actions."""

    every: int = knob(
        5_000, "real environment steps between evaluations; also before the first and after the last", ge=1
    )
    episodes: int = knob(128, "episodes per evaluation and mode, each from its own fixed start state", ge=1)
    seed: int = knob(90_001, "seed of the start states, shared by all runs so that evaluations are paired", ge=0)
    sampled: bool = knob(True, "judge sampled actions too, beside deterministic ones")
    stop: Never | AtLevel = option(Never(), "whether a good enough evaluation ends the run early")


class Checkpoints(Config):
    """What is kept on disk besides the last and the best checkpoint."""

    seconds: float = knob(
        15.0, "save when this much time has passed, and so much that saving takes 3% of it at most", unit="s", ge=0
    )
    every: int = knob(0, "also keep one each time this many real steps have passed; 0 keeps last and best only", ge=0)


class Inline(Choice):
    """In turns with the updates, in the learner's process: the same seed gives the same run, bit for bit."""

    kind: Literal["inline"] = "inline"


class Processes(Choice):
    """Beside the updates, in processes of their own that play a copy of the policy."""

    kind: Literal["processes"] = "processes"
    count: int = knob(0, "processes, which share the worlds evenly; 0: one per world", ge=0)
    ahead: int = knob(
        32, "steps that each world may be ahead of the learner; beyond that its process waits", unit="steps", ge=1
    )
    push_every: int = knob(5, "updates between hand-overs of the weights", source="user's steps_per_weight_sync", ge=1)
    swap: Literal["episode", "step"] = knob(
        "episode",
        "new weights are taken up between episodes (one world per process), or between steps, where a running "
        "episode's recurrent state comes from older ones, as in the inline loop",
    )


class Doctor(Config):
    """What happens when the doctor, asked after every evaluation, finds something critical."""

    on_critical: Literal["say", "stop"] = knob(
        "say", "a line on the screen and in log.txt, or an early end with a checkpoint and the reason"
    )


class Collect(Config):
    """How an agent that learns from replay fills it."""

    envs: int = knob(1, "worlds stepped together while the learner updates", ge=1)
    capacity: int = knob(1_000_000, "rows of replay, all worlds together; the oldest leave first", unit="rows", ge=1)
    insert_every: int = knob(
        1, "agent steps after which a running episode's rows can be drawn; -1: only when it has ended", ge=-1
    )
    log_every: int = knob(500, "agent steps between rows of the record", ge=1)
    where: Inline | Processes = option(Inline(), "where worlds are stepped")


def rows_at_evaluations(collect: Collect, evaluation: Evaluation) -> None:
    """Of an agent that learns from replay, whose evaluations fall on rows of its record.

    Raises:
        ValueError: they do not.
    """
    rows, every = collect.log_every, evaluation.every
    if every % rows:
        raise ValueError(f"evaluation.every={every} must be a multiple of collect.log_every={rows}")
    if rows % collect.envs:
        raise ValueError(f"collect.log_every={rows} must be a multiple of collect.envs={collect.envs}")


class Spec(NamedTuple):
    """What a learner must know of its task."""

    obs_shape: tuple[int, ...]  # (O,) or (height, width, 3)
    pixels: bool  # observations are uint8 pictures, else float32
    actions: int  # dimensions of a continuous action in [-1, 1], or the number of choices
    discrete: bool  # actions are one-hot choices
    horizon: int  # agent steps until truncation
    action_repeat: int  # simulator steps per agent step


class Decision(NamedTuple):
    """What a policy answers to a batch of observations."""

    action: Tensor  # (B, A): in [-1, 1] (whoever steps the environment clips), or one-hot choices
    state: State
    extras: Mapping[str, Tensor] = {}  # (B, ...) what replay keeps beside the action: a plan, latents


class Policy(Protocol):
    """What an evaluation and a collector need of an agent."""

    def initial(self, worlds: int) -> State:
        """The state of worlds that have not begun."""
        ...

    def act(
        self, obs: Tensor, first: Tensor, state: State, *, deterministic: bool, generator: torch.Generator
    ) -> Decision:
        """Act in B worlds: observations (B, *obs), `first` (B,) bool where an episode begins, state of B worlds.

        Observations and `first` come from the host, wherever the policy computes. `deterministic` is how the policy is
        judged, its opposite how it collects.
        """
        ...


class Agent(Protocol):
    """What the run loop relies on."""

    step: int  # real environment steps so far
    total: int  # at which training is done

    @property
    def gamma(self) -> float:
        """The discount per agent step of its values."""
        ...

    @property
    def policy(self) -> Policy:
        """The policy as it is now."""
        ...

    def prepare(self, watch: Watch = nobody) -> Metrics:
        """What is learned before the first step of a new run, apart from it; the metrics of that."""
        ...

    def iterate(self) -> Metrics:
        """Do a piece of work; a row of metrics, or nothing where none is due yet."""
        ...

    def start_values(self, obs: Tensor) -> Tensor:
        """Discounted values (B,) of observations (B, *obs) in which episodes begin; empty where there are no values."""
        ...

    def steps_taken(self) -> Metrics:
        """The step counters of the metric vocabulary: `steps/real` and whatever else the family spends."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that decides the future: parameters, optimisers, random state, environments, counters."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue as the agent that was saved would have, bit for bit on the same machine."""
        ...


class Window(NamedTuple):
    """The batches a learner asks for."""

    batch: int  # B slices
    length: int  # T consecutive rows each
    whole: bool  # a slice lies inside one episode; else it may cross into the next, `first` says where
    fresh: bool = False  # every slice of rows 0..T-1, T..2T-1, ... is drawn once, when it is complete, before others
    hot: int = 0  # of the B slices, this many are drawn from the newest `hot_rows` rows
    hot_rows: int = 0
    lead_in: int = 0  # of the T rows, so many first ones only lead in: they do not count as replayed


class Schedule(NamedTuple):
    """When a learner's updates are due."""

    random_steps: int  # agent steps of uniformly random actions before the policy acts
    pretrain: int  # updates at once when they are over
    per_step: float  # updates per agent step from then on


class Batch(NamedTuple):
    """T consecutive rows of B slices, time first.

    Row t holds observation o_t, what arrived with it (`reward` r_t, 0 at a reset; `terminated`: o_t ends the task;
    `first`: o_t is a reset's) and the action a_t taken at it. An episode of k steps is k + 1 rows; its last row, the
    final observation, has the blank action. So a_t leads to reward[t + 1], terminated[t + 1] and obs[t + 1].
    """

    obs: Tensor  # (T, B, *obs) float32, or uint8 pictures
    action: Tensor  # (T, B, A)
    reward: Tensor  # (T, B)
    terminated: Tensor  # (T, B) bool
    first: Tensor  # (T, B) bool
    extras: Mapping[str, Tensor]  # (T, B, ...) columns the learner declared in `blank`
    rows: Tensor  # (T, B) int64, the rows' places in replay, for write-back


class Writeback(NamedTuple):
    """New values of K replay rows: reanalysed plans, fresh latents."""

    rows: Tensor  # (K,) int64, from `Batch.rows`
    values: Mapping[str, Tensor]  # (K, ...) per column


class Learner(Protocol):
    """An agent that learns from replay; built from (config, spec, device)."""

    @property
    def policy(self) -> Policy:
        """The policy as it is now."""
        ...

    @property
    def blank(self) -> Mapping[str, Tensor]:
        """The columns it wants stored beside an action: each column's value where no policy acted (random steps)."""
        ...

    @property
    def window(self) -> Window:
        """The batches it asks for."""
        ...

    @property
    def schedule(self) -> Schedule:
        """When its updates are due."""
        ...

    @property
    def gamma(self) -> float:
        """The discount per agent step of the values."""
        ...

    def start_values(self, obs: Tensor) -> Tensor:
        """Discounted values (B,) of observations (B, *obs) in which episodes begin."""
        ...

    def update(self, batch: Batch, step: int) -> tuple[Mapping[str, Tensor], Writeback | None]:
        """One update at agent step `step`: metrics as scalar tensors (not synchronised), and what replay takes back."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Parameters, optimisers, scales, counters, random state."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue as the learner that was saved would have."""
        ...


@runtime_checkable
class Heir(Protocol):
    """A learner whose configuration says what it takes from a stored one."""

    def begin(self, load: Load) -> str:
        """Take it, before the first step of a new run; returns a line that says what was taken and what learns."""
        ...


@runtime_checkable
class Portable(Protocol):
    """A learner whose policy can also play in other processes."""

    @property
    def acting(self) -> nn.Module:
        """All parameters and buffers that the policy computes with."""
        ...


class Behaviour(NamedTuple):
    """What a policy would do in N states: two of them tell how far it has moved."""

    mean: Tensor  # (N, A) means of continuous actions, or the probabilities of the choices
    std: Tensor  # (N, A) deviations; (N, 0) where actions are choices


class Instruments(Protocol):
    """A family's measurements on rows that nobody learns from; nothing here leaves a trace in the agent's future.

    The rows are whole beginnings of evaluation episodes: every slice starts at a reset.
    """

    def behaviour(self, rows: Batch) -> Behaviour:
        """What the policy would do in the rows' states."""
        ...

    def measure(self, rows: Batch) -> Mapping[str, Tensor]:
        """Scalars under the names of the metric vocabulary."""
        ...
