"""The Ray launcher: one Ray core task per run, tried again elsewhere when its node is lost.

A task is a cell (cell.py), which starts the runner as a process of its own: killed with its worker or its node, it is
found by its warden and saves itself, and the task that Ray starts elsewhere waits for that before it goes on. Ray ends
the tasks of a launcher that is gone; the same command then continues. Run folders must be on storage that all nodes
see under one path, and bellmark installed on all of them.
"""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bellmark.errors import UserError
from bellmark.sweeps.cell import Cell, read_note
from bellmark.sweeps.cluster import Job
from bellmark.sweeps.schema import Resources

DEMAND = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}  # as Ray names a node's resources and a task's
KNOCK_SECONDS = 10.0
RETRIES = 20  # of a task whose node or worker is lost; cells that get nowhere give up before


class RayCluster:
    """Ray as a launcher sees it.

    Args:
        address: of a running cluster, such as `auto` or `10.0.0.1:6379`; "" starts Ray on this machine alone.

    Raises:
        UserError: no cluster at that address, or no node that could ever hold a run.
    """

    name = "ray"
    poll = 0.5
    settle = 3.0
    outlives = False

    def __init__(self, address: str, resources: Resources) -> None:
        import ray

        self._ray = ray
        try:
            _knock(address)
            ray.init(
                address=address or None, log_to_driver=False, ignore_reinit_error=True, logging_level=logging.ERROR
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"--address {address}: no Ray cluster answers there: {_first_line(error)}") from None
        needs = _needs(resources)
        _check(needs, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        demand: dict[str, Any] = {name: needs[key] for key, name in DEMAND.items() if key in needs}
        self._task: Any = ray.remote(**demand, max_retries=RETRIES)(call)
        self._tasks: dict[str, Any] = {}

    def submit(self, name: str, cell: Cell) -> str:
        """One task."""
        task = self._task.options(name=name).remote(cell)
        self._tasks[cell.folder] = task
        return str(task.hex()[:16])

    def jobs(self) -> dict[str, Job] | None:
        """The tasks that have not ended; how they ended is in the notes of their cells."""
        if self._tasks:
            ended, _ = self._ray.wait(list(self._tasks.values()), num_returns=len(self._tasks), timeout=0)
            self._tasks = {folder: task for folder, task in self._tasks.items() if task not in ended}
        return {folder: Job(folder, _begun(Path(folder))) for folder in self._tasks}

    def end(self, jobs: Sequence[Job], *, now: bool = False) -> None:
        """Cancel tasks; with `now` their workers are killed, which their runs still survive by a checkpoint."""
        for job in jobs:
            if job.id in self._tasks:
                self._ray.cancel(self._tasks[job.id], force=now)


def call(cell: Callable[[], int]) -> int:
    """What a Ray worker runs."""
    return cell()


def _knock(address: str) -> None:
    """Ask at a plain host:port whether anybody is there: Ray itself would try for minutes.

    Raises:
        OSError: nobody is.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "://" not in address:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()


def _begun(folder: Path) -> bool:
    note = read_note(folder)
    return note is not None and note.code is None


def _needs(resources: Resources) -> dict[str, float]:
    """What one run needs, in Ray's names."""
    optional = {"GPU": resources.gpus, "memory": float(math.ceil(resources.memory_bytes))}
    return {"CPU": float(resources.cpus), **{key: value for key, value in optional.items() if value}}


def _check(needs: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> None:
    """Refuse what no node could ever hold: Ray itself would wait for ever."""
    if any(all(node.get(key, 0.0) >= amount for key, amount in needs.items()) for node in nodes):
        return
    keys = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}
    asked = ", ".join(f"{keys[key]}={amount:g}" for key, amount in needs.items())
    most = ", ".join(f"{keys[k]} {max((n.get(k, 0.0) for n in nodes), default=0.0):g}" for k in needs)
    raise UserError(f"resources: no node of the Ray cluster holds a run ({asked}); the most that one has: {most}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
