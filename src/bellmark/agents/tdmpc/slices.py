"""What values and policies learn from: slices at the latents of one rollout, of every head's, or of each in turn.

Axes: T steps of a slice, H dynamics heads, B slices, L latent, A action.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from bellmark.agents.api import Batch
    from bellmark.agents.tdmpc.losses import Rollout


class Slice(NamedTuple):
    """What values and policies learn from: slices with their encodings and the model's rollout."""

    z_TBL: Tensor  # (T + 1, B, L) the model's rollout
    encoded_TBL: Tensor  # (T + 1, B, L)
    action_TBA: Tensor  # (T, B, A)
    reward_TB: Tensor  # (T, B) that followed
    keep_TB: Tensor  # (T, B) 0 where the step ended the task, else 1
    expert_TBA: Tensor  # (T, B, 2A) mean and deviation of the plan


def of_heads(pick: Callable[[Tensor], Tensor], repeat: int, rollout: Rollout, batch: Batch) -> Slice:
    """Slices at the latents that `pick` makes of all heads' (T + 1, H, B, L); all else `repeat` times over."""

    def tile(x: Tensor) -> Tensor:
        return x.repeat(1, repeat, *(1,) * (x.ndim - 2)) if repeat > 1 else x

    return Slice(
        pick(rollout.z_THBL),
        tile(rollout.encoded_TBL),
        tile(batch.action[:-1]),
        tile(batch.reward[1:]),
        tile(1 - batch.terminated[1:].to(batch.reward)),
        tile(batch.extras["expert"][:-1]),
    )


def _split(z_THBL: Tensor) -> Tensor:
    """The h-th part of the slices at head h's latents."""
    parts = zip(z_THBL.unbind(1), z_THBL[:, 0].tensor_split(z_THBL.shape[1], 1), strict=True)
    begins, chosen = 0, []
    for z_TBL, part in parts:
        chosen.append(z_TBL[:, begins : begins + part.shape[1]])
        begins += part.shape[1]
    return torch.cat(chosen, 1)


SLICES: dict[str, Callable[[Rollout, Batch], Slice]] = {  # at which heads' rollouts values and policies learn
    "single": lambda rollout, batch: of_heads(lambda z: z[:, 0], 1, rollout, batch),
    "concat": lambda rollout, batch: of_heads(lambda z: z.flatten(1, 2), rollout.z_THBL.shape[1], rollout, batch),
    "split": lambda rollout, batch: of_heads(_split, 1, rollout, batch),
}
