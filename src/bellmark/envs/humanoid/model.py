"""The H1 robot in its three sceneries: a plain, a row of triangular hills ("slide"), four stepped pyramids ("stair").

`h1.xml` holds all but shapes; the links' convex hulls come from the cache. Scenery after HumanoidBench's `slide.xml`
and `generated_xml_stairs.xml`: same boxes and ridges, drawn once instead of twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import mujoco
import numpy as np

from bellmark.envs.humanoid.assets import Vertices, load_hulls

GREY = (0.62, 0.63, 0.66, 1.0)
UNSEEN = (0.0, 0.0, 0.0, 0.0)  # walls, which would stand before the camera
HILLS, HILL_LENGTH, HILL_START, HILL_HEIGHT, HALF_WIDTH = 9, 10.0, 0.3, 1.75, 5.0  # m
PYRAMIDS = (3.2, 9.2, 15.2, 21.2)  # m: centres along x
LAYERS, LAYER_HEIGHT, TOP_HALF_LENGTH, TREAD = 5, 0.18, 0.3, 0.6  # m
SLIDE_WALLS = (((48.85, -5.15, 4), (53, 0.15, 4)), ((48.85, 5.15, 4), (53, 0.15, 4)), ((-4, 0, 4), (0.15, 5.15, 4)))
STAIR_WALLS = (((13.5, -5.05, 2), (15.5, 0.1, 2)), ((13.5, 5.05, 2), (15.5, 0.1, 2)), ((-2.1, 0, 2), (0.1, 7.25, 2)))

Vector = tuple[float, float, float]


@cache
def load_model(scenery: str) -> mujoco.MjModel:
    """The compiled model of one scenery ("plain", "slide", "stair"), with the shapes from the cache.

    Raises:
        UserError: the shapes have not been fetched.
    """
    return build(scenery, load_hulls())


def build(scenery: str, hulls: Mapping[str, Vertices]) -> mujoco.MjModel:
    """The model whose links collide as `hulls`: body name -> vertices (V, 3), in metres in the body's frame."""
    spec = mujoco.MjSpec.from_file(str(Path(__file__).with_name("h1.xml")))
    for name, vertices in hulls.items():
        spec.add_mesh(name=name, uservert=vertices.astype(np.float64).ravel())
        spec.body(name).add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name)
    {"plain": _plain, "slide": _slide, "stair": _stair}[scenery](spec)
    return spec.compile()


def _plain(spec: mujoco.MjSpec) -> None:
    """Nothing but the floor."""


def _slide(spec: mujoco.MjSpec) -> None:
    foot, top, end = HILL_START, HILL_START + HILL_LENGTH / 2, HILL_START + HILL_LENGTH
    profile = ((foot, 0.0), (top, HILL_HEIGHT), (end, 0.0))
    corners = [c for x, z in profile for side in (1, -1) for c in (x, side * HALF_WIDTH, z)]
    spec.add_mesh(name="hill", uservert=corners)
    for i in range(HILLS):
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH, meshname="hill", pos=(i * HILL_LENGTH, 0, 0), rgba=GREY
        )
    for pos, size in SLIDE_WALLS:
        _box(spec, pos, size, UNSEEN)


def _stair(spec: mujoco.MjSpec) -> None:
    for x in PYRAMIDS:
        for i in range(LAYERS):
            half_length = TOP_HALF_LENGTH + TREAD * (LAYERS - 1 - i)
            shade = (*(0.75 * c if i % 2 else c for c in GREY[:3]), 1.0)
            centre = (x, 0.0, (i + 0.5) * LAYER_HEIGHT)
            _box(spec, centre, (half_length, HALF_WIDTH, LAYER_HEIGHT / 2), shade)
    for pos, size in STAIR_WALLS:
        _box(spec, pos, size, UNSEEN)


def _box(spec: mujoco.MjSpec, pos: Vector, size: Vector, rgba: tuple[float, ...]) -> None:
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=pos, size=size, rgba=rgba)
