"""Pictures and videos of episodes: headless OpenGL for MuJoCo, H.264 in MP4, GIF where no encoder is installed."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from bellmark.errors import UserError

Frame = NDArray[np.uint8]
HEADLESS = ("egl", "osmesa")  # in the order tried: EGL uses a GPU where there is one
OFF = ("disable", "disabled", "off", "false", "0")  # MUJOCO_GL values by which training jobs skip OpenGL
INSTALL_GL = "`apt-get install libosmesa6` or `apt-get install libegl1 libgl1-mesa-dri`"
INSTALL_ENCODER = "pip install imageio-ffmpeg"

log = logging.getLogger(__name__)


@cache
def ensure_gl() -> str:
    """Make MuJoCo able to draw without a display; call before the first renderer. Returns the OpenGL interface used.

    An interface named by MUJOCO_GL is respected; otherwise EGL, then OSMesa is tried. Works whether or not mujoco has
    been imported, because the renderer looks its context class up when it is made.

    Raises:
        UserError: no interface works; names the Debian packages that bring one.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower().strip()
    has_display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if not sys.platform.startswith("linux") or (wanted not in (*HEADLESS, *OFF) and has_display):
        return wanted or "native"
    reasons = {}
    for name in (wanted,) if wanted in HEADLESS else HEADLESS:
        reasons[name] = _why_not(name)
        if not reasons[name]:
            _use(name)
            return name
    tried = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise UserError(f"nothing here can draw without a display ({tried}); install one with {INSTALL_GL}")


def _why_not(name: str) -> str:
    """Why a context of this interface cannot be made, "" where it can; asked in a process of its own.

    A failed attempt leaves PyOpenGL bound to the platform that failed, so that no other could be tried after it.
    """
    env = {k: v for k, v in os.environ.items() if k != "PYOPENGL_PLATFORM"} | {"MUJOCO_GL": name}
    command = [sys.executable, "-c", f"from mujoco.{name} import GLContext; GLContext(8, 8).make_current()"]
    attempt = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    if attempt.returncode == 0:
        return ""
    lines = attempt.stderr.strip().splitlines()
    return lines[-1][:160] if lines else f"exit status {attempt.returncode}"


def _use(name: str) -> None:
    os.environ["MUJOCO_GL"] = name  # for dm_control, and for processes started from here
    os.environ["PYOPENGL_PLATFORM"] = name
    context = importlib.import_module("mujoco.rendering.classic.gl_context")
    context.__dict__["GLContext"] = importlib.import_module(f"mujoco.{name}").GLContext


def write_video(frames: Iterable[Frame], path: str | Path, fps: float) -> Path:
    """Write frames, each (height, width, 3) of uint8, as H.264 in MP4 at `fps` frames per second; returns the file.

    Without an encoder the file is a GIF beside the name asked for, and a warning says so. The file appears whole or
    not at all. Odd sides gain one row or column, which H.264's half-resolution colour planes need.

    Raises:
        UserError: neither an MP4 encoder nor Pillow is installed.
        ValueError: there is no frame.
    """
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        raise ValueError(f"no frames to write to {path}")
    target = Path(path).with_suffix(".mp4")
    encoder = _encoder()
    if encoder is None:
        target = target.with_suffix(".gif")
        log.warning("no MP4 encoder is installed (%s): writing %s instead", INSTALL_ENCODER, target.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        if encoder is None:
            _write_gif(chain([first], stream), part, fps)
        else:
            _write_mp4(encoder, chain([first], stream), part, fps)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _encoder() -> ModuleType | None:
    """The imageio_ffmpeg module, or None where it or its ffmpeg is missing."""
    try:
        module = importlib.import_module("imageio_ffmpeg")
        module.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None
    return module


def _write_mp4(encoder: ModuleType, frames: Iterator[Frame], path: Path, fps: float) -> None:
    first = next(frames)
    height, width = first.shape[:2]
    pad = ((0, height % 2), (0, width % 2), (0, 0))
    writer = encoder.write_frames(
        str(path),
        (width + width % 2, height + height % 2),
        fps=fps,
        codec="libx264",
        quality=7,
        macro_block_size=2,
        output_params=["-movflags", "+faststart"],  # the index first, so that a browser can begin at once
    )
    writer.send(None)
    try:
        for frame in chain([first], frames):
            writer.send(np.ascontiguousarray(np.pad(frame, pad, mode="edge")))
    finally:
        writer.close()


def _write_gif(frames: Iterator[Frame], path: Path, fps: float) -> None:
    try:
        from PIL import Image
    except ImportError:
        raise UserError(f"writing a video needs an encoder: {INSTALL_ENCODER}") from None
    images = (Image.fromarray(frame) for frame in frames)
    next(images).save(path, save_all=True, append_images=images, duration=1000 / fps, loop=0)
