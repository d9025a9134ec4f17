"""The local launcher with fake workers that keep, or break, the runner contract (see fake_cell.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from toy import resolve

from bellmark.errors import UserError
from bellmark.records import Run, scan
from bellmark.sweeps.launch import Outcome
from bellmark.sweeps.local import launch_local
from bellmark.sweeps.plan import plan
from bellmark.sweeps.progress import Board
from bellmark.sweeps.schema import Sweep
from bellmark.sweeps.seats import Machine, Seat, seats
from bellmark.sweeps.work import Plan

HERE = Path(__file__).parent
COMMAND = (sys.executable, str(HERE / "fake_cell.py"))
ONE = Seat(gpus=(), cpus=(), threads=1)
Make = Callable[..., Sweep]


class Recorder:
    """A view that remembers."""

    def __init__(self) -> None:
        self.boards: list[Board] = []
        self.said: list[str] = []

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, board: Board) -> None:
        self.boards.append(board)

    def say(self, text: str) -> None:
        self.said.append(text)


def launch(sweep: Sweep, root: Path, **options: Any) -> tuple[Outcome, Plan]:
    found = plan(sweep, resolve, root)
    outcome = launch_local(found, [ONE, ONE], command=COMMAND, **options)
    return outcome, plan(sweep, resolve, root)


def test_all_runs_are_done_and_recorded(sweep_of: Make, tmp_path: Path) -> None:
    sweep, view = sweep_of(grid={"utd": [2]}, seeds=2), Recorder()
    outcome, after = launch(sweep, tmp_path / "runs", view=view)
    assert outcome.exit_code == 0
    assert len(outcome.done) == 4
    assert {run.state for run in after.runs} == {"done"}
    run = Run(after.runs[-1].dir)
    assert run.path.parent == tmp_path / "runs" / "s"
    assert (run.meta.sweep, run.meta.arm, run.meta.cell, run.meta.seed) == ("s", "utd=2", {"utd": 2}, 2)
    assert run.meta.config == after.runs[-1].resolved.tree
    assert view.boards[-1].count("done") == 4
    assert view.boards[-1].share == 1.0


def test_workers_are_pinned(sweep_of: Make, tmp_path: Path) -> None:
    found = plan(sweep_of(seeds=[1]), resolve, tmp_path)
    cpu = min(os.sched_getaffinity(0))
    launch_local(found, [Seat(gpus=("3",), cpus=(cpu,), threads=2)], command=COMMAND)
    seen = json.loads((found.runs[0].dir / "env-0.json").read_text())
    assert seen == {
        "OMP_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "passive",
        "BELLMARK_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "3",
        "cpus": [cpu],
    }
    assert Run(found.runs[0].dir).meta.device == "cuda"


def test_failures_leave_the_rest_alone_and_are_not_repeated(sweep_of: Make, tmp_path: Path) -> None:
    sweep = sweep_of(list=[{"set": {"behave": "crash"}}, {"set": {"behave": "killed"}}], seeds=[1])
    outcome, after = launch(sweep, tmp_path / "runs")
    assert outcome.exit_code == 1
    assert len(outcome.done) == 1
    crashed, killed = sorted(outcome.failed.items())
    assert crashed[1] == "failed with exit code 1"
    assert killed[1] == "killed by SIGKILL (out of memory?)"
    assert "RuntimeError: boom" in (after.runs[1].dir / "log.txt").read_text()
    # the crash is a result; the killed run never got to say anything, so the next call continues it
    assert [run.state for run in after.runs] == ["done", "failed", "lost"]
    assert [run.state for run in after.to_run()] == ["lost"]
    again, _ = launch(sweep, tmp_path / "runs")
    assert (again.exit_code, set(again.failed)) == (1, {crashed[0]})
    assert [Run(run.dir).status.attempt for run in after.runs] == [1, 1, 2]
    retried, _ = launch(sweep, tmp_path / "runs", retry_failed=True)
    assert retried.exit_code == 0
    assert [Run(run.dir).status.attempt for run in after.runs] == [1, 2, 2]


def test_bad_input_is_passed_on(sweep_of: Make, tmp_path: Path) -> None:
    outcome, _ = launch(sweep_of(set={"behave": "bad_input"}, seeds=[1]), tmp_path / "runs")
    assert outcome.exit_code == 2
    assert list(outcome.failed.values()) == ["gamma=7 is too much"]


def test_a_run_that_the_doctor_stopped_is_not_done(sweep_of: Make, tmp_path: Path) -> None:
    outcome, after = launch(sweep_of(set={"behave": "ill"}, seeds=[1]), tmp_path / "runs")
    assert (outcome.exit_code, outcome.done) == (1, ())
    assert list(outcome.failed.values()) == ["stopped: loss/value is not finite"]
    assert after.to_run() == ()


def test_requeued_runs_go_on_where_they_were(sweep_of: Make, tmp_path: Path) -> None:
    view = Recorder()
    outcome, after = launch(sweep_of(set={"behave": "requeue"}, seeds=[1]), tmp_path / "runs", view=view)
    assert outcome.exit_code == 0
    run = Run(after.runs[0].dir)
    assert run.status.attempt == 3  # steps 1-4, 5-8, 9-10
    assert run.curve("eval/success").step.tolist() == list(range(1, 11))
    assert [text for text in view.said if "saved at step 4" in text]


def test_requeue_without_progress_ends(sweep_of: Make, tmp_path: Path) -> None:
    outcome, _ = launch(sweep_of(set={"behave": "stuck"}, seeds=[1]), tmp_path / "runs")
    assert outcome.exit_code == 1
    assert "and got no further" in next(iter(outcome.failed.values()))


def test_finished_work_is_never_done_twice(sweep_of: Make, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    launch(sweep_of("first", grid={"utd": [2]}, seeds=2), root)
    outcome, after = launch(sweep_of("second", grid={"utd": [2, 4]}, seeds=3), root)
    assert outcome.exit_code == 0
    assert len(scan(root)) == 9  # (baseline, utd=2, utd=4) x 3 seeds, 4 of them from the first sweep
    assert len(list((root / "second").glob("toy*"))) == 5
    assert all(Run(run.dir).status.attempt == 1 for run in after.runs)


def test_a_second_launch_of_the_same_sweep_is_refused(script: Script, tmp_path: Path) -> None:
    process = script(workers=1, seeds=1)
    wait_for(lambda: running(tmp_path))
    found = plan(sweep_at(tmp_path), resolve, tmp_path / "runs")
    with pytest.raises(UserError, match=f"being run by process {process.pid}"):
        launch_local(found, [ONE], command=COMMAND)


Script = Callable[..., "subprocess.Popen[str]"]


def sweep_at(folder: Path) -> Sweep:
    from bellmark.sweeps.schema import load_sweep

    return load_sweep(folder / "s.yaml")


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """Start launch.py in a process of its own on a sweep of the base alone."""
    started: list[subprocess.Popen[str]] = []

    def start(
        *, workers: int = 2, seeds: int = 2, grace: float = 20.0, hurry: str = "", steps: int = 100_000, **knobs: Any
    ) -> subprocess.Popen[str]:
        knobs = {"pause": 0.05, **knobs}
        keys = {"question": "?", "expect": {"metric": "m"}, "base": "toy", "seeds": seeds, "steps": steps}
        (tmp_path / "s.yaml").write_text(yaml.safe_dump({**keys, "set": knobs}))
        arguments = [str(tmp_path / "s.yaml"), str(tmp_path / "runs"), str(workers), str(grace)]
        process = subprocess.Popen(
            [sys.executable, str(HERE / "launch.py"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "HURRY": hurry},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    wait_for(lambda: not workers_of(tmp_path))


def wait_for(true: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def workers_of(folder: Path) -> list[psutil.Process]:
    """Every living process that was started for a run below a folder, and its children in other sessions."""
    children = [int(file.read_text() or 0) for file in folder.glob("runs/s/*/child")]
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        ours = any(str(folder / "runs" / "s") in word for word in command) or process.pid in children
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def running(folder: Path, count: int = 1) -> bool:
    states = [run.status for run in scan(folder / "runs")] if (folder / "runs").is_dir() else []
    return sum(status.state == "running" and status.step > 0 for status in states) >= count


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_every_stop_signal_saves(script: Script, tmp_path: Path, number: signal.Signals) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here (nohup), and the launcher keeps to that")
    process = script()
    wait_for(lambda: running(tmp_path, 2))
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert {run.status.state for run in scan(tmp_path / "runs")} == {"preempted"}


def test_ctrl_c_saves_and_the_same_command_goes_on(script: Script, tmp_path: Path) -> None:
    first = script(steps=800)
    wait_for(lambda: running(tmp_path, 2))
    first.send_signal(signal.SIGINT)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 75
    assert "save themselves" in output
    assert "done 0 failed 0 left 2" in output
    stopped = [run.status for run in scan(tmp_path / "runs")]
    assert {status.state for status in stopped} == {"preempted"}
    assert not workers_of(tmp_path)
    second = script(steps=800, hurry="1")
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 0, output
    for run in scan(tmp_path / "runs"):
        assert (run.status.state, run.status.attempt) == ("done", 2)
        assert run.curve("eval/success").step.tolist() == list(range(1, 801))


def test_second_stop_kills(script: Script, tmp_path: Path) -> None:
    process = script(behave="deaf")
    wait_for(lambda: running(tmp_path, 2))
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 75, output
    assert not workers_of(tmp_path)
    assert {run.status.state for run in scan(tmp_path / "runs")} == {"lost"}


@pytest.mark.parametrize(("behave", "state"), [("well", "preempted"), ("deaf", "lost"), ("parent", "preempted")])
def test_killed_launcher_leaves_no_orphan(script: Script, tmp_path: Path, behave: str, state: str) -> None:
    process = script(behave=behave, grace=2.0)
    wait_for(lambda: running(tmp_path, 2))
    if behave == "parent":
        assert len(workers_of(tmp_path)) == 4
    process.kill()
    process.wait()
    wait_for(lambda: not workers_of(tmp_path))
    # a process that is ending loses its command line, by which it is known here, a moment before it is gone
    wait_for(lambda: {run.status.state for run in scan(tmp_path / "runs")} == {state})


def test_a_dead_worker_leaves_no_child(sweep_of: Make, tmp_path: Path) -> None:
    sweep = sweep_of(set={"behave": "crash"}, seeds=[1])
    script_of_child = [sys.executable, "-c", CRASH_WITH_CHILD]
    found = plan(sweep, resolve, tmp_path / "runs")
    launch_local(found, [ONE], command=script_of_child)
    child = int((found.runs[0].dir / "child").read_text())
    wait_for(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


CRASH_WITH_CHILD = """
import pathlib, subprocess, sys
child = subprocess.Popen(["sleep", "600"])
pathlib.Path(sys.argv[1], "child").write_text(str(child.pid))
sys.exit(1)
"""


def test_output_of_workers_goes_to_their_log(script: Script, tmp_path: Path) -> None:
    process = script(behave="crash", steps=10)
    output, _ = process.communicate(timeout=60)
    assert "done 0 failed 2 left 0" in output
    assert "Traceback" not in output
    for run in scan(tmp_path / "runs"):
        assert "Traceback" in (run.path / "log.txt").read_text()


MACHINE = Machine(cpus=(0, 1, 2, 3), gpus=("0", "1"), memory=16 * 10**9)


@pytest.mark.parametrize(
    ("needs", "options", "gpus"),
    [
        ({}, {}, [(), (), (), ()]),
        ({"cpus": 2}, {}, [(), ()]),
        ({"cpus": 8}, {}, [()]),
        ({"memory": "6GB"}, {}, [(), ()]),
        ({"gpus": 0.5}, {}, [("0",), ("1",), ("0",), ("1",)]),
        ({"gpus": 0.5}, {"workers": 2}, [("0",), ("1",)]),
        ({"gpus": 0.3}, {"workers": 9}, [("0",), ("1",)] * 3),
        ({"gpus": 1}, {}, [("0",), ("1",)]),
        ({"gpus": 2}, {}, [("0", "1")]),
    ],
)
def test_seats_hold_what_the_machine_has(needs: dict[str, Any], options: dict[str, Any], gpus: list[Any]) -> None:
    from bellmark.sweeps.schema import Resources

    found, _ = seats(Resources(**needs), MACHINE, **options)
    assert [seat.gpus for seat in found] == gpus


def test_seats_say_what_does_not_fit() -> None:
    from bellmark.sweeps.schema import Resources

    with pytest.raises(UserError, match=r"gpus=3.*2 visible \(0, 1\)"):
        seats(Resources(gpus=3), MACHINE)
    with pytest.raises(UserError, match="none is visible"):
        seats(Resources(gpus=0.5), Machine((0,), (), 10**9))
    with pytest.raises(UserError, match="--pin"):
        seats(Resources(), MACHINE, workers=5, pin=True)
    assert seats(Resources(), MACHINE, workers=2, threads=4)[1] == [
        "2 workers x 4 threads share 4 CPUs: expect them to slow each other"
    ]
    assert seats(Resources(gpus=1), MACHINE, workers=3)[1] == ["3 workers asked for, but the GPUs hold 2 runs at once"]
    pinned, _ = seats(Resources(cpus=2), MACHINE, pin=True)
    assert [seat.cpus for seat in pinned] == [(0, 1), (2, 3)]
