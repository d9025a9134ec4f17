"""A full disk: a clear failure that says what to free, and the same command goes on when there is room again.

On a small tmpfs where one can be mounted; besides, and everywhere, under a limit on the size of files (RLIMIT_FSIZE),
which stops checkpoints but not the small files.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from checks import HERE, chain_sweep, planned, values, whole

from bellmark.cli.families import resolve
from bellmark.cli.train import run_folder
from bellmark.errors import UserError
from bellmark.records import Run
from bellmark.train.run import execute

LAUNCH = (sys.executable, str(HERE / "launch_chains.py"))
SMALL = (
    "task=probe", "task.name=policy-from-obs", "policy.hidden=16", "policy.layers=1", "critic.hidden=16",
    "critic.layers=1", "collect.envs=8", "collect.steps=4", "steps=1280", "update.epochs=1", "update.minibatches=2",
    "evaluation.every=64", "evaluation.episodes=8",
)  # fmt: skip


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here (not root?); the limit on file sizes stands in for it")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Somebody else's file that leaves only so many bytes."""
    filler = disk / "somebody_elses"
    filler.write_bytes(b"x" * max(0, shutil.disk_usage(disk).free - leave))
    return filler


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def recorded(run: Path) -> dict[str, tuple[bytes, bytes]]:
    return {name: v for name, v in values(run).items() if not name.startswith(("time/", "throughput/"))}


@pytest.mark.parametrize("leave", [24_576, 40_960, 90_112])
def test_training_on_a_full_disk_says_what_to_free_and_goes_on_afterwards(
    tmpfs: Path, tmp_path: Path, leave: int
) -> None:
    untouched, run = (run_folder(resolve("ppo", SMALL), folder / "runs") for folder in (tmp_path, tmpfs))
    execute(untouched)
    filler = fill(tmpfs, leave)
    with pytest.raises(UserError, match=r"disk full: 0\.\d MB of 1\.0 MB left below .* free at least"):
        execute(run)
    status = Run(run).status
    assert status.state == "preempted" and "disk full" in status.reason  # not a result: no --retry-failed is needed
    assert not list(run.rglob("*.tmp"))
    filler.unlink()
    whole(tmpfs / "runs")
    assert execute(run) == 0
    whole(tmpfs / "runs")
    assert recorded(run) == recorded(untouched)


def test_a_checkpoint_that_may_not_be_written_is_a_clear_failure_too(tmp_path: Path) -> None:
    untouched, run = (run_folder(resolve("ppo", SMALL), tmp_path / name) for name in ("untouched", "runs"))
    execute(untouched)
    with files_of_at_most(8_192), pytest.raises(UserError, match="disk full"):
        execute(run)
    whole(run.parent)
    assert execute(run) == 0
    assert recorded(run) == recorded(untouched)


@pytest.mark.parametrize("leave", [0, 12_288, 81_920])  # no room for a launch, for a run, for its checkpoints
def test_a_launch_on_a_full_disk_says_what_to_free_and_the_same_command_goes_on(
    tmpfs: Path, tmp_path: Path, leave: int
) -> None:
    file, root = chain_sweep(tmp_path, steps=60, seeds=2), tmpfs / "runs"
    root.mkdir()
    filler = fill(tmpfs, leave)
    command = [*LAUNCH, str(file), str(root)]
    full = subprocess.run(command, capture_output=True, text=True, check=False)
    assert full.returncode in (1, 2)
    assert "disk full" in full.stderr and "free at least" in full.stderr
    assert "Traceback" not in full.stderr
    filler.unlink()
    whole(root)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    whole(root)
    first, second = (values(run.dir) for run in planned(file, root).runs)
    assert first == second
