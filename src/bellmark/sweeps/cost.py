"""What runs will cost, judged by runs that were carried through in one go before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bellmark.config import fingerprint
from bellmark.records.index import Row

UNPAID = ("seed", "steps")  # knobs that do not change the cost of a step


class Speeds:
    """Steps per second of finished runs: of the same configuration where there is one, else of recipe and task."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._same: dict[str, list[float]] = {}
        self._alike: dict[tuple[str, str], list[float]] = {}
        for row in rows:
            status, meta = row.status, row.meta
            seconds = status.heartbeat - status.process_start
            if status.state == "done" and status.attempt == 1 and status.step > 0 and seconds > 0:
                self._same.setdefault(_work(meta.config), []).append(status.step / seconds)
                self._alike.setdefault((meta.recipe, meta.task), []).append(status.step / seconds)

    def seconds(self, tree: Mapping[str, Any], recipe: str, task: str, steps: int) -> float | None:
        """How long `steps` steps of a configuration will take; None where nothing like it was run."""
        speeds = self._same.get(_work(tree)) or self._alike.get((recipe, task))
        return steps / median(speeds) if speeds else None


def _work(tree: Mapping[str, Any]) -> str:
    return fingerprint({key: value for key, value in tree.items() if key not in UNPAID})
