"""What the Slurm launcher says and understands, with stand-ins for Slurm's commands.

`make test-cluster` has the real ones.
"""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from bellmark.config import build
from bellmark.errors import UserError
from bellmark.sweeps.cluster import Job
from bellmark.sweeps.schema import Resources
from bellmark.sweeps.slurm import NEEDS, Slurm, SlurmCluster, listed_jobs


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands that is all there is."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDS:
        command(folder, name, "exit 0")
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    return folder


def command(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod((folder / name).stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("10:00:00", 600), ("1-12:00:00", 2160), ("1-12:30", 2190), ("90", 90), ("10:30", 11), ("2h", 120), ("1h30m", 90)],
)
def test_walltimes_are_read_as_slurm_reads_them(text: str, minutes: int) -> None:
    assert Slurm(time=text).minutes(Resources()) == minutes
    assert Slurm().minutes(Resources(walltime="90s")) == 2  # never less than asked for


def test_a_walltime_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match=r"time='tomorrow': write it as 10:00:00, 1-12:00:00 or 2h"):
        build(Slurm, {"time": "tomorrow"})


def test_without_slurm_or_a_walltime_it_says_so(commands: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(UserError, match=r"how long may one job take\? --time 10:00:00, or resources.walltime"):
        SlurmCluster(Slurm(), Resources(), tmp_path / "jobs")
    (commands / "sbatch").unlink()
    if not any((Path(folder) / "sbatch").exists() for folder in ("/bin", "/usr/bin")):
        with pytest.raises(UserError, match="needs sbatch, which is not on this machine"):
            SlurmCluster(Slurm(time="1h"), Resources(), tmp_path / "jobs")


def test_jobs_are_found_by_their_comment(commands: Path) -> None:
    lines = "1|RUNNING|None|/runs/a b|c", "2|PENDING|Resources|/runs/d", "3|PENDING|PartitionTimeLimit|/runs/e"
    command(commands, "squeue", "cat <<END\n" + "\n".join(lines) + "\nEND")
    found = listed_jobs()
    assert found is not None
    assert found["/runs/a b|c"] == Job("1", True)
    assert found["/runs/d"] == Job("2", False)
    assert found["/runs/e"].hopeless.startswith("PartitionTimeLimit, the partition's time limit is below")


def test_a_controller_that_does_not_answer_is_not_an_empty_queue(commands: Path) -> None:
    command(commands, "squeue", "echo slurm_load_jobs error >&2; exit 1")
    assert listed_jobs() is None


def test_what_is_asked_of_sbatch_and_what_it_refuses(commands: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    from bellmark.sweeps.cell import Cell

    slurm = Slurm(partition="main", time="10:00:00", grace=30, sbatch={"nice": "100"})
    resources = Resources(cpus=2, gpus=0.5, memory="4GB")
    cell = Cell(str(tmp_path), ("true",), 0.0)
    command(commands, "sbatch", f'cp "$1" {tmp_path}/asked; echo Submitted batch job 12')
    assert SlurmCluster(slurm, resources, tmp_path / "jobs").submit("a-run", cell) == "12"
    asked = (tmp_path / "asked").read_text()
    for option in (
        "--partition=main", "--time=600", "--cpus-per-task=2", "--gpus-per-node=1", "--mem=3815M", "--requeue",
        "--signal=USR2@30", "--job-name=a-run", f"--comment={tmp_path}", "--nice=100",
    ):  # fmt: skip
        assert f"#SBATCH {option}\n" in asked
    command(commands, "sbatch", "echo 'sbatch: error: invalid partition specified: main' >&2; exit 1")
    with pytest.raises(UserError, match="sbatch refuses the job: invalid partition specified: main"):
        SlurmCluster(slurm, resources, tmp_path / "jobs").submit("a-run", cell)
