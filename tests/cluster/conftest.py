"""Clusters for `make test-cluster`; everything here is left out of other test runs (BELLMARK_CLUSTER says so)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for disturbed.py and real_slurm.py

WANTED = os.environ.get("BELLMARK_CLUSTER", "").split(",")
collect_ignore_glob = [f"test_{name}.py" for name in ("slurm", "ray") if name not in WANTED]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What every run records when nothing happens to it, by name."""
    from disturbed import curves, started, write_sweep

    folder = tmp_path_factory.mktemp("undisturbed")
    launcher = started(write_sweep(folder), folder / "runs", "--workers", "2")
    assert launcher.wait(300) == 0
    return curves(folder / "runs")
