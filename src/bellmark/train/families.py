"""The agent families as the run loop sees them: from a configuration to an agent, from a checkpoint to a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from bellmark.agents.api import (
    Agent,
    Checkpoints,
    Doctor,
    Evaluation,
    Heir,
    Instruments,
    Learner,
    Load,
    Policy,
    Processes,
)
from bellmark.agents.finetune.config import Finetune
from bellmark.config import build
from bellmark.envs.api import BatchedEnv
from bellmark.errors import UserError
from bellmark.records import CheckpointStore
from bellmark.train import checkpoint
from bellmark.train.worlds import spec_of

if TYPE_CHECKING:
    from bellmark.train.online import MakePlayers

REPLAY = "replay"  # the folder of a run's journal
CONFIGS = {
    "finetune": "bellmark.agents.finetune.config:Finetune",
    "tdmpc": "bellmark.agents.tdmpc.config:Tdmpc",
    "dreamer": "bellmark.agents.dreamer.config:Dreamer",
}
LEARNERS = {  # the families that learn from replay; imported when one is asked for
    "tdmpc": "bellmark.agents.tdmpc.agent:TdmpcAgent",
    "dreamer": "bellmark.agents.dreamer.agent:DreamerAgent",
}

INSTRUMENTS = {  # what can be measured of a family beside its evaluations
    "finetune": "bellmark.agents.finetune.instruments:FinetuneInstruments",
    "tdmpc": "bellmark.agents.tdmpc.instruments:TdmpcInstruments",
    "dreamer": "bellmark.agents.dreamer.instruments:DreamerInstruments",
}


class Task(Protocol):
    """A configuration that can make its own worlds."""

    def make(self, num_envs: int, threads: int = 1) -> BatchedEnv:
        """n worlds stepped on at most `threads` threads."""
        ...


class RunConfig(Protocol):
    """What every family's configuration has."""

    family: ClassVar[str]
    headline: ClassVar[str]  # by which checkpoints are called best

    @property
    def task(self) -> Task: ...
    @property
    def evaluation(self) -> Evaluation: ...
    @property
    def checkpoints(self) -> Checkpoints: ...
    @property
    def doctor(self) -> Doctor: ...
    def tree(self) -> dict[str, Any]: ...
    def follows_length(self) -> list[str]: ...


def read_config(family: str, tree: Mapping[str, Any]) -> RunConfig:
    """The configuration of a stored tree.

    Raises:
        UserError: a tree that no longer fits its family.
    """
    config: RunConfig = build(_named(CONFIGS[family]), tree)
    return config


def make_agent(
    config: RunConfig, folder: Path, threads: int, device: str, say: Callable[[str], None] = lambda line: None
) -> Agent:
    """The agent of a configuration, in the run folder `folder`; a new run's `say`s what it took from a stored one.

    Raises:
        UserError: a start checkpoint of another model family, a task that the family cannot learn.
    """
    if isinstance(config, Finetune):
        from bellmark.agents.finetune.agent import FinetuneAgent

        return FinetuneAgent(config, load_start(config), threads)
    from bellmark.train.online import Online

    online: Any = config
    env = online.task.make(online.collect.envs, threads)
    learner = make_learner(config, env, device)
    if isinstance(learner, Heir) and CheckpointStore(folder / "checkpoints").last() is None:
        say(learner.begin(load_heirloom(online)))
    return Online(online, learner, env, folder / REPLAY, device, players(online, learner))


def players(config: Any, learner: Learner) -> MakePlayers:
    """What steps the worlds of an online run."""
    from bellmark.train.collectors import Collectors
    from bellmark.train.worlds import Worlds

    where = config.collect.where
    return partial(Collectors, where, learner, partial(rebuild, config)) if isinstance(where, Processes) else Worlds


def rebuild(config: Any, worlds: int) -> tuple[BatchedEnv, Learner]:
    """n worlds of a configuration and a learner for them, in a process of their own."""
    env = config.task.make(worlds)
    return env, make_learner(config, env, "cpu")


def make_learner(config: RunConfig, env: BatchedEnv, device: str) -> Learner:
    """A fresh learner for an environment's sizes."""
    learner: Learner = _named(LEARNERS[config.family])(config, spec_of(env), device)
    return learner


def instruments_of(agent: Agent, family: str) -> Instruments:
    """A family's instruments, on its agent or on the learner inside."""
    made: Instruments = _named(INSTRUMENTS[family])(getattr(agent, "learner", agent))
    return made


def stored_policy(config: RunConfig, env: BatchedEnv, state: Mapping[str, Any], device: str = "cpu") -> Policy:
    """The policy of a checkpoint's state, for an environment of its task."""
    if isinstance(config, Finetune):
        from bellmark.agents.finetune import networks

        return networks.stored_policy(config.policy, env, state["policy"])
    learner = make_learner(config, env, device)
    learner.load_state_dict(state["learner"])
    return learner.policy


def load_start(config: Finetune) -> Callable[[str], dict[str, Any]]:
    """How a configuration's checkpoints are loaded: by name, refused when their policy or task is of another family."""

    def load(name: str) -> dict[str, Any]:
        content = checkpoint.read(name)
        checkpoint.check_family(content, name, "finetune", config, ("policy", "task"))
        state: dict[str, Any] = content["state"]
        return state

    return load


def load_heirloom(config: Any) -> Load:
    """How a learner's checkpoints are loaded: by name, refused when any model knob differs, the task's included."""

    def load(name: str, of_run: Literal["last", "best"]) -> dict[str, Any]:
        if not name:
            raise UserError("start=stored needs start.checkpoint: a run folder or a checkpoint file")
        content = checkpoint.read(name, of_run)
        checkpoint.check_family(content, name, config.family, config, tuple(type(config).model_fields))
        state: dict[str, Any] = content["state"]
        return state

    return load


def _named(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
