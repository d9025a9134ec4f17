"""Pictures of MuJoCo worlds without a display."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from bellmark.envs.video import ensure_gl


class Painter:
    """Draws worlds of one model: one renderer per picture size, made when first asked for."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}

    def draw(self, data: mujoco.MjData, camera: str | int, height: int, width: int) -> NDArray[np.uint8]:
        """One frame (height, width, 3) of a world whose derived quantities are up to date.

        Raises:
            UserError: nothing here can draw; names the packages that could.
        """
        ensure_gl()
        if (height, width) not in self._renderers:
            size = self._model.vis.global_
            size.offheight, size.offwidth = max(size.offheight, height), max(size.offwidth, width)
            self._renderers[height, width] = mujoco.Renderer(self._model, height, width)
        renderer = self._renderers[height, width]
        renderer.update_scene(data, camera=camera)
        frame: NDArray[np.uint8] = renderer.render().copy()
        return frame

    def close(self) -> None:
        """Free the drawing contexts."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()
