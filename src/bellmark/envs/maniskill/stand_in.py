"""ManiSkill's environments where no Vulkan device is installed, and only there with stand-ins.

ManiSkill builds the pictures of its objects even when nothing is to be drawn (`render_backend="none"`), and SAPIEN then
fails with "failed to find a rendering device". While an environment is built here, materials are empty objects and
visual shapes are skipped; afterwards SAPIEN is as it was. Physics knows nothing of either.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

from bellmark.errors import UserError

INSTALL = "pip install 'bellmark[maniskill]'"
INSTALL_VULKAN = (
    "a Vulkan driver with Vulkan 1.3: the graphics card's own, or in software `apt-get install mesa-vulkan-drivers` "
    "(version 23 or newer; Debian 12 has it in bookworm-backports)"
)
VISUALS = ("box", "capsule", "cylinder", "plane", "sphere")


@cache
def load() -> Any:
    """The package `sapien`, once ManiSkill's tasks are registered with Gymnasium.

    Raises:
        UserError: ManiSkill is not installed; says how it would be.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Failed to find system libvulkan")
        try:
            import mani_skill.envs  # noqa: F401 - registers the tasks
            import sapien
            import sapien.render
            import sapien.wrapper.actor_builder
        except ModuleNotFoundError as error:
            package = (error.name or "mani_skill").partition(".")[0]
            raise UserError(f"ManiSkill tasks need {package}, which is not installed: {INSTALL}") from None
    return sapien


@cache
def can_draw() -> bool:
    """Whether SAPIEN finds a rendering device here."""
    sapien = load()
    try:
        sapien.render.RenderMaterial()
    except RuntimeError:
        return False
    return True


def make(reward: str, *, draws: bool = False, num_envs: int = 1, cuda: bool = False) -> Any:
    """ManiSkill's own PickCube-v1 (`BaseEnv`, its time limit left away): state observations, joint deltas.

    `reward` is ManiSkill's reward mode; `draws` builds it with pictures.

    Raises:
        UserError: it is to draw, and nothing here can.
    """
    load()
    import gymnasium

    if draws and not can_draw():
        raise UserError(f"SAPIEN finds nothing that can draw; it needs {INSTALL_VULKAN}")
    with _young_objects_only(), _without_pictures() if not can_draw() else ExitStack():
        env = gymnasium.make(
            "PickCube-v1",
            num_envs=num_envs,
            obs_mode="state",
            control_mode="pd_joint_delta_pos",
            reward_mode=reward,
            render_mode="rgb_array" if draws else None,
            sim_backend="physx_cuda" if cuda else "physx_cpu",
            render_backend=("gpu" if cuda else "cpu") if draws else "none",
        )
    return env.unwrapped


class _Empty:
    """A material that nobody looks at."""

    def __init__(self, **_: object) -> None:
        pass


@contextmanager
def _without_pictures() -> Iterator[None]:
    sapien = load()
    builder = sapien.wrapper.actor_builder.ActorBuilder

    def skip(builder: object, *_: object, **__: object) -> object:
        return builder

    names = [*(f"add_{shape}_visual" for shape in VISUALS), "add_visual_from_file"]
    with ExitStack() as stand_ins:
        stand_ins.enter_context(patch.object(sapien.render, "RenderMaterial", _Empty))
        for name in names:
            stand_ins.enter_context(patch.object(builder, name, skip))
        yield


@contextmanager
def _young_objects_only() -> Iterator[None]:
    """ManiSkill collects garbage at every build, which takes 0.4 s if it looks through all that torch has imported."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
