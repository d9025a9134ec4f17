"""A pool of threads for work in C that releases Python's global lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor


class Pool:
    """Runs `work(0) .. work(count - 1)` on `threads` threads, the calling one among them.

    Each thread takes the next item as soon as it is free, so a slow world holds up nobody; results must not depend on
    who takes what.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._executor = ThreadPoolExecutor(max(1, threads - 1), "mujoco")

    def run(self, work: Callable[[int], object], count: int) -> None:
        """Returns when all is done; an exception in `work` is raised here.

        Raises:
            Exception: whatever `work` raised first.
        """
        queue = iter(range(count))  # `next` on it is atomic under the global lock
        helpers = [self._executor.submit(_drain, work, queue) for _ in range(min(self.threads, count) - 1)]
        _drain(work, queue)
        for helper in helpers:
            helper.result()

    def close(self) -> None:
        """Stop the threads."""
        self._executor.shutdown()


def cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _drain(work: Callable[[int], object], queue: Iterator[int]) -> None:
    for item in queue:
        work(item)
