"""PickCube: grasp a cube on a table and hold it at a goal, on MuJoCo, after ManiSkill's PickCube-v1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bellmark.config import Choice, knob

if TYPE_CHECKING:
    from bellmark.envs.api import BatchedEnv


class PickCube(Choice):
    """The PickCube task: 42-dimensional state, 8 actions in [-1, 1], 20 Hz control, 50 steps."""

    kind: Literal["pick_cube"] = "pick_cube"
    reward: Literal["sparse", "dense"] = knob(
        "sparse",
        "1 at the successful step and 0 elsewhere, or stages (reach, grasp, place, hold still) scaled to [0, 1]",
        source="ManiSkill PickCube-v1, compute_dense_reward divided by 5",
    )
    horizon: int = knob(50, "time limit of an episode", unit="control steps", source="ManiSkill PickCube-v1", ge=1)

    def make(self, num_envs: int, threads: int = 1) -> BatchedEnv:
        """A batch of worlds stepped on `threads` threads; the result does not depend on their number."""
        from bellmark.envs.api import BatchedEnv
        from bellmark.envs.pick_cube.simulation import PickCubeSimulation

        simulation = PickCubeSimulation(
            num_envs, reward=self.reward, horizon=self.horizon, threads=threads, config=self.tree()
        )
        return BatchedEnv(simulation)
