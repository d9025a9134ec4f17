"""The collision shapes of Unitree's H1: fetched by the user, kept as convex hulls in the user's cache, never shipped.

HumanoidBench collides links as the convex hulls of their meshes. Two packages on PyPI hold those very meshes: all but
the feet in one, and the feet (30 cm long and 3 cm wide, unlike the robot's older ones) in the other. Both are pinned by
hash.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bellmark.errors import UserError

Vertices = NDArray[np.float32]
COMMAND = "bellmark assets humanoid"
LINKS = ("hip_roll", "hip_pitch", "knee", "shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow")
FEET = ("left_ankle_link", "right_ankle_link")
BODIES = ("pelvis", "torso_link", *(f"{side}_{link}_link" for side in ("left", "right") for link in LINKS))
# What `digest` says of the right shapes, so that a changed mesh, reader or hull algorithm is noticed at once.
DIGEST = "f4f0f022fa63f310d446a5a7e25ebe89e08fd503c0d5d30e9335fd204c9567c8"


@dataclass(frozen=True)
class Wheel:
    """A package that holds meshes: what to fetch, where in it they lie, under which terms."""

    requirement: str
    sha256: str
    folder: str
    meshes: tuple[str, ...]
    terms: str  # one line for the reader
    license_file: str | None  # its full text inside the wheel


WHEELS = (
    Wheel(
        requirement="robosuite_models==1.0.0",
        sha256="f764c44aef7fb36c8ebd2c4f27119678da6d662a419ca4f6f8a96dc4cbbf405d",
        folder="robosuite_models/assets/robots/h1/meshes",
        meshes=BODIES,
        terms="H1 meshes: BSD-3-Clause, (c) 2016-2023 HangZhou YuShu TECHNOLOGY CO.,LTD. (Unitree Robotics)",
        license_file="robosuite_models/assets/robots/h1/LICENSE",
    ),
    Wheel(
        requirement="holosoma_retargeting==0.1.0",
        sha256="3dcdcc06c6705c091478808024298dfcc684d9eb49e890cc6b11fc03fa246cb4",
        folder="holosoma_retargeting/models/h1/meshes",
        meshes=FEET,
        terms="H1 foot meshes: distributed in holosoma_retargeting under Apache-2.0; made by Unitree Robotics",
        license_file=None,
    ),
)


def cache_dir() -> Path:
    """Where the shapes are kept: `$XDG_CACHE_HOME/bellmark/humanoid`, by default below `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bellmark" / "humanoid"


def hulls_file() -> Path:
    """The one file of shapes."""
    return cache_dir() / "hulls.npz"


def load_hulls() -> dict[str, Vertices]:
    """Link -> hull vertices (V, 3) in metres in the link's frame.

    Raises:
        UserError: they have not been fetched, or the file is not what was written.
    """
    if not hulls_file().is_file():
        raise UserError(f"the H1 tasks need the robot's shapes, which are not in {cache_dir()}; run: {COMMAND}")
    with np.load(hulls_file()) as stored:
        hulls = {name: stored[name] for name in stored.files}
    if digest(hulls) != DIGEST:
        raise UserError(f"{hulls_file()} does not hold the expected shapes; delete it and run: {COMMAND}")
    return hulls


def fetch_hulls(say: Callable[[str], object]) -> Path:
    """Fetch both wheels, reduce their meshes to hulls and keep them with the licence notices; returns the file.

    `say` receives progress and the licence terms, a line at a time.

    Raises:
        UserError: a wheel cannot be fetched, or does not yield the expected shapes.
    """
    hulls: dict[str, Vertices] = {}
    notices = []
    with tempfile.TemporaryDirectory(prefix="bellmark-") as folder:
        for wheel in WHEELS:
            say(f"fetching {wheel.requirement}")
            with zipfile.ZipFile(_download(wheel, Path(folder))) as archive:
                for name in wheel.meshes:
                    hulls[name] = hull(read_stl(archive.read(f"{wheel.folder}/{name}.STL")))
                text = archive.read(wheel.license_file).decode() if wheel.license_file else ""
            notices.append(f"{wheel.terms}\nfrom {wheel.requirement}, sha256 {wheel.sha256}\n\n{text}".strip())
            say(wheel.terms)
    if digest(hulls) != DIGEST:
        raise UserError(
            "the fetched meshes do not reduce to the expected shapes; please report this with your versions"
        )
    cache_dir().mkdir(parents=True, exist_ok=True)
    (cache_dir() / "LICENSES.txt").write_text("\n\n----\n\n".join(notices) + "\n")
    part = hulls_file().with_name(f".hulls-{os.getpid()}.npz")
    np.savez_compressed(part, allow_pickle=False, **{name: hulls[name] for name in sorted(hulls)})
    os.replace(part, hulls_file())
    return hulls_file()


def _download(wheel: Wheel, folder: Path) -> Path:
    """The wheel's file, fetched by pip under its pinned hash and without its dependencies."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"]
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(wanted), "-d", str(folder)]
    done = subprocess.run([*pip, *options], capture_output=True, text=True, check=False)
    found = list(folder.glob(f"{wheel.requirement.split('==')[0]}-*.whl"))
    if done.returncode or not found:
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), "no file came")
        raise UserError(f"pip could not fetch {wheel.requirement}: {reason}")
    return found[0]


def read_stl(content: bytes) -> Vertices:
    """The distinct vertices (V, 3) of a binary STL file, sorted."""
    count = int.from_bytes(content[80:84], "little")
    facet = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    facets = np.frombuffer(content, dtype=facet, count=count, offset=84)
    return np.unique(facets["corners"].reshape(-1, 3), axis=0)


def hull(vertices: Vertices) -> Vertices:
    """Those of the vertices (V, 3) that lie on the convex hull, in their order."""
    from scipy.spatial import ConvexHull

    corners = np.sort(ConvexHull(vertices.astype(np.float64)).vertices)
    kept: Vertices = vertices[corners]
    return kept


def digest(hulls: dict[str, Vertices]) -> str:
    """What identifies a set of shapes: SHA-256 over names and extents rounded to a micrometre.

    Extents along 64 fixed directions, not the vertices: whether a vertex on a flat face counts as a corner may differ
    between versions of the hull algorithm, and matters to nobody.
    """
    directions = np.random.default_rng(0).standard_normal((3, 64))
    directions /= np.linalg.norm(directions, axis=0)
    total = hashlib.sha256()
    for name in sorted(hulls):
        reach = (hulls[name].astype(np.float64) @ directions).max(axis=0)
        total.update(name.encode() + np.rint(reach * 1e6).astype("<i8").tobytes())
    return total.hexdigest()
