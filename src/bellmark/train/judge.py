"""Judging a stored policy outside of its run: by the name of a checkpoint, a run folder or a file."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bellmark.agents.finetune.config import Finetune
from bellmark.agents.finetune.networks import GaussianPolicy, stored_policy
from bellmark.config import build
from bellmark.envs.video import write_video
from bellmark.train import checkpoint
from bellmark.train.evaluate import Episodes, play

FPS = 20  # PickCube's control frequency: videos run in real time


@dataclass(frozen=True)
class Judgement:
    """Both modes of a policy on the same start states."""

    step: int  # real environment steps the policy was trained for
    deterministic: Episodes
    sampled: Episodes


class Judge:
    """A stored policy (`policy`) with the task it was trained on."""

    def __init__(self, name: str) -> None:
        """Load the checkpoint that `name` stands for (see `bellmark.train.checkpoint`).

        Raises:
            UserError: no such checkpoint, or not readable.
        """
        content = checkpoint.read(name)
        self._config = build(Finetune, content["config"])
        weights = content["state"]["policy"]
        self.policy: GaussianPolicy = stored_policy(self._config.policy, self._config.task.make(1), weights)
        self._step = int(content["state"]["step"])

    def judge(self, episodes: int, seed: int, threads: int = 1) -> Judgement:
        """Play `episodes` fixed start states in both modes."""
        with closing(self._config.task.make(episodes, threads)) as env:
            modes = (play(self.policy, env, seed, deterministic=greedy) for greedy in (True, False))
            return Judgement(self._step, *modes)

    def film(self, path: Path, seed: int) -> Path:
        """Film the deterministic policy's first evaluation episode; returns the file written."""
        with closing(self._config.task.make(1)) as env:
            episodes = play(self.policy, env, seed, deterministic=True, film=True)
        return write_video(episodes.frames, path, FPS)
