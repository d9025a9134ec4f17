"""CartPole's picture drawn at its final size: a pixel is the mean of the area that it covers in Gymnasium's frame.

Gymnasium draws 400x600 with pygame and leaves the shrinking to a wrapper. Its shapes are simple, so the share of a
small pixel that each covers can be had directly: a shape is cut into level lines, a line into the columns that it
crosses. Geometry and colours of `gymnasium.envs.classic_control.cartpole` 1.4, corners in whole pixels as pygame's.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
FRAME = (400, 600)  # pixels of Gymnasium's frame
SCALE = 125.0  # pixels per metre
CART = (50, 30)
CART_HEIGHT = 100  # of the cart's centre and the track, in pixels from the bottom
AXLE_HEIGHT = 107.5
POLE_LENGTH, POLE_WIDTH = 125.0, 10.0
AXLE_RADIUS = 5.0
LINES = 4  # level lines per small pixel
REACH = (84, 240)  # heights between which anything but the track can be

WHITE = np.float32(255)
POLE_COLOUR = np.array([202, 152, 101], dtype=np.float32)
AXLE_COLOUR = np.array([129, 132, 203], dtype=np.float32)


class _Grid(NamedTuple):
    """What depends on the picture's size alone."""

    rows: slice  # of the picture that hold the scene
    lines: Array  # (R * LINES,) heights of the level lines through those rows, in Gymnasium's pixels from the bottom
    edges: Array  # (W + 1,) the columns' borders, in Gymnasium's pixels from the left
    track: Array  # (R, 1) what the track leaves of the background
    cart: Array  # (R, 1) share of each row that the cart's height covers
    axle: slice  # of the scene's rows that hold the axle
    dots: Array  # half width of the axle's disc at each line through those rows


@cache
def _grid(height: int, width: int) -> _Grid:
    tall = FRAME[0] / height
    first, last = int((FRAME[0] - REACH[1]) // tall), int(-(-(FRAME[0] - REACH[0]) // tall))
    count = last - first
    offsets = (np.arange(count * LINES) + 0.5) / LINES
    lines = FRAME[0] - tall * (first + offsets)
    tops = FRAME[0] - tall * (first + np.arange(count))

    def share(low: float, high: float) -> Array:
        covered = np.clip(np.minimum(tops, high) - np.maximum(tops - tall, low), 0, None) / tall
        return covered.astype(np.float32)[:, None]

    reach = AXLE_RADIUS + 0.5
    rise = lines - (int(AXLE_HEIGHT) + 0.5)
    rows = np.flatnonzero(np.abs(rise) < reach) // LINES
    axle = slice(rows[0], rows[-1] + 1)
    dots = np.sqrt(np.clip(reach**2 - rise**2, 0, None)).astype(np.float32)
    return _Grid(
        rows=slice(first, last),
        lines=lines.astype(np.float32),
        edges=np.linspace(0, FRAME[1], width + 1, dtype=np.float32),
        track=1 - share(CART_HEIGHT, CART_HEIGHT + 1),
        cart=share(CART_HEIGHT - CART[1] / 2, CART_HEIGHT + CART[1] / 2 + 1),
        axle=axle,
        dots=dots[axle.start * LINES : axle.stop * LINES],
    )


def draw(x: NDArray[np.float64], angle: NDArray[np.float64], height: int, width: int) -> NDArray[np.uint8]:
    """Pictures (K, height, width, 3) of carts at x (K,) metres with poles leaning by `angle` (K,) radians."""
    grid = _grid(height, width)
    centre = x * SCALE + FRAME[1] / 2
    left, right = np.trunc(centre - CART[0] / 2), np.trunc(centre + CART[0] / 2) + 1
    cart = _columns(_inside(left[:, None], right[:, None], grid), grid) * grid.cart
    pole = _columns(_mean(_inside(*_pole(centre, angle, grid.lines), grid)), grid)
    middle = np.trunc(centre)[:, None] + 0.5
    axle = _columns(_mean(_inside(middle - grid.dots, middle + grid.dots, grid)), grid)
    frames = np.full((len(x), height, width, 3), 255, dtype=np.uint8)
    scene = frames[:, grid.rows]
    for channel, (pole_colour, axle_colour) in enumerate(zip(POLE_COLOUR, AXLE_COLOUR, strict=True)):
        plane = WHITE - WHITE * cart
        plane += pole * (pole_colour - plane)
        beside = plane[:, grid.axle]
        beside += axle * (axle_colour - beside)
        plane *= grid.track
        scene[..., channel] = np.rint(plane, out=plane)
    return frames


def _inside(left: NDArray[np.floating], right: NDArray[np.floating], grid: _Grid) -> Array:
    """(K, L, W + 1) the columns' borders, moved to where level lines (K, L) enter and leave a shape."""
    borders: Array = np.clip(grid.edges, left[:, :, None].astype(np.float32), right[:, :, None].astype(np.float32))
    return borders


def _mean(borders: Array) -> Array:
    """(K, R * LINES, W + 1) of level lines to (K, R, W + 1) of rows."""
    count, _, width = borders.shape
    mean: Array = borders.reshape(count, -1, LINES, width).mean(axis=2)
    return mean


def _columns(borders: Array, grid: _Grid) -> Array:
    """(K, R, W + 1) borders to (K, R, W), the share of each pixel that the shape covers."""
    share: Array = np.diff(borders, axis=2) / (grid.edges[1] - grid.edges[0])
    return share


def _pole(centre: NDArray[np.float64], angle: NDArray[np.float64], lines: Array) -> tuple[Array, Array]:
    """Where each level line (L,) enters and leaves the pole: two arrays (K, L), equal where it misses."""
    half = POLE_WIDTH / 2
    along = np.array([-half, POLE_LENGTH - half, POLE_LENGTH - half, -half])
    across = np.array([-half, -half, half, half])
    sin, cos = np.sin(angle)[:, None], np.cos(angle)[:, None]
    px = np.trunc(centre[:, None] + across * cos + along * sin)  # (K, 4)
    py = np.trunc(AXLE_HEIGHT + along * cos - across * sin)
    px, py = px + 0.5, py + 0.5
    qx, qy = np.roll(px, -1, axis=1), np.roll(py, -1, axis=1)
    low, high = np.minimum(py, qy), np.maximum(py, qy)
    slope = (qx - px) / np.where(high > low, qy - py, 1.0)
    at = lines[None, :, None]
    crosses = (at >= low[:, None]) & (at < high[:, None])
    where = px[:, None] + (at - py[:, None]) * slope[:, None]
    left = np.where(crosses, where, np.inf).min(axis=2)
    right = np.where(crosses, where, -np.inf).max(axis=2)
    miss = left > right
    left[miss] = right[miss] = 0.0
    return (left - 0.5 * ~miss).astype(np.float32), (right + 0.5 * ~miss).astype(np.float32)
