"""Real training runs that something happens to, and what must hold afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml

from bellmark.records import Run, scan

SWEEP = {
    "name": "probe",
    "question": "Does a narrower clip hurt on the probe?",
    "expect": {"metric": "eval/return"},
    "base": "ppo",
    "tasks": [{"kind": "probe", "name": "policy-from-obs"}],
    "set": {
        "policy.hidden": 16, "policy.layers": 1, "critic.hidden": 16, "critic.layers": 1, "collect.envs": 8,
        "collect.steps": 4, "update.epochs": 2, "update.minibatches": 2, "evaluation.every": 640,
        "evaluation.episodes": 8, "checkpoints.seconds": 0.5,
    },
    "grid": {"update.clip": [0.1]},
    "seeds": [1],
    "steps": 10_240,
    "resources": {"cpus": 1, "memory": "300MB"},
}  # fmt: skip
RUNS = 2  # the cell and the baseline


def write_sweep(folder: Path) -> Path:
    """The sweep that every test runs."""
    file = folder / "probe.yaml"
    file.write_text(yaml.safe_dump(SWEEP, sort_keys=False))
    return file


def started(file: Path, root: Path, *options: str) -> subprocess.Popen[bytes]:
    """`bellmark sweep run` with its output in a file beside the runs."""
    command = [sys.executable, "-m", "bellmark.cli", "sweep", "run", str(file), "--runs", str(root), "--no-report"]
    with open(root.with_suffix(".out"), "ab") as out:
        return subprocess.Popen([*command, *options], stdout=out, stderr=out)


def called(command: str, file: Path, root: Path, *options: str) -> str:
    """Another command on the same sweep; what it prints."""
    line = [sys.executable, "-m", "bellmark.cli", "sweep", command, str(file), "--runs", str(root), *options]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def said(root: Path) -> str:
    """All that the launches of a root have printed, without line breaks."""
    return " ".join(root.with_suffix(".out").read_text().split())


def saved(root: Path, runs: int = RUNS, step: int = 1) -> Callable[[], bool]:
    """Whether so many unfinished runs have a checkpoint past a step."""

    def look() -> bool:
        found = [c for f in root.glob("*/*/checkpoints") if (c := list(f.glob("step_*.pt")))]
        return sum(max(int(p.stem[5:]) for p in files) >= step for files in found) >= runs

    return look


def wait_for(what: Callable[[], object], seconds: float, name: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {name}"
        time.sleep(0.2)


def curves(root: Path) -> dict[str, object]:
    """All that was recorded of each run but times, by name: steps and values to the last bit."""
    return {
        run.meta.name: {
            name: (c.step.tobytes(), c.value.tobytes())
            for name, c in run.curves().items()
            if not name.startswith(("time/", "throughput/"))
        }
        for run in scan(root)
    }


def check(root: Path, undisturbed: dict[str, object], *, resumed: int = RUNS) -> None:
    """Every run done exactly once, equal to the undisturbed one bit for bit; `resumed` went on from a checkpoint."""
    runs = scan(root)
    assert sorted(run.meta.name for run in runs) == sorted(undisturbed)
    assert [run.status.state for run in runs] == ["done"] * RUNS
    for run in runs:
        log = (run.path / "log.txt").read_text()
        assert log.count("ends: done") == 1, log
        assert run.problems() == []
    assert sum(_went_on(run) for run in runs) >= resumed
    assert curves(root) == undisturbed


def _went_on(run: Run) -> bool:
    """Whether an attempt continued from a checkpoint past the start, and none began anew after the first save."""
    lines = [
        x.rsplit(" ", 1)[-1] for x in (run.path / "log.txt").read_text().splitlines() if "continues from step" in x
    ]
    return any(int(step) > 0 for step in lines)


def no_orphans(root: Path) -> None:
    """No process of ours is left that names the folder."""

    def left() -> list[str]:
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            text = " ".join(process.info["cmdline"] or ())
            if str(root) in text and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(text)
        return found

    wait_for(lambda: not left(), 30, "the end of all processes of the launch")
