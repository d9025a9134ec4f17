"""Names that are derived, never typed: of runs, and of the cells of a sweep."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

LONGEST = 48  # characters of the middle part of a run's name: the whole must fit a file name and a table
UNNAMED = ("seed", "steps")  # the seed has its own place in the name; a length is in the fingerprint


def run_name(recipe: str, overrides: Sequence[str], seed: int, fingerprint: str) -> str:
    """`<recipe>-<changed knobs short>-s<seed>-<fingerprint[:6]>`, safe as a folder's name.

    Knobs are named in the order given, as many as fit whole.
    """
    pairs = dict(o.partition("=")[::2] for o in overrides)
    changed = [f"{key.rsplit('.', 1)[-1]}{value}" for key, value in pairs.items() if key not in UNNAMED]
    parts = [_safe(part)[: LONGEST - 1] for part in changed]
    fitting = [
        part for part, end in zip(parts, accumulate(len(part) + 1 for part in parts), strict=True) if end <= LONGEST
    ]
    return "-".join(filter(None, (_safe(recipe), *fitting, f"s{seed}", fingerprint[:6])))


def cell_name(swept: Mapping[str, Any]) -> str:
    """`beta=0.5,gamma=0.9`: the last part of each key where that says which one is meant, else the whole key."""
    last = [key.rsplit(".", 1)[-1] for key in swept]
    keys = [end if last.count(end) == 1 else key for key, end in zip(swept, last, strict=True)]
    return ",".join(f"{key}={value_text(value)}" for key, value in zip(keys, swept.values(), strict=True))


def value_text(value: Any) -> str:
    """A value as people write it in a table: text bare, everything else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-")
