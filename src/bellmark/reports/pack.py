"""Data inside a page: JSON, squeezed by deflate, in base64; the browser unpacks it when something is drawn from it.

A thousand runs with a hundred points each take 2 MB this way, a quarter of the same numbers as text.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = 6  # significant, of a value in a page's data: what a reader can see of it
_RAW = -15  # window bits: deflate without a header, `deflate-raw` in browsers


def pack(value: Any) -> str:
    """A JSON value as the page's scripts unpack it."""
    squeezer = zlib.compressobj(6, zlib.DEFLATED, _RAW)
    data = squeezer.compress(json.dumps(value, separators=(",", ":"), allow_nan=False).encode()) + squeezer.flush()
    return base64.b64encode(data).decode()


def unpack(text: str) -> Any:
    """The value that was packed."""
    return json.loads(zlib.decompress(base64.b64decode(text), _RAW))


def plain(values: NDArray[np.float64] | Iterable[float], digits: int = DIGITS) -> list[float | None]:
    """Numbers as JSON can hold them: rounded, whole ones without a point, what is not finite as null."""
    return [_number(v, digits) for v in np.asarray(values, dtype=np.float64).tolist()]


def _number(value: float, digits: int) -> float | None:
    if value != value or value in (float("inf"), float("-inf")):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() else rounded
