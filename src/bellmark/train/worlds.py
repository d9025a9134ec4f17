"""Worlds that a policy plays in: every step becomes rows of replay, every finished episode a statistic.

Axes: N worlds, K worlds whose episode just ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor
from torch.nn.functional import one_hot

from bellmark.agents.api import Decision, Metrics, Policy, Spec, State
from bellmark.envs.api import BatchedEnv, Exactness, Snapshot
from bellmark.errors import UserError

COLLECTING, DRAWING = 1, 2  # purposes of random streams; a learner's own is seeded by the seed itself

Finished = tuple[float, float, float]  # return, length, success of an episode
Append = Callable[[Tensor, Mapping[str, Tensor], Tensor], None]  # lanes (K,), columns (K, ...), ended (K,)


def stream(seed: int, purpose: int) -> torch.Generator:
    """A run's random stream for one purpose, independent of its other streams."""
    state = np.random.SeedSequence((seed, purpose)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


def spec_of(env: BatchedEnv) -> Spec:
    """What a learner must know of a task's worlds."""
    obs, action = env.single_observation_space, env.single_action_space
    continuous = isinstance(action, Box)
    return Spec(
        obs_shape=tuple(obs.shape or ()),
        pixels=obs.dtype == np.uint8,
        actions=int(np.prod(action.shape)) if isinstance(action, Box) else int(action.n),  # type: ignore[attr-defined]
        discrete=not continuous,
        horizon=env.horizon,
        action_repeat=env.simulation.action_repeat,
    )


def blank_row(spec: Spec, extras: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One replay row: every column's shape and type, zero, or as the learner says."""
    return {
        "obs": torch.zeros(spec.obs_shape, dtype=torch.uint8 if spec.pixels else torch.float32),
        "action": torch.zeros(spec.actions),
        "reward": torch.zeros(()),
        "terminated": torch.zeros((), dtype=torch.bool),
        "first": torch.zeros((), dtype=torch.bool),
        **extras,
    }


def as_obs(obs: Any, spec: Spec) -> Tensor:
    """Observations of the environment as tensors: pictures stay uint8, all else is float32."""
    tensor = torch.as_tensor(np.asarray(obs))
    return tensor if spec.pixels else tensor.float()


def check_finite(reward: Any, obs: Any) -> None:
    """Refuse what a step of worlds (B, ...) led to where it is no number: nothing can be learned from it.

    Raises:
        UserError: names the first such world.
    """
    for what, values in (("reward", reward), ("observation", obs)):
        fine = np.isfinite(np.asarray(values)).reshape(len(values), -1).all(1)
        if not fine.all():
            raise UserError(f"the {what} of world {int((~fine).argmax())} is not finite: the task itself has diverged")


def command(action: Tensor, spec: Spec) -> Any:
    """A policy's actions (B, A) as the environment takes them: clipped, or the index of the choice."""
    host = action.detach().cpu()
    return host.argmax(-1).numpy() if spec.discrete else host.clamp(-1, 1).numpy()


def summary(finished: Sequence[Finished], succeeds: bool) -> Metrics:
    """Means over episodes, nothing where there are none; no success where the task knows none."""
    if not finished:
        return {}
    returned, length, success = np.asarray(finished, dtype=np.float64).mean(axis=0).tolist()
    means = {"train/return": returned, "train/length": length, "train/episodes": float(len(finished))}
    return {**means, "train/success": success} if succeeds else means


class Players(Protocol):
    """What fills replay: worlds in this process, or in others."""

    spec: Spec

    def hand_over(self, policy: Policy) -> None:
        """Let another policy play from now on."""
        ...

    def step(self) -> None:
        """One step of every world becomes rows of replay."""
        ...

    def learned(self, updates: int) -> None:
        """The learner has made so many updates."""
        ...

    def news(self) -> Metrics:
        """Metrics since the last call."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The worlds where they stand, as far as they can be saved."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the saved ones stood."""
        ...


class RandomPolicy:
    """Uniform over the actions."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    def initial(self, worlds: int) -> State:
        """Nothing to carry."""
        return {}

    def act(
        self, obs: Tensor, first: Tensor, state: State, *, deterministic: bool, generator: torch.Generator
    ) -> Decision:
        """Uniform in [-1, 1], or one choice of all."""
        shape = (len(obs), self._spec.actions)
        if self._spec.discrete:
            choice = torch.randint(shape[1], shape[:1], generator=generator)
            return Decision(one_hot(choice, shape[1]).float(), {})
        return Decision(torch.rand(shape, generator=generator) * 2 - 1, {})


class Worlds:
    """N worlds in the middle of their episodes.

    A row needs the action taken at its observation, so the newest observation becomes a row at the next step.
    """

    def __init__(self, env: BatchedEnv, seed: int, policy: Policy, append: Append) -> None:
        """Begin an episode in every world; `append` takes the rows."""
        self.env, self.spec = env, spec_of(env)
        self.generator = stream(seed, COLLECTING)
        self._append = append
        self._lanes = torch.arange(env.num_envs)
        self._finished: list[Finished] = []
        count = env.num_envs
        self._obs = as_obs(env.reset(seed=seed)[0], self.spec)
        self._first = torch.ones(count, dtype=torch.bool)  # the observation is a reset's
        self._reward = torch.zeros(count)  # that came with the observation
        self._returns, self._lengths = np.zeros(count), np.zeros(count, dtype=np.int64)  # of running episodes
        self._success = np.zeros(count, dtype=np.bool_)
        self.hand_over(policy)

    def hand_over(self, policy: Policy) -> None:
        """Let another policy play; it begins without a past."""
        self._policy = policy
        self._state = policy.initial(self.env.num_envs)
        self._new_to_policy = torch.ones(self.env.num_envs, dtype=torch.bool)

    @torch.no_grad()
    def step(self) -> None:
        """One step of every world."""
        obs, first = self._obs, self._first | self._new_to_policy
        decision = self._policy.act(obs, first, self._state, deterministic=False, generator=self.generator)
        self._state, self._new_to_policy = decision.state, torch.zeros_like(self._first)
        row = {"obs": obs, "action": decision.action, "reward": self._reward, "first": self._first}
        self._append(self._lanes, {**row, **decision.extras}, torch.zeros_like(self._first))
        new_obs, reward, terminated, truncated, info = self.env.step(command(decision.action, self.spec))
        check_finite(reward, info["final_obs"])
        done = torch.as_tensor(terminated | truncated)
        self._obs = as_obs(new_obs, self.spec)
        self._first = done
        self._reward = torch.as_tensor(reward).float().masked_fill(done, 0.0)
        self._returns += reward
        self._lengths += 1
        self._success |= info["success"]
        if done.any():
            self._end(done, as_obs(info["final_obs"], self.spec), torch.as_tensor(reward), torch.as_tensor(terminated))

    def _end(self, done: Tensor, final_obs: Tensor, reward: Tensor, terminated: Tensor) -> None:
        """Write the final rows of the worlds that ended, and count their episodes."""
        row = {"obs": final_obs[done], "reward": reward[done].float(), "terminated": terminated[done]}
        never = torch.zeros(int(done.sum()), dtype=torch.bool)
        self._append(self._lanes[done], {**row, "first": never}, ~never)
        at = done.numpy()
        self._finished += zip(
            self._returns[at].tolist(), self._lengths[at].tolist(), self._success[at].tolist(), strict=True
        )
        self._returns[at], self._lengths[at], self._success[at] = 0.0, 0, False

    def learned(self, updates: int) -> None:
        """The policy is the learner's own: it plays what has been learned."""

    def news(self) -> Metrics:
        """Means over the episodes that ended since the last call; nothing where none did."""
        return summary(self.take_finished(), self.env.succeeds)

    def take_finished(self) -> list[Finished]:
        """The episodes that ended since the last call, in the order of the worlds where several ended at once."""
        finished, self._finished = self._finished, []
        return finished

    @property
    def between_episodes(self) -> bool:
        """Whether every world is about to begin an episode."""
        return bool(self._first.all())

    def state_dict(self) -> dict[str, Any]:
        """The worlds where they stand; where the task cannot be saved, nothing of them."""
        if self.env.exactness is Exactness.NONE:
            return {"generator": self.generator.get_state()}
        return {
            "generator": self.generator.get_state(),
            "env": {k: torch.as_tensor(v) for k, v in self.env.snapshot().plain().items()},
            "obs": self._obs,
            "first": self._first,
            "reward": self._reward,
            "policy": dict(self._state),
            "new": self._new_to_policy,
            "running": torch.as_tensor(np.stack([self._returns, self._lengths, self._success])),
            "finished": list(self._finished),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the saved worlds stood; tasks that cannot be saved begin new episodes."""
        self.generator.set_state(state["generator"])
        if "env" not in state:
            return
        self.env.restore(Snapshot.of_plain({k: v.numpy() for k, v in state["env"].items()}))
        self._obs, self._first, self._reward = state["obs"], state["first"], state["reward"]
        self._state = {k: state["policy"][k].to(v.device) for k, v in self._state.items()}
        self._new_to_policy = state["new"]
        self._returns, lengths, success = state["running"].numpy().copy()
        self._lengths, self._success = lengths.astype(np.int64), success.astype(bool)
        self._finished = [tuple(episode) for episode in state["finished"]]
