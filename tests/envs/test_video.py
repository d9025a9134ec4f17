"""Videos are what was asked for, or a GIF with a notice; OpenGL is found, or the missing package is named."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bellmark.envs import video
from bellmark.errors import UserError


def frames(count: int, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
    """A white square that moves right over black."""
    out = []
    for i in range(count):
        frame = np.zeros((height, width, 3), dtype=np.uint8)
        frame[10:20, 2 * i : 2 * i + 10] = 255
        out.append(frame)
    return out


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63)], ids=["even", "odd"])
def test_mp4_is_h264_of_the_right_length_size_and_content(tmp_path: Path, height: int, width: int) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = video.write_video(iter(frames(12, height, width)), tmp_path / "deep" / "episode.mp4", fps=20)
    assert path == tmp_path / "deep" / "episode.mp4" and list(path.parent.iterdir()) == [path]
    assert ffmpeg.count_frames_and_secs(str(path))[0] == 12
    reader = ffmpeg.read_frames(str(path))
    meta = next(reader)
    assert meta["codec"] == "h264" and "yuv420p" in meta["pix_fmt"]
    assert meta["size"] == (64, 48) and meta["fps"] == 20
    first = np.frombuffer(next(reader), dtype=np.uint8).reshape(48, 64, 3).astype(int)
    reader.close()
    assert np.abs(first[:height, :width] - frames(1, height, width)[0]).mean() < 4  # of 255: lossy, but this picture


def test_without_an_encoder_a_gif_is_written_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    image = pytest.importorskip("PIL.Image")
    monkeypatch.setattr(video, "_encoder", lambda: None)
    with caplog.at_level(logging.WARNING):
        path = video.write_video(frames(5), tmp_path / "episode.mp4", fps=10)
    assert path.name == "episode.gif" and "pip install imageio-ffmpeg" in caplog.text
    with image.open(path) as gif:
        assert gif.n_frames == 5 and gif.size == (64, 48) and gif.info["duration"] == 100


def test_without_encoder_and_pillow_the_install_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_encoder", lambda: None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UserError, match="pip install imageio-ffmpeg"):
        video.write_video(frames(2), tmp_path / "episode.mp4", fps=10)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_episode_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[NDArray[np.uint8]]:
        yield from frames(3)
        raise RuntimeError("the episode broke")

    with pytest.raises(RuntimeError, match="the episode broke"):
        video.write_video(broken(), tmp_path / "episode.mp4", fps=10)
    assert list(tmp_path.iterdir()) == []


def test_no_frames_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no frames"):
        video.write_video([], tmp_path / "episode.mp4", fps=10)


@pytest.fixture
def headless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    video.ensure_gl.cache_clear()
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    yield
    video.ensure_gl.cache_clear()


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="headless OpenGL is chosen on Linux only")


@linux
@pytest.mark.usefixtures("headless")
def test_nothing_to_draw_with_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_why_not", lambda name: f"no lib{name}")
    with pytest.raises(UserError, match=r"egl: no libegl; osmesa: no libosmesa.*libosmesa6.*libegl1 libgl1-mesa-dri"):
        video.ensure_gl()


@linux
@pytest.mark.usefixtures("headless")
def test_osmesa_is_taken_where_egl_fails_and_a_named_interface_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    monkeypatch.setattr(video, "_use", used.append)
    monkeypatch.setattr(video, "_why_not", lambda name: "no driver" if name == "egl" else "")
    assert video.ensure_gl() == "osmesa" and used == ["osmesa"]
    video.ensure_gl.cache_clear()
    monkeypatch.setenv("MUJOCO_GL", "egl")
    with pytest.raises(UserError, match=r"\(egl: no driver\)"):
        video.ensure_gl()


@linux
@pytest.mark.parametrize("before", ["", "disabled"], ids=["unset", "disabled"])
def test_a_renderer_works_though_mujoco_was_imported_first(before: str) -> None:
    code = """
import mujoco, sys
from bellmark.envs.video import ensure_gl
from bellmark.errors import UserError
try:
    ensure_gl()
except UserError as error:
    sys.exit(f"skip: {error}")
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 32, 32) as renderer:
    renderer.update_scene(data)
    assert renderer.render().max() > 0
"""
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "PYOPENGL_PLATFORM")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**env, "MUJOCO_GL": before}, capture_output=True, text=True, check=False
    )
    if "skip: " in done.stderr:
        pytest.skip(done.stderr.split("skip: ")[1].strip())
    assert done.returncode == 0, done.stderr
