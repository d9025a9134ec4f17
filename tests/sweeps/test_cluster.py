"""The cluster launcher and its cells with a cluster made of processes (the real ones: `make test-cluster`)."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from toy import resolve

from bellmark.errors import UserError
from bellmark.records import Run, scan
from bellmark.sweeps.cell import FRUITLESS, Cell, Note, read_note
from bellmark.sweeps.cluster import Job, cell_environment, launch_cluster
from bellmark.sweeps.launch import Outcome
from bellmark.sweeps.plan import plan
from bellmark.sweeps.schema import Resources, Sweep
from bellmark.sweeps.session import cancel, cancelled, former_launch

COMMAND = (sys.executable, str(Path(__file__).with_name("fake_cell.py")))
CALL = "import pickle, sys; sys.exit(pickle.loads(bytes.fromhex(sys.argv[1]))())"
Make = Callable[..., Sweep]


class Processes:
    """A cluster whose jobs are processes of this machine."""

    name, poll, settle, outlives = "processes", 0.05, 0.3, False

    def __init__(self) -> None:
        self.alive: dict[str, subprocess.Popen[bytes]] = {}
        self.submitted: list[str] = []
        self.refuse: dict[str, str] = {}
        self.hopeless: set[int] = set()
        self.silent = 0  # how often it will not answer
        self.looked: Callable[[], None] = lambda: None  # called at every look

    def submit(self, name: str, cell: Cell) -> str:
        seed = name.split("-")[-2].removeprefix("s")
        if seed in self.refuse:
            raise UserError(self.refuse[seed])
        self.submitted.append(name)
        self.alive[cell.folder] = subprocess.Popen([sys.executable, "-c", CALL, pickle.dumps(cell).hex()])
        return str(len(self.submitted))

    def jobs(self) -> dict[str, Job] | None:
        self.looked()
        if self.silent:
            self.silent -= 1
            return None
        self.alive = {folder: p for folder, p in self.alive.items() if p.poll() is None}
        return {
            folder: Job(folder, True, "too big" if Run(folder).meta.seed in self.hopeless else "")
            for folder in self.alive
        }

    def end(self, jobs: Sequence[Job], *, now: bool = False) -> None:
        for job in jobs:
            self.alive[job.id].send_signal(signal.SIGKILL if now else signal.SIGTERM)


@pytest.fixture
def cluster() -> Iterator[Processes]:
    found = Processes()
    yield found
    for process in found.alive.values():
        process.kill()
        process.wait()


def launch(sweep: Sweep, root: Path, cluster: Any, **options: Any) -> Outcome:
    return launch_cluster(plan(sweep, resolve, root), cluster, command=COMMAND, **options)


def test_all_runs_are_done_and_told_about_threads(sweep_of: Make, tmp_path: Path, cluster: Processes) -> None:
    sweep = sweep_of(grid={"utd": [2]}, seeds=2, resources={"cpus": 3})
    outcome = launch(sweep, tmp_path / "runs", cluster, environment=cell_environment(sweep.resources), most=2)
    assert (outcome.exit_code, len(outcome.done)) == (0, 4)
    assert {run.status.state for run in scan(tmp_path / "runs")} == {"done"}
    seen = (Run(tmp_path / "runs" / "s" / cluster.submitted[0]).path / "env-0.json").read_text()
    assert '"OMP_NUM_THREADS": "3"' in seen and '"CUDA_VISIBLE_DEVICES": ""' in seen
    again = launch(sweep, tmp_path / "runs", cluster)
    assert (again.exit_code, len(cluster.submitted)) == (0, 4)  # nothing is done twice


def test_a_job_that_dies_is_submitted_again_and_its_runner_is_no_orphan(
    sweep_of: Make, tmp_path: Path, cluster: Processes
) -> None:
    root, shots = tmp_path / "runs", [1]

    def shoot() -> None:
        for folder, process in cluster.alive.items():
            if shots and (Path(folder) / "step").exists() and Run(folder).status.step >= 3:
                shots.pop()
                process.kill()  # the cell, not its runner

    cluster.looked = shoot
    outcome = launch(sweep_of(seeds=[1], set={"pause": 0.15}), root, cluster)
    assert outcome.exit_code == 0
    assert len(cluster.submitted) == 2
    run = scan(root)[0]
    assert "attempt 1 ends: preempted" in (run.path / "log.txt").read_text()  # saved itself, asked by the warden
    assert run.curve("eval/success").step.tolist() == list(range(1, 11))


def test_a_run_that_the_doctor_stopped_is_not_done(sweep_of: Make, tmp_path: Path, cluster: Processes) -> None:
    outcome = launch(sweep_of(set={"behave": "ill"}, seeds=[1]), tmp_path / "runs", cluster)
    assert (outcome.exit_code, list(outcome.failed.values())) == (1, ["stopped: loss/value is not finite"])


def test_a_run_that_asks_for_it_is_called_again(sweep_of: Make, tmp_path: Path, cluster: Processes) -> None:
    outcome = launch(sweep_of(seeds=[1], set={"behave": "requeue"}), tmp_path / "runs", cluster)
    assert (outcome.exit_code, len(cluster.submitted)) == (0, 3)


def test_calls_that_lead_nowhere_end(sweep_of: Make, tmp_path: Path, cluster: Processes) -> None:
    outcome = launch(sweep_of(seeds=[1], set={"behave": "stuck"}), tmp_path / "runs", cluster)
    assert (outcome.exit_code, len(cluster.submitted)) == (1, 4)  # the first got one step further than nothing
    assert "3 times in a row, and got no further" in next(iter(outcome.failed.values()))


def test_failures_refusals_and_hopeless_jobs_leave_the_rest_alone(
    sweep_of: Make, tmp_path: Path, cluster: Processes
) -> None:
    root = tmp_path / "runs"
    sweep = sweep_of(list=[{"set": {"behave": "crash"}}, {"set": {"behave": "bad_input"}}], seeds=[1, 2, 3, 4])
    found = plan(sweep, resolve, root)
    spoilt = found.runs[3]
    spoilt.dir.mkdir(parents=True)
    (spoilt.dir / "run.json").write_text("{ torn by hand")
    cluster.refuse, cluster.hopeless, cluster.silent = {"2": "no such partition"}, {3}, 2
    outcome = launch(sweep, root, cluster)
    assert len(outcome.done) == 1 and outcome.exit_code == 1
    reasons = sorted(outcome.failed.values())
    assert len(reasons) == 11
    assert reasons.count("no such partition") == 3
    assert reasons.count("processes can never start it: too big") == 3
    assert reasons.count("gamma=7 is too much") == 2
    assert reasons.count("failed with exit code 1") == 2
    assert any("run.json is damaged" in reason for reason in reasons)


def test_cancelling_saves_every_run_and_the_next_launch_goes_on(
    sweep_of: Make, tmp_path: Path, cluster: Processes
) -> None:
    root = tmp_path / "runs"
    sweep = sweep_of(seeds=3, set={"pause": 0.2})
    steps = {"at": 0}

    def look() -> None:
        if not steps["at"] and any((Path(f) / "step").exists() for f in cluster.alive):
            steps["at"] = 1
            cancel(root / "s")

    cluster.looked = look
    outcome = launch(sweep, root, cluster, most=2, options={"workers": 2})
    assert outcome.exit_code == 75 and len(outcome.left) == 3 and cluster.alive == {}
    former = former_launch(root / "s")
    assert former is not None and (former.launcher, former.options) == ("processes", {"workers": 2})
    assert launch(sweep, root, cluster).exit_code == 0


def test_a_cluster_that_outlives_its_launcher_is_left_and_followed_again(
    sweep_of: Make, tmp_path: Path, cluster: Processes
) -> None:
    cluster.outlives = True
    root, sweep = tmp_path / "runs", sweep_of(seeds=2, set={"pause": 0.2})
    outcome = launch(sweep, root, cluster, detach=True)
    assert outcome.exit_code == 75 and len(cluster.alive) == 2
    assert launch(sweep, root, cluster).exit_code == 0
    assert len(cluster.submitted) == 2


def cell(folder: Path, since: float | None = None) -> Cell:
    return Cell(str(folder), COMMAND, time.time() if since is None else since, grace=5.0)


def made(sweep_of: Make, root: Path, **knobs: Any) -> Path:
    from bellmark.records import collect_provenance
    from bellmark.sweeps.launch import created

    found = plan(sweep_of(seeds=[1], set=knobs), resolve, root)
    created(found, found.runs[0], "cpu", collect_provenance())
    return found.runs[0].dir


def test_a_cell_leaves_a_note_of_how_it_ended(sweep_of: Make, tmp_path: Path) -> None:
    folder = made(sweep_of, tmp_path, behave="requeue")
    assert cell(folder)() == 75
    assert read_note(folder) == Note(code=75, reached=(-1, 0))
    assert cell(folder)() == 75
    assert read_note(folder) == Note(code=75, reached=(-1, 0), fruitless=1)  # the fake saves no checkpoint
    assert cell(folder)() == 0


def test_a_cell_that_gets_nowhere_gives_up(sweep_of: Make, tmp_path: Path) -> None:
    folder = made(sweep_of, tmp_path)
    (folder / ".cell.json").write_text(f'{{"code": 75, "reached": [-1, 0], "fruitless": {FRUITLESS}}}')
    assert cell(folder)() == 1
    note = read_note(folder)
    assert note is not None and "times in a row and got no further" in note.reason
    (folder / ".cell.json").write_text("torn by hand")
    assert cell(folder)() == 0


def test_a_cell_of_a_cancelled_launch_does_nothing(sweep_of: Make, tmp_path: Path) -> None:
    folder = made(sweep_of, tmp_path)
    before = time.time() - 60
    cancel(folder.parent)
    assert cancelled(folder.parent, before) and not cancelled(folder.parent, time.time() + 60)
    assert cell(folder, since=before)() == 75
    assert Run(folder).status.state == "pending"


def test_a_request_before_the_runner_can_listen_is_no_failure(sweep_of: Make, tmp_path: Path) -> None:
    folder = made(sweep_of, tmp_path)
    deaf = (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGUSR2)")
    assert Cell(str(folder), deaf, time.time())() == 75
    killed = (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert Cell(str(folder), killed, time.time())() == -signal.SIGKILL


def test_gpus_that_a_cluster_assigns_are_left_to_it() -> None:
    assert "CUDA_VISIBLE_DEVICES" not in cell_environment(Resources(gpus=1))
    assert cell_environment(Resources(cpus=2))["BELLMARK_THREADS"] == "2"
