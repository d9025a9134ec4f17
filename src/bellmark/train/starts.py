"""Before finetuning: can improvement be seen from this start, and would it be skill or less action noise?

A start tells methods apart when its mean action leaves room to improve, when its failures are not mere action noise,
and when most start states are undecided: a state that always fails, or never, teaches nothing (advantages there are
zero whatever the action).
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from bellmark.agents.finetune.networks import GaussianPolicy
from bellmark.envs.suite import parse_task
from bellmark.errors import UserError
from bellmark.train import checkpoint
from bellmark.train.evaluate import play
from bellmark.train.families import read_config, stored_policy

UNDECIDED = (0.1, 0.9)  # success probability of a start state that can teach something
NEAR_PERFECT, MUCH_NOISE, FEW_UNDECIDED = 0.9, 0.15, 0.5
QUIETER_SAMPLES = 5  # episodes per state with the spread cut, paired with as many of its own
CUT = -1.5  # log_std at which the users' later work begins


class Doubt(NamedTuple):
    """Something that speaks against a start."""

    kind: str  # solved_start, noisy_start or decided_start
    seen: str
    advice: str


@dataclass(frozen=True)
class Start:
    """What a start policy is like on fixed start states."""

    deterministic: float  # success of the mean action
    sampled: float  # success with the policy's own noise
    quieter: float  # success with its spread cut to exp(-1.5); the sampled one where it is no wider
    log_std: float  # mean over action dimensions
    undecided: float  # share of start states with 0.1 < P(success) < 0.9
    dead: float  # share with P at most 0.1
    solved: float  # share with P at least 0.9
    starts: int
    samples: int  # episodes per start state

    @property
    def noise_gap(self) -> float:
        """Success that the policy's own noise costs: the share of episodes that only the mean action would win."""
        return self.deterministic - self.sampled

    @property
    def doubts(self) -> list[Doubt]:
        """What speaks against this start, each with what to try; empty when nothing does."""
        found = []
        if self.deterministic > NEAR_PERFECT:
            seen = f"its mean action already succeeds in {self.deterministic:.0%}: there is little left to learn"
            found.append(Doubt("solved_start", seen, "begin from a weaker checkpoint"))
        if self.noise_gap > MUCH_NOISE:
            seen = f"{self.noise_gap:.0%} of its episodes fail by action noise alone: gains may be less noise, no skill"
            cut = f"set start.max_log_std={CUT}" if self.log_std > CUT else "judge the mean action"
            found.append(Doubt("noisy_start", seen, cut))
        if self.undecided < FEW_UNDECIDED:
            seen = (
                f"only {self.undecided:.0%} of the start states are undecided ({self.dead:.0%} dead, {self.solved:.0%} "
                "solved): advantages are zero in the others"
            )
            found.append(Doubt("decided_start", seen, "an easier or harder start, or more noise"))
        return found

    @property
    def advice(self) -> list[str]:
        """The same as lines."""
        return [f"{doubt.seen}; {doubt.advice}" for doubt in self.doubts]


@torch.no_grad()
def examine(
    name: str,
    *,
    task: str | None,
    starts: int,
    samples: int,
    seed: int,
    threads: int = 1,
    max_log_std: float = float("inf"),
) -> Start:
    """Play a stored policy from `starts` fixed states, `samples` times each with noise of its own.

    `max_log_std` cuts its spread first, as the knob `start.max_log_std` does.

    Raises:
        UserError: no such checkpoint, a policy that is not a Gaussian of the finetune family, another task's policy.
    """
    content = checkpoint.read(name)
    if content["family"] != "finetune":
        raise UserError(f"checkpoint {name} belongs to family {content['family']!r}; finetuning starts from 'finetune'")
    config = read_config("finetune", content["config"])
    if task is not None:
        config = read_config("finetune", {**content["config"], "task": parse_task(task).tree()})
        checkpoint.check_family(content, name, "finetune", config, ("policy",))  # type: ignore[arg-type]
    with closing(config.task.make(starts, threads)) as env:
        policy = stored_policy(config, env, content["state"])
        assert isinstance(policy, GaussianPolicy)
        policy.log_std.clamp_(max=max_log_std)
        greedy = play(policy, env, seed, deterministic=True).success
        own = np.stack([play(policy, env, seed, deterministic=False, noise=k).success for k in range(samples)])
        log_std = float(policy.log_std.mean())
        quieter = own[:QUIETER_SAMPLES]
        if float(policy.log_std.max()) > CUT:
            policy.log_std.clamp_(max=CUT)
            draws = range(len(quieter))  # the same noise, scaled down
            quieter = np.stack([play(policy, env, seed, deterministic=False, noise=k).success for k in draws])
    share = own.mean(0)
    low, high = UNDECIDED
    return Start(
        deterministic=float(greedy.mean()),
        sampled=float(own.mean()),
        quieter=float(own.mean() + quieter.mean() - own[:QUIETER_SAMPLES].mean()),
        log_std=log_std,
        undecided=float(((share > low) & (share < high)).mean()),
        dead=float((share <= low).mean()),
        solved=float((share >= high).mean()),
        starts=starts,
        samples=samples,
    )
