"""Pictures of ManiSkill worlds, where Vulkan is installed: a second environment that only poses and draws."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bellmark.envs.maniskill import reading, stand_in


class Painter:
    """Draws readings through ManiSkill's own render camera (512x512), cut to the shape asked for and scaled."""

    def __init__(self) -> None:
        self._env: Any = None

    def draw(self, row: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
        """One frame (height, width, 3) of a world.

        Raises:
            UserError: nothing here can draw; names what could.
        """
        if self._env is None:
            self._env = stand_in.make("sparse", draws=True)
        pose = stand_in.load().Pose
        self._env.agent.robot._objs[0].set_qpos(row[reading.QPOS])
        cube = row[reading.CUBE]
        self._env.cube._objs[0].set_pose(pose(cube[:3], cube[3:]))
        self._env.goal_site._objs[0].set_pose(pose(row[reading.GOAL]))
        frame = np.asarray(self._env.render_rgb_array()[0].cpu(), dtype=np.uint8)
        return fit(frame, height, width)

    def close(self) -> None:
        """Free the environment."""
        if self._env is not None:
            self._env.close()
            self._env = None


def fit(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The middle of a frame in the proportions asked for, at that size, by the nearest pixel."""
    tall, wide = frame.shape[:2]
    scale = min(tall / height, wide / width)
    rows = ((tall - scale * height) / 2 + scale * (np.arange(height) + 0.5)).astype(int)
    columns = ((wide - scale * width) / 2 + scale * (np.arange(width) + 0.5)).astype(int)
    return frame[rows][:, columns]
