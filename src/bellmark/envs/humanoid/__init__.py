"""HumanoidBench's H1 tasks, rebuilt on the engine from their published constants, on today's MuJoCo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bellmark.config import Choice, knob

if TYPE_CHECKING:
    from bellmark.envs.api import BatchedEnv

TaskName = Literal["stand", "walk", "run", "stair", "slide"]


class H1(Choice):
    """A task of the Unitree H1 humanoid: 51 observations, 19 joint targets in [-1, 1], 50 Hz, 1000 steps."""

    kind: Literal["h1"] = "h1"
    task: TaskName = knob("walk", "what the robot is paid for", source="Sferrazza et al. 2024", scope="model")

    def make(self, num_envs: int, threads: int = 1) -> BatchedEnv:
        """A batch of worlds stepped on `threads` threads; the result does not depend on their number.

        Raises:
            UserError: the robot's shapes have not been fetched; names the command that does.
        """
        from bellmark.envs.api import BatchedEnv
        from bellmark.envs.engine import MujocoSimulation
        from bellmark.envs.humanoid.task import h1_task

        return BatchedEnv(MujocoSimulation(h1_task(self.task), num_envs, threads=threads, config=self.tree()))
