"""Kill anything, lose nothing: at seeded random moments, mid-line, mid-checkpoint, worker, launcher and real training.

Kills over the whole suite: 32 at system calls, 8 + 120 of workers, 2 + 30 of launchers, 20 of real training: 212. The
moments are seeded but the machine is not: what is checked must hold wherever a kill lands.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checks import HERE, bearing, chain_sweep, planned, rows_anew, values, whole, worker

from bellmark.records import Run, collect_provenance
from bellmark.sweeps.launch import created

CALLS = ("write", "half-write", "fsync", "rename")
LAUNCH = (sys.executable, str(HERE / "launch_chains.py"))


def made(file: Path, root: Path) -> Path:
    found = planned(file, root)
    created(found, found.runs[0], "cpu", collect_provenance())
    return found.runs[0].dir


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, tuple[bytes, bytes]]]:
    """What chains of a length record when nothing happens."""
    found = {}
    for steps in (60, 1_500):
        folder = tmp_path_factory.mktemp(f"undisturbed{steps}")
        run = made(chain_sweep(folder, steps=steps), folder / "runs")
        assert worker(run).wait(60) == 0
        found[steps] = values(run)
    return found


def killed_at(what: str, times: range, undisturbed: dict[int, object], folder: Path, steps: int = 60) -> None:
    run = made(chain_sweep(folder, steps=steps), folder / "runs")
    for n in times:
        assert worker(run, f"{what}:{n}").wait(60) == -signal.SIGKILL
        whole(folder / "runs", torn_ends=what == "half-write")
    assert worker(run).wait(60) == 0
    whole(folder / "runs", torn_ends=what == "half-write")
    assert values(run) == undisturbed[steps]


@pytest.mark.parametrize("what", CALLS)
def test_killed_at_every_kind_of_system_call(what: str, undisturbed: dict[int, object], tmp_path: Path) -> None:
    """16 kills: between a line and its checkpoint, between data and name, in the middle of a line."""
    killed_at(what, range(1, 5), undisturbed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("what", CALLS)
def test_killed_at_later_system_calls(what: str, undisturbed: dict[int, object], tmp_path: Path) -> None:
    """16 kills."""
    killed_at(what, range(5, 9), undisturbed, tmp_path, steps=1_500)


def random_kills(folder: Path, kills: int, seed: int) -> Path:
    """A chain killed so often at random moments, looked over after each, then left alone."""
    chosen = random.Random(seed)
    run = made(chain_sweep(folder, steps=1_500), folder / "runs")
    for _ in range(kills):
        process = worker(run)
        first = Run(run).status.attempt
        while process.poll() is None and Run(run).status.attempt == first:
            time.sleep(0.005)
        time.sleep(chosen.uniform(0, 0.08))  # a whole chain takes some seconds
        process.kill()
        process.wait()
        whole(folder / "runs")
    assert worker(run).wait(120) == 0
    whole(folder / "runs")
    return run


def test_worker_killed_at_random_moments(undisturbed: dict[int, object], tmp_path: Path) -> None:
    run = random_kills(tmp_path, kills=8, seed=1)
    assert Run(run).status.attempt == 9
    assert values(run) == undisturbed[1_500]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_worker_killed_at_many_random_moments(seed: int, undisturbed: dict[int, object], tmp_path: Path) -> None:
    assert values(random_kills(tmp_path, kills=20, seed=seed)) == undisturbed[1_500]


def launcher_kills(folder: Path, kills: int, seed: int) -> None:
    """A launch of three chains on two seats, its launcher killed so often at random moments, then left alone."""
    chosen = random.Random(seed)
    file, root = chain_sweep(folder, steps=150 * kills, seeds=3, pause=0.01), folder / "runs"
    for _ in range(kills):
        launcher = subprocess.Popen([*LAUNCH, str(file), str(root)], stdout=subprocess.DEVNULL)
        time.sleep(chosen.uniform(0.5, 2.0))
        assert launcher.poll() is None
        launcher.kill()
        launcher.wait()
        deadline = time.monotonic() + 60
        while bearing(str(root)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert bearing(str(root)) == []  # no orphan
        whole(root)
    assert subprocess.run([*LAUNCH, str(file), str(root)], check=False).returncode == 0
    whole(root)
    found = planned(file, root)
    assert [run.state for run in found.runs] == ["done"] * 3
    assert len(rows_anew(root)) == 3  # none twice
    first, *others = (values(run.dir) for run in found.runs)
    assert all(other == first for other in others)  # chains of one length are equal
    assert all((run.dir / "log.txt").read_text().count("ends: done") == 1 for run in found.runs)


def test_launcher_killed(tmp_path: Path) -> None:
    launcher_kills(tmp_path, kills=2, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_launcher_killed_often(seed: int, tmp_path: Path) -> None:
    launcher_kills(tmp_path, kills=10, seed=seed)


@pytest.mark.slow
def test_real_training_killed_at_random_moments(tmp_path: Path) -> None:
    """20 kills of `bellmark run-cell`, from its start (imports) into training, evaluation and saving."""
    from bellmark.cli.families import resolve
    from bellmark.cli.train import run_folder

    small = [
        "task=probe", "task.name=policy-from-obs", "policy.hidden=16", "policy.layers=1", "critic.hidden=16",
        "critic.layers=1", "collect.envs=8", "collect.steps=4", "steps=25600", "update.epochs=2",
        "update.minibatches=2", "evaluation.every=640", "evaluation.episodes=8", "checkpoints.seconds=0.2",
    ]  # fmt: skip
    untouched, run = (run_folder(resolve("ppo", small), tmp_path / name) for name in ("untouched", "runs"))
    command = [sys.executable, "-m", "bellmark.cli", "run-cell"]
    assert subprocess.run([*command, str(untouched)], check=False).returncode == 0
    chosen = random.Random(7)
    for _ in range(20):
        process = subprocess.Popen([*command, str(run)])
        first = Run(run).status.attempt
        while process.poll() is None and Run(run).status.attempt == first:
            time.sleep(0.02)
        time.sleep(chosen.uniform(0, 2.0))
        process.kill()
        process.wait()
        whole(run.parent)
    assert subprocess.run([*command, str(run)], check=False).returncode == 0
    whole(run.parent)
    shown = [
        {k: v for k, v in values(f).items() if not k.startswith(("time/", "throughput/"))} for f in (untouched, run)
    ]
    assert shown[0] == shown[1]
