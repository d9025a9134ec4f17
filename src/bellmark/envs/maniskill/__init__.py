"""ManiSkill's PickCube-v1 itself: its own scene in PhysX, stepped without its tensors (extra `maniskill`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bellmark.config import Choice, knob
from bellmark.errors import UserError

if TYPE_CHECKING:
    from bellmark.envs.api import BatchedEnv, Simulation

MOST = 4096  # worlds: each is a scene of its own, 20 ms to build


class ManiSkill(Choice):
    """ManiSkill's PickCube-v1: 42-dimensional state, 8 actions in [-1, 1], 20 Hz control, 50 steps."""

    kind: Literal["maniskill"] = "maniskill"
    reward: Literal["sparse", "dense"] = knob(
        "sparse",
        "1 at the successful step and 0 elsewhere, or stages (reach, grasp, place, hold still) scaled to [0, 1]",
        source="ManiSkill's sparse and normalized_dense",
    )
    horizon: int = knob(50, "time limit of an episode", unit="control steps", source="ManiSkill PickCube-v1", ge=1)
    simulator: Literal["cpu", "cuda"] = knob(
        "cpu",
        "PhysX on processor cores, one scene per world, or ManiSkill's GPU simulation of all worlds together",
        scope="model",
    )

    def make(self, num_envs: int, threads: int = 1) -> BatchedEnv:
        """n worlds in this process, or in `threads` processes, since SAPIEN does not share a process's cores.

        Raises:
            UserError: ManiSkill is not installed; more worlds than a machine holds; no CUDA device for `cuda`.
        """
        from bellmark.envs.api import BatchedEnv

        return BatchedEnv(self._simulation(num_envs, threads))

    def _simulation(self, num_envs: int, threads: int) -> Simulation:
        if self.simulator == "cuda":
            from bellmark.envs.maniskill.together import on_gpu

            return on_gpu(num_envs, reward=self.reward, horizon=self.horizon)
        if num_envs > MOST:
            raise UserError(
                f"{num_envs} ManiSkill worlds are too many for processor cores: each is a PhysX scene of its own; "
                f"at most {MOST} (re-rollouts: advantage.worlds=512, which results do not depend on)"
            )
        from bellmark.envs.maniskill import stand_in

        stand_in.load()
        processes = min(threads, num_envs)
        if processes > 1:
            from bellmark.envs.maniskill.processes import Apart

            return Apart(num_envs, processes, reward=self.reward, horizon=self.horizon)
        from bellmark.envs.maniskill.simulation import PickCubeV1

        return PickCubeV1(num_envs, reward=self.reward, horizon=self.horizon)
