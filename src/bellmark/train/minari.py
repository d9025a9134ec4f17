"""Episodes of stored policies as a Minari dataset, for other libraries' offline learners (`bellmark[minari]`).

An episode holds one observation more than it has actions: the last one is what its last step led to. Pieces that the
end of a rollout cut off are marked truncated there, as Minari knows no other end. Actions are stored as the
environment saw them, clipped to [-1, 1].
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bellmark.errors import UserError
from bellmark.train.evaluate import play
from bellmark.train.judge import Judge
from bellmark.train.worlds import as_obs, command, spec_of

if TYPE_CHECKING:
    from bellmark.agents.api import Policy
    from bellmark.agents.finetune.rollout import Rollout
    from bellmark.envs.api import BatchedEnv, Transition


def episodes(rollout: Rollout) -> list[dict[str, Any]]:
    """The episodes of every environment, in order, as arrays named as Minari names them.

    Shapes: observations (L + 1, O), actions (L, A), rewards, terminations and truncations (L,).
    """
    found = []
    for world in range(rollout.reward_TN.shape[1]):
        columns = {
            "observations": rollout.obs_TNO[:, world].numpy(),
            "actions": rollout.action_TNA[:, world].clamp(-1, 1).numpy(),
            "rewards": rollout.reward_TN[:, world].numpy(),
            "terminations": rollout.terminated_TN[:, world].numpy(),
        }
        after, done = rollout.next_obs_TNO[:, world].numpy(), rollout.done_TN[:, world].numpy()
        ends = sorted({*np.flatnonzero(done).tolist(), len(done) - 1})
        for start, end in zip([0, *(e + 1 for e in ends)], ends, strict=False):
            piece = {name: column[start : end + 1] for name, column in columns.items()}
            piece["observations"] = np.concatenate([piece["observations"], after[end : end + 1]])
            piece["truncations"] = np.zeros(end + 1 - start, dtype=bool)
            piece["truncations"][-1] = not piece["terminations"][-1]
            found.append(piece)
    return found


def played(policy: Policy, env: BatchedEnv, seed: int, *, deterministic: bool) -> list[dict[str, Any]]:
    """One whole episode of a policy of any family in every world of `env`, as `episodes` gives them."""
    spec = spec_of(env)
    steps: list[list[tuple[Any, ...]]] = [[] for _ in range(env.num_envs)]
    last: list[Any] = [None] * env.num_envs

    def keep(worlds: NDArray[np.int64], obs: Tensor, action: Tensor, moved: Transition) -> None:
        acted, after = command(action, spec), as_obs(moved.obs, spec).numpy()
        for i, world in enumerate(worlds):
            steps[world].append((obs[i].numpy(), acted[i], moved.reward[i], moved.terminated[i]))
            last[world] = after[i]

    play(policy, env, seed, deterministic=deterministic, witness=keep)
    found = []
    for taken, after in zip(steps, last, strict=True):
        obs, action, reward, ended = (np.stack(column) for column in zip(*taken, strict=True))
        cut = np.zeros(len(taken), dtype=bool)
        cut[-1] = not ended[-1]
        found.append({"observations": np.concatenate([obs, after[None]]), "actions": action, "rewards": reward,
                      "terminations": ended, "truncations": cut})  # fmt: skip
    return found


def export(name: str, policies: Sequence[str], count: int, seed: int, *, deterministic: bool, threads: int = 1) -> Any:
    """Write `count` episodes of each of some stored policies as one dataset; start states go on from policy to policy.

    Returns:
        The `minari.MinariDataset`.

    Raises:
        UserError: no such policy, policies of tasks with different spaces, or as `write`.
    """
    found: list[dict[str, Any]] = []
    spaces: dict[str, Any] = {}
    for number, policy in enumerate(policies):
        judge = Judge(policy)
        with closing(judge.worlds(count, threads)) as env:
            spaces[policy] = env.single_observation_space, env.single_action_space
            if spaces[policy] != spaces[policies[0]]:
                raise UserError(f"{policy} and {policies[0]} see or do different things: one dataset cannot hold both")
            found += played(judge.policy, env, seed + number, deterministic=deterministic)
            mode = "their means" if deterministic else "draws"
            about = f"{count} episodes each of {', '.join(policies)}, actions are {mode}, start states from seed {seed}"
    return write(name, found, env, about)


def save(name: str, rollouts: Sequence[Rollout], env: BatchedEnv, about: str) -> Any:
    """Write rollouts as a dataset, see `write`."""
    return write(name, [piece for rollout in rollouts for piece in episodes(rollout)], env, about)


def write(name: str, found: Sequence[dict[str, Any]], env: BatchedEnv, about: str) -> Any:
    """Write a dataset into Minari's own folder (`MINARI_DATASETS_PATH`); `name` is as Minari wants it, task/data-v0.

    Returns:
        The `minari.MinariDataset`.

    Raises:
        UserError: Minari is not installed; a name that it does not take or that it has already.
    """
    try:
        import minari
        from minari.data_collector import EpisodeBuffer
    except ImportError as error:
        raise UserError("this needs Minari: pip install 'bellmark[minari]'") from error
    buffers = [
        EpisodeBuffer(
            id=number,
            observations=list(piece["observations"]),
            actions=list(piece["actions"]),
            **{key: piece[key].tolist() for key in ("rewards", "terminations", "truncations")},
        )
        for number, piece in enumerate(found)
    ]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="minari")  # who the author is, and the like
            return minari.create_dataset_from_buffers(
                name,
                buffers,
                observation_space=env.single_observation_space,
                action_space=env.single_action_space,
                description=about,
            )
    except (ValueError, AssertionError) as error:
        raise UserError(f"Minari does not take {name!r}: {str(error) or type(error).__name__}") from error
