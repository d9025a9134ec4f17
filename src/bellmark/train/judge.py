"""Judging a stored policy outside of its run: by the name of a checkpoint, a run folder or a file."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bellmark.agents.api import Evaluation, Policy, Watch, nobody
from bellmark.envs.api import BatchedEnv
from bellmark.envs.suite import parse_task
from bellmark.envs.video import write_video
from bellmark.errors import UserError
from bellmark.train import checkpoint
from bellmark.train.evaluate import Episodes, play
from bellmark.train.families import read_config, stored_policy

FPS = 20  # PickCube's control frequency: videos run in real time


@dataclass(frozen=True)
class Judgement:
    """A policy's modes on the same start states."""

    step: int  # real environment steps the policy was trained for
    deterministic: Episodes
    sampled: Episodes | None  # None where sampled actions were not asked for
    succeeds: bool  # whether episodes of the task can succeed or fail; otherwise their success means nothing


class Judge:
    """A stored policy (`policy`) with the task it was trained on, or another that it can be judged on."""

    def __init__(self, name: str, task: str | None = None) -> None:
        """Load the checkpoint that `name` stands for (see `bellmark.train.checkpoint`).

        Raises:
            UserError: no such checkpoint, or not readable; a task that is another model family's.
        """
        content = checkpoint.read(name)
        self._name, self._state = name, content["state"]
        self._config = read_config(content["family"], content["config"])
        if task is not None:
            self._config = read_config(content["family"], {**content["config"], "task": parse_task(task).tree()})
            checkpoint.check_family(content, name, content["family"], self._config, ("task",))  # type: ignore[arg-type]
        self._step = int(content["state"]["step"])
        with closing(self._config.task.make(1)) as env:
            self.policy: Policy = stored_policy(self._config, env, content["state"])

    @property
    def evaluation(self) -> Evaluation:
        """How the run itself judged the policy."""
        return self._config.evaluation

    def worlds(self, count: int, threads: int = 1) -> BatchedEnv:
        """That task, `count` times."""
        return self._config.task.make(count, threads)

    def judge(
        self, episodes: int, seed: int, *, sampled: bool = True, threads: int = 1, watch: Watch = nobody
    ) -> Judgement:
        """Play `episodes` fixed start states, deterministically and, where asked for, sampled.

        `watch` is called before every step of all of them, as if none ended before the task's time limit.
        """
        with closing(self._config.task.make(episodes, threads)) as env:
            most, steps = env.horizon * (1 + sampled), count()

            def turn() -> None:
                watch(next(steps) / most)

            greedy = play(self.policy, env, seed, deterministic=True, watch=turn)
            drawn = play(self.policy, env, seed, deterministic=False, watch=turn) if sampled else None
            return Judgement(self._step, greedy, drawn, env.succeeds)

    def film(self, path: Path, seed: int) -> Path:
        """Film the deterministic policy's first evaluation episode; returns the file written."""
        with closing(self._config.task.make(1)) as env:
            episodes = play(self.policy, env, seed, deterministic=True, film=True)
        return write_video(episodes.frames, path, FPS)

    def dream(self, folder: Path | None, episodes: int, seed: int, steps: int) -> list[Path]:
        """Write a dreamer's predictions beside what happened (default: into the run's own folder); returns the files.

        Raises:
            UserError: a policy of another family, or one without a run folder and no `folder` given.
        """
        from bellmark.train.dreams import write_dreams

        run = Path(self._name)
        if folder is None and not (run / "run.json").is_file():
            raise UserError(f"{self._name} is not a run folder: say with --dreams-into where its dreams should go")
        into = folder or run / "dreams" / f"step_{self._step:09d}"
        return write_dreams(
            self._config, self._state, into, episodes=episodes, seed=seed, steps=steps, origin=self._name
        )
