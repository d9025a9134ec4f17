"""A run that was interrupted once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tracked_run import first_attempt, meta, second_attempt

from bellmark.records import Run, create_run


@pytest.fixture(autouse=True, scope="package")
def no_waiting_for_the_disk() -> Iterator[None]:
    """No test has a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Done, in two attempts."""
    folder = create_run(tmp_path / "runs" / "single" / "ppo-s1-3fa29c", meta())
    first_attempt(folder)
    second_attempt(folder)
    return Run(folder)
