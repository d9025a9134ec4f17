"""The Slurm launcher on a real Slurm of three nodes, with real training runs."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from disturbed import RUNS, called, check, no_orphans, said, saved, started, wait_for, write_sweep
from real_slurm import RealSlurm

from bellmark.records import scan

Curves = dict[str, object]
LAUNCH = ("--launcher", "slurm", "--partition", "main", "--time", "10:00", "--grace", "30")
PATIENCE = 300


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSlurm]:
    cluster = RealSlurm(tmp_path_factory.mktemp("slurm") / "cluster")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def queue(slurm: RealSlurm) -> list[str]:
    return slurm.run("squeue", "--noheader", "--format", "%i").split()


def finish(launcher: subprocess.Popen[bytes], root: Path) -> None:
    """The launcher must end well by itself."""
    code = launcher.wait(PATIENCE)
    assert code == 0, root.with_suffix(".out").read_text()


def test_requeue_and_a_killed_launcher(slurm: RealSlurm, undisturbed: Curves, tmp_path: Path) -> None:
    file, root = write_sweep(tmp_path), tmp_path / "runs"
    launcher = started(file, root, *LAUNCH)
    wait_for(saved(root, step=2_000), PATIENCE, "checkpoints")
    launcher.kill()
    launcher.wait()
    jobs = queue(slurm)
    assert len(jobs) == RUNS  # they outlive their launcher
    again = started(file, root, *LAUNCH)
    slurm.run("scontrol", "requeue", jobs[0])
    finish(again, root)
    assert "2 jobs of an earlier launch are followed" in said(root)
    assert sorted(int(p.name.split("_")[0]) for p in (root / "probe" / ".slurm").glob("*_submitted.pkl")) == sorted(
        map(int, jobs)
    )  # not submitted twice
    check(root, undisturbed, resumed=1)
    no_orphans(root)


def test_walltime(slurm: RealSlurm, undisturbed: Curves, tmp_path: Path) -> None:
    file, root = write_sweep(tmp_path), tmp_path / "runs"
    began = time.monotonic()
    launcher = started(file, root, *LAUNCH)
    wait_for(saved(root, step=1_000), PATIENCE, "checkpoints")
    runners = [psutil.Process(run.status.pid) for run in scan(root)]
    for runner in runners:
        runner.suspend()  # so that it cannot be done before Slurm looks at the clock
    # a minute more or less, whatever the load: Slurm then sends SIGUSR2 within half a minute
    limit = 1 + int(time.monotonic() - began + 15) // 60
    for job in queue(slurm):
        slurm.run("scontrol", "update", f"JobId={job}", f"TimeLimit={limit}")
    wait_for(lambda: all(map(_told, runners)), PATIENCE, "both runs to be told")
    for runner in runners:
        with suppress(psutil.NoSuchProcess):
            runner.resume()
    wait_for(lambda: _asked(root) == RUNS, PATIENCE, "both runs to save themselves")
    for job in queue(slurm):
        slurm.run("scontrol", "update", f"JobId={job}", "TimeLimit=10")  # the rest in one go
    finish(launcher, root)
    assert _asked(root) == RUNS
    check(root, undisturbed)
    no_orphans(root)


def test_preemption_by_a_higher_partition(slurm: RealSlurm, undisturbed: Curves, tmp_path: Path) -> None:
    file, root = write_sweep(tmp_path), tmp_path / "runs"
    launcher = started(file, root, *LAUNCH)
    wait_for(saved(root, step=1_000), PATIENCE, "checkpoints")
    urgent = (
        "sbatch",
        "--partition",
        "urgent",
        "--nodes",
        "3",
        "--exclusive",
        "--wrap",
        "sleep 3",
        "--output",
        "/dev/null",
    )
    slurm.run(*urgent)
    finish(launcher, root)
    assert _asked(root) == RUNS
    check(root, undisturbed)
    no_orphans(root)


def test_node_death(slurm: RealSlurm, undisturbed: Curves, tmp_path: Path) -> None:
    file, root = write_sweep(tmp_path), tmp_path / "runs"
    launcher = started(file, root, *LAUNCH)
    wait_for(saved(root, step=1_000), PATIENCE, "checkpoints")
    node = slurm.run("squeue", "--noheader", "--states", "RUNNING", "--format", "%N").split()[0]
    slurm.kill_node(node)
    try:
        finish(launcher, root)
        check(root, undisturbed, resumed=1)
        no_orphans(root)
    finally:
        slurm.start_node(node)


def test_cancel_and_resume(slurm: RealSlurm, undisturbed: Curves, tmp_path: Path) -> None:
    file, root = write_sweep(tmp_path), tmp_path / "runs"
    launcher = started(file, root, *LAUNCH)
    wait_for(saved(root, step=1_000), PATIENCE, "checkpoints")
    assert "is cancelled" in called("cancel", file, root)
    assert launcher.wait(PATIENCE) == 75, root.with_suffix(".out").read_text()
    assert queue(slurm) == []
    no_orphans(root)
    called("resume", file, root, "--no-report")
    check(root, undisturbed)


def test_impossible_requests_are_refused(slurm: RealSlurm, tmp_path: Path) -> None:
    file = write_sweep(tmp_path)
    for name, options, why in (
        ("partition", ("--partition", "mian", "--time", "10"), "invalid partition"),
        ("time", ("--time", "2-00:00:00"), "can never start it"),
        ("nodes", ("--time", "10", "--sbatch", "nodes=7"), "can never start it"),
    ):
        root = tmp_path / name
        launcher = started(file, root, "--launcher", "slurm", *options)
        assert launcher.wait(PATIENCE) == 2, root.with_suffix(".out").read_text()
        assert why in said(root)
    assert queue(slurm) == []


def _told(process: psutil.Process) -> bool:
    """Whether a stop signal waits for a suspended process, or Slurm has woken it (it sends SIGCONT too)."""
    if not process.is_running():
        return True
    try:
        waiting = re.search(r"ShdPnd:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    except FileNotFoundError:
        return True
    assert waiting is not None
    return bool(int(waiting[1], 16) & (1 << signal.SIGUSR2 - 1 | 1 << signal.SIGTERM - 1))


def _asked(root: Path) -> int:
    """How many runs were told to save themselves, and did."""
    return sum("asked to stop by" in log.read_text() for log in root.glob("*/*/log.txt"))
