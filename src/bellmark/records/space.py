"""A full disk: what it looks like, and what to tell the user about it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from bellmark.records.layout import CHECKPOINTS

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, quota used up, limit of a file's size
LEAST = 2**18  # bytes: with less free, even what a run says of its end has no room


def is_full(error: BaseException | None) -> bool:
    """Whether an error says that there is no room left."""
    return isinstance(error, OSError) and error.errno in FULL


def out_of_room(folder: Path) -> bool:
    """Whether the disk below a run folder has no room left even for small files."""
    try:
        return shutil.disk_usage(folder).free < LEAST
    except OSError:
        return False


def full_message(folder: Path) -> str:
    """What has happened, how much is needed, and where to look for it."""
    saves = [size for file in (folder / CHECKPOINTS).glob("step_*.pt") if (size := _size(file))]
    need = 2 * max(saves, default=0) + 2**20  # a checkpoint is written beside the one that it replaces
    disk = shutil.disk_usage(folder)
    return (
        f"disk full: {_mb(disk.free)} of {_mb(disk.total)} left below {folder}; free at least {_mb(need)} "
        f"({_mb(sum(saves))} are this run's {len(saves)} checkpoints, those of finished runs can go: "
        f"`du -s {folder.parent}/*/{CHECKPOINTS}`), then the same command goes on from the last checkpoint"
    )


def _size(file: Path) -> int:
    try:
        return os.stat(file).st_size
    except OSError:
        return 0


def _mb(size: float) -> str:
    return f"{size / 2**20:.1f} MB"
