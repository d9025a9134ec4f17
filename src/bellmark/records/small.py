"""A run in small form: what a learning claim needs to be checked, in a file small enough to be committed."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from bellmark.records.attempts import standing
from bellmark.records.metrics import Curve
from bellmark.records.reader import Run

FACTS = (
    "name", "family", "recipe", "overrides", "config", "fingerprint", "task", "seed", "steps", "parent_checkpoint",
    "continues", "commit", "dirty", "device", "versions", "created",
)  # fmt: skip
SMALL = ("eval/*", "steps/*")  # metrics, unless others are asked for
DIGITS = 5  # significant: more is noise of the run, not of the file


def small_record(run: Run, patterns: Sequence[str] = SMALL) -> dict[str, Any]:
    """Configuration, seed, commits, versions, state and the curves whose names fit a pattern; no machine, no paths."""
    names = [n for n in run.metric_names() if any(fnmatchcase(n, p) for p in patterns)]
    facts = {key: getattr(run.meta, key) for key in FACTS}
    attempts = [
        {"resumed_from": a.resumed_from, "commit": a.commit, "dirty": bool(a.changes)} for a in standing(run.attempts())
    ]
    return {
        **facts,
        "attempts": attempts,
        "state": run.status.state,
        "curves": {n: _small(c) for n, c in run.curves(names).items()},
    }


def _small(curve: Curve) -> dict[str, list[float]]:
    return {"step": curve.step.tolist(), "value": [float(f"{v:.{DIGITS}g}") for v in np.asarray(curve.value)]}
