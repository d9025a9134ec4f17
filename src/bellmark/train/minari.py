"""Rollouts of stored policies as a Minari dataset, for other libraries' offline learners (`bellmark[minari]`).

An episode holds one observation more than it has actions: the last one is what its last step led to. Pieces that the
end of a rollout cut off are marked truncated there, as Minari knows no other end. Actions are stored as the
environment saw them, clipped to [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bellmark.errors import UserError

if TYPE_CHECKING:
    from bellmark.agents.finetune.rollout import Rollout
    from bellmark.envs.api import BatchedEnv


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


def save(name: str, rollouts: Sequence[Rollout], env: BatchedEnv, about: str) -> Any:
    """Write a dataset into Minari's own folder (`MINARI_DATASETS_PATH`); `name` is as Minari wants it, task/data-v0.

    Returns:
        The `minari.MinariDataset`.

    Raises:
        UserError: Minari is not installed.
    """
    try:
        import minari
        from minari.data_collector import EpisodeBuffer
    except ImportError as error:
        raise UserError("this needs Minari: pip install 'bellmark[minari]'") from error
    found = [piece for rollout in rollouts for piece in episodes(rollout)]
    buffers = [
        EpisodeBuffer(
            id=number,
            observations=list(piece["observations"]),
            actions=list(piece["actions"]),
            **{key: piece[key].tolist() for key in ("rewards", "terminations", "truncations")},
        )
        for number, piece in enumerate(found)
    ]
    return minari.create_dataset_from_buffers(
        name,
        buffers,
        observation_space=env.single_observation_space,
        action_space=env.single_action_space,
        description=about,
    )
