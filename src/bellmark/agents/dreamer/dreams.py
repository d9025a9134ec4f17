"""Dreams against reality: follow an episode for a while, then predict its rest from its actions alone.

Latents come from the prior, so what is measured is the model that policy and value learn in. Every dream starts at a
state that recorded observations led to; errors are given by horizon, the number of steps dreamed.

Axes: T rows of an episode, E episodes, N starts, S samples of each, H steps dreamed, O observation. Inside the model,
states are columns (see `nets.rms`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bellmark.agents.dreamer.learning import Learning
from bellmark.agents.dreamer.world import Networks
from bellmark.ops import categorical

Array = NDArray[Any]
MOST_STARTS = 192  # that errors are measured from; pictures of all their dreams are held at once


class Episode(NamedTuple):
    """L steps as they happened: row 0 is the reset, row t what action t - 1 led to."""

    obs: Tensor  # (L + 1, *O)
    action: Tensor  # (L, A), as the policy chose them
    reward: Tensor  # (L + 1,), 0 at the reset
    terminated: bool  # the last row ends the task; False: a time limit


class Start(NamedTuple):
    """Where a dream begins."""

    episode: int
    row: int


@dataclass(frozen=True)
class Dreams:
    """Predictions of N dreams, S samples each, beside what happened; row 0 of H + 1 is the start, which was seen."""

    starts: list[Start]
    obs: Array  # (H + 1, N, S, *O) expected observation, in the task's units
    reward: Array  # (H + 1, N, S) expected reward, row 0 of the reset meaningless
    alive: Array  # (H + 1, N, S) probability that the episode goes on after this row
    real_obs: Array  # (H + 1, N, *O), zero where the episode has ended
    real_reward: Array  # (H + 1, N)
    real_alive: Array  # (H + 1, N)
    valid: Array  # (H + 1, N) whether the episode has this row


@torch.no_grad()
def open_loop(
    nets: Networks,
    learning: Learning,
    episodes: Sequence[Episode],
    *,
    context: int,
    steps: int,
    samples: int,
    generator: torch.Generator,
) -> Dreams:
    """Dream on from states of recorded episodes with the actions that were taken.

    Args:
        nets: on the host.
        context: rows that every dream has been preceded by, where the episode has as many.
        steps: H, how far a dream goes.
        samples: S dreams from each start.
    """
    columns = _Columns(episodes)
    seen_FTE = _follow(nets, columns, generator)
    starts = choose_starts(columns.lengths, context)
    episode, row = (torch.tensor(index) for index in zip(*starts, strict=True))
    rssm, count = nets.rssm, len(starts) * samples
    here = seen_FTE[:, row, episode].repeat_interleave(samples, 1)
    uniform = categorical.uniforms((steps, rssm.latents, count), generator)
    predicted = [_read(nets, learning, here)]
    imagine = rssm.imagination(count)
    for h in range(steps):
        action = columns.at(columns.action, row + h, episode).repeat_interleave(samples, 0).t()
        there = here.new_empty(here.shape[::-1]).t()
        imagine(here, action, uniform[h], there)
        here = there
        predicted.append(_read(nets, learning, here))
    obs, reward, alive = (
        np.stack([p[i].unflatten(0, (len(starts), samples)).numpy() for p in predicted]) for i in range(3)
    )
    rows = [row + h for h in range(steps + 1)]
    real = [np.stack([columns.at(c, r, episode).numpy() for r in rows]) for c in (columns.obs, columns.reward)]
    lengths = columns.lengths[episode]
    terminated = torch.tensor([e.terminated for e in episodes])[episode]
    valid = np.stack([(r <= lengths).numpy() for r in rows])
    ends = np.stack([((r == lengths) & terminated).numpy() for r in rows])
    return Dreams(starts, obs, reward, alive, real[0], real[1], ~ends, valid)


def choose_starts(lengths: Tensor, context: int) -> list[Start]:
    """Evenly spaced starts, the first of each episode after `context` rows, or as late as leaves a step to dream."""
    first = [min(context, int(length)) - 1 for length in lengths]
    rows = sum(int(length) - begin for length, begin in zip(lengths, first, strict=True))
    stride = max(1, -(-rows // MOST_STARTS))
    return [
        Start(number, row)
        for number, (length, begin) in enumerate(zip(lengths, first, strict=True))
        for row in range(begin, int(length), stride)
    ]


def errors(dreams: Dreams) -> list[dict[str, float]]:
    """Means over starts and samples by steps dreamed; step 0 is the reconstruction of what was seen.

    `obs_error` is the squared error over the variance of the recorded observations, each dimension weighing the same
    (of pictures: each pixel by its variance): 0 is perfect, 1 as good as the mean observation. `still_error` is the
    same for predicting that nothing moves, `continue_brier` the squared error of the probability of going on.
    """
    scale = _inverse_variance(dreams)
    rows = []
    for h, valid in enumerate(dreams.valid):
        if not valid.any():
            break
        real = dreams.real_obs[h][valid].astype(np.float64)
        squared = np.square(dreams.obs[h][valid].astype(np.float64) - real[:, None]).mean(axis=(0, 1))
        still = np.square(dreams.real_obs[0][valid].astype(np.float64) - real).mean(axis=0)
        reward = np.abs(dreams.reward[h][valid] - dreams.real_reward[h][valid][:, None])
        alive = dreams.real_alive[h][valid][:, None]
        rows.append(
            {
                "steps": h,
                "starts": int(valid.sum()),
                "obs_error": float((squared * scale).sum()),
                "still_error": float((still * scale).sum()),
                "reward_error": float(reward.mean()),
                "continue_predicted": float(dreams.alive[h][valid].mean()),
                "continue_real": float(alive.mean()),
                "continue_brier": float(np.square(dreams.alive[h][valid] - alive).mean()),
            }
        )
    return rows


class _Columns:
    """Episodes side by side, padded with zeros to the longest."""

    def __init__(self, episodes: Sequence[Episode]) -> None:
        self.lengths = torch.tensor([len(e.action) for e in episodes])
        pad = torch.nn.utils.rnn.pad_sequence
        self.obs, self.reward = pad([e.obs for e in episodes]), pad([e.reward for e in episodes])  # (T, E, ...)
        self.action = pad([torch.cat((e.action, torch.zeros_like(e.action[:1]))) for e in episodes])

    def at(self, column: Tensor, row: Tensor, episode: Tensor) -> Tensor:
        """(N, ...) of one row of each; zeros beyond the end."""
        found = column[row.clamp(max=len(column) - 1), episode]
        beyond = row > self.lengths[episode]
        return found.masked_fill(beyond.view(-1, *[1] * (found.dim() - 1)), 0)


def _follow(nets: Networks, columns: _Columns, generator: torch.Generator) -> Tensor:
    """(F, T, E) the states that the observations lead to."""
    rssm, (rows, count) = nets.rssm, columns.reward.shape
    deter, stoch = torch.zeros(rssm.deter, count), torch.zeros(rssm.latents, rssm.classes, count)
    action = torch.zeros(nets.actions, count)
    uniform = categorical.uniforms((rows, rssm.latents, count), generator)
    seen = []
    for t in range(rows):
        deter, stoch = rssm.follow(deter, stoch, action, nets.encoder(columns.obs[t]), uniform[t])
        action = columns.action[t].t()
        seen.append(torch.cat((deter, stoch.flatten(0, 1))))
    return torch.stack(seen, 1)


def _read(nets: Networks, learning: Learning, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What heads say of states (F, N): observation (N, *O), reward (N,), probability of going on (N,)."""
    always = learning.discount.continuation.target(torch.ones(()), learning.discount.gamma)
    alive = (nets.continuation(seen).sigmoid().flatten() / always).clamp(max=1.0)
    return nets.decoder(seen), nets.bins.decode(nets.reward.rows(seen)), alive


def _inverse_variance(dreams: Dreams) -> Array:
    """(*O,) weights of squared errors; dimensions that never vary weigh nothing."""
    real = dreams.real_obs[dreams.valid].astype(np.float64)
    variance = real.var(axis=0)
    if dreams.real_obs.dtype == np.uint8:
        return np.full(variance.shape, 1 / max(variance.sum(), 1e-12))
    varies = variance > 1e-12
    return np.divide(1.0, variance, out=np.zeros_like(variance), where=varies) / max(1, int(varies.sum()))
