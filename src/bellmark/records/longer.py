"""A run that begins where a shorter one ended: its folder, made from the other's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bellmark.errors import UserError
from bellmark.records.layout import (
    LOCK,
    RUN,
    STATUS,
    VIDEOS,
    RunMeta,
    RunStatus,
    pretty,
    write_atomic,
    write_status,
)
from bellmark.records.reader import Run
from bellmark.records.space import full_message, is_full

OWN = (RUN, STATUS, LOCK, VIDEOS, ".*", "trackers.*", "tensorboard", "wandb", "profile")  # of the shorter run alone


def begin_from(shorter: Run, folder: Path, meta: RunMeta) -> Path:
    """Make `folder` the run `meta`, with metrics, attempts, checkpoints and replay of a shorter one; that one stays.

    The folder appears whole or not at all. It is "preempted", as a run is that was asked to stop: whoever runs it next
    goes on from the last checkpoint.

    Raises:
        UserError: the folder cannot be written.
    """
    former = shorter.status
    half = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    status = RunStatus(
        state="preempted",
        step=former.step,
        total=meta.steps,
        attempt=former.attempt,
        reason=f"goes on from {shorter.name}",
    )
    try:
        shutil.copytree(shorter.path, half, ignore=shutil.ignore_patterns(*OWN))
        (half / VIDEOS).mkdir()
        write_atomic(half / RUN, pretty(meta))
        write_status(half, status)
        os.replace(half, folder)
    except OSError as error:
        shutil.rmtree(half, ignore_errors=True)
        if is_full(error):
            raise UserError(full_message(shorter.path)) from None
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
    return folder
