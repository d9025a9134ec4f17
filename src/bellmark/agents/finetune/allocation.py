"""How many replicas each re-rolled state gets.

Axes: K states, M replicas, T time, N environments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from bellmark.config import Choice, knob

if TYPE_CHECKING:
    from torch import Tensor

    from bellmark.agents.finetune.rerollout import Branches


class Ask(Protocol):
    """Re-rolls states, which may repeat, with so many replicas of each kind."""

    def __call__(self, rows: Tensor, n_q: int, n_v: int) -> Branches:
        """Replicas of the rows of the rollout with these flat indices."""
        ...


@dataclass(frozen=True)
class Means:
    """What the replicas of each state came to."""

    q_K: Tensor
    v_K: Tensor
    replica_std: float  # of the Q replicas of a state, mean over states
    steps: int  # simulator control steps spent


class Even(Choice):
    """As many for every state."""

    kind: Literal["even"] = "even"

    def spend(self, ask: Ask, rows_K: Tensor, n_q: int, n_v: int, worlds: int) -> Means:
        """All at once."""
        branches = ask(rows_K, n_q, n_v)
        spread = float(branches.q_KM.std(1, correction=0).mean())
        return Means(branches.q_KM.mean(1), branches.v_KM.mean(1), spread, branches.steps)


class Needed(Choice):
    """More for states whose neighbours in time turned out uncertain; `n_q` and `n_v` are then the mean numbers.

    Every state gets a pilot. The rest is spent in proportion to the standard deviation of Q - V (Neyman 1934) that
    the pilots of the same environment's states nearby say. A state's own pilot has no say in its own share, so that
    what is counted stays independent of what was seen, and the mean unbiased.
    """

    kind: Literal["needed"] = "needed"
    pilot: int = knob(2, "replicas of each kind that every state gets; more come in parts of as many", ge=2)
    reach: float = knob(2.0, "how far pilots speak for their neighbours", unit="control steps", gt=0)
    trust: float = knob(4.0, "pilots nearby that count as much as the mean of all", gt=0)

    def spend(self, ask: Ask, rows_K: Tensor, n_q: int, n_v: int, worlds: int) -> Means:
        """The pilot, then the rest."""
        import torch

        first = ask(rows_K, self.pilot, self.pilot)
        variance_K = (first.q_KM - first.v_KM).var(1)
        share_K = nearby(variance_K, rows_K, worlds, self.reach, self.trust).sqrt()
        parts = max(0, min(n_q, n_v) - self.pilot) * len(rows_K) / self.pilot
        parts_K = apportion(share_K, round(parts))
        count_K = 1.0 + parts_K
        owner = torch.arange(len(rows_K)).repeat_interleave(parts_K)
        sums = [first.q_KM.mean(1), first.v_KM.mean(1)]
        steps = first.steps
        if len(owner):
            more = ask(rows_K[owner], self.pilot, self.pilot)
            sums = [s.index_add(0, owner, m.mean(1)) for s, m in zip(sums, (more.q_KM, more.v_KM), strict=True)]
            steps += more.steps
        return Means(sums[0] / count_K, sums[1] / count_K, float(first.q_KM.std(1, correction=0).mean()), steps)


def nearby(x_K: Tensor, rows_K: Tensor, worlds: int, reach: float, trust: float) -> Tensor:
    """(K,) means of the other rows of the same environment, weighted by exp(-|dt| / reach).

    The mean of all rows counts as `1 / trust` of a row beside it. Row t N + n of a rollout is environment n at time t;
    a row that repeats counts as its mean.
    """
    import torch

    t_K, n_K = rows_K // worlds, rows_K % worlds
    steps = int(t_K.max()) + 1
    total_TN, count_TN = x_K.new_zeros(steps, worlds), x_K.new_zeros(steps, worlds)
    total_TN.index_put_((t_K, n_K), x_K, accumulate=True)
    count_TN.index_put_((t_K, n_K), torch.ones_like(x_K), accumulate=True)
    time = torch.arange(steps)
    near_TT = torch.exp(-(time[:, None] - time).abs() / reach).fill_diagonal_(0)
    seen_TN = (count_TN > 0).to(x_K.dtype)
    mean_TN = total_TN / count_TN.clamp(min=1)
    found_TN = (near_TT @ mean_TN + x_K.mean() / trust) / (near_TT @ seen_TN + 1 / trust)
    return found_TN[t_K, n_K]


def apportion(share_K: Tensor, total: int) -> Tensor:
    """(K,) whole numbers that sum to `total` in proportion to shares, each rounded with what the former left over."""
    import torch

    whole = share_K.double().cumsum(0)
    if not whole[-1] > 0:
        whole = torch.arange(1, len(share_K) + 1, dtype=torch.double)
    ends = (whole / whole[-1] * total).round().long()
    return torch.diff(ends, prepend=ends.new_zeros(1))
