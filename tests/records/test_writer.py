from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from bellmark.errors import UserError
from bellmark.records import Run, RunWriter, read_status
from bellmark.records import writer as writer_module
from bellmark.records.layout import METRICS, STATUS, RunStatus, write_status

Maker = Callable[..., Path]

KILLS = 25
# One process imports once and forks a writer after the other, each killed at a random moment of its logging.
KILLED_WRITERS = f"""
import os, random, signal, sys, time
os.fsync = lambda descriptor: None
from bellmark.records import RunWriter
path, rng = sys.argv[1], random.Random(0)
metrics = {{f"loss/part_{{i}}": 0.1234567891234 * (i + 1) for i in range(60)}}
for attempt in range(1, {KILLS} + 1):
    pid = os.fork()
    if pid == 0:
        with RunWriter(path) as writer:
            while True:
                writer.log(attempt, metrics)
    size = os.path.getsize(path + "/metrics.jsonl") if attempt > 1 else 0
    while not (os.path.exists(path + "/metrics.jsonl") and os.path.getsize(path + "/metrics.jsonl") > size):
        time.sleep(0.001)
    time.sleep(rng.random() * 0.004)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


def test_kill_nine_leaves_no_torn_line(make_run: Maker) -> None:
    folder = make_run()
    subprocess.run([sys.executable, "-c", KILLED_WRITERS, str(folder)], check=True, timeout=120)
    data = (folder / METRICS).read_bytes()
    rows = msgspec.json.Decoder(dict[str, float]).decode_lines(data)  # raises at any torn line
    assert sorted({row["attempt"] for row in rows}) == list(range(1, KILLS + 1))
    assert {len(row) for row in rows} == {63}
    run = Run(folder)
    assert run.problems() == [] and run.status.state == "lost" and run.status.attempt == KILLS


def test_a_whole_life(make_run: Maker) -> None:
    folder = make_run()
    assert Run(folder).status.state == "pending" and Run(folder).status.total == 1000
    with RunWriter(folder) as writer:
        assert writer.attempt == 1
        writer.log(0, {"eval/return": 0.0})
        writer.log(100, {"eval/return": 1.0})
        writer.beat(100, 900, success=0.25, phase="update")
        assert Run(folder).status.state == "running"
        writer.finish("preempted", "asked to stop by SIGTERM")
    status = Run(folder).status
    assert (status.state, status.step, status.total, status.attempt) == ("preempted", 100, 900, 1)
    assert status.reason == "asked to stop by SIGTERM" and status.brief == {"success": 0.25, "phase": "update"}
    with RunWriter(folder) as writer:
        writer.resume(0)
        assert (writer.attempt, writer.resumed_step) == (2, 0)
        writer.log(100, {"eval/return": 10.0})
        writer.note("looks better")
        writer.finish("done")
    run = Run(folder)
    assert run.status.state == "done" and run.curve("eval/return").value.tolist() == [0.0, 10.0]
    assert len((folder / METRICS).read_bytes().splitlines()) == 4  # a resume truncates nothing
    log = (folder / "log.txt").read_text()
    assert "attempt 2 continues from step 0" in log and "looks better" in log and "attempt 2 ends: done" in log


def test_an_exception_is_recorded_and_passes_through(make_run: Maker) -> None:
    folder = make_run()
    with pytest.raises(ZeroDivisionError), RunWriter(folder):
        _ = 1 / 0
    assert Run(folder).status.state == "failed" and Run(folder).status.reason == "ZeroDivisionError: division by zero"


def test_an_interrupt_is_no_failure(make_run: Maker) -> None:
    folder = make_run()
    with pytest.raises(KeyboardInterrupt), RunWriter(folder):
        raise KeyboardInterrupt
    assert (Run(folder).status.state, Run(folder).status.reason) == ("preempted", "KeyboardInterrupt")


def test_leaving_without_a_word_is_a_failure_not_done(make_run: Maker) -> None:
    folder = make_run()
    with RunWriter(folder) as writer:
        writer.log(1000, {"m": 1.0})
    assert Run(folder).status.state == "failed" and "without finish" in Run(folder).status.reason


def test_finish_once(make_run: Maker) -> None:
    with RunWriter(make_run()) as writer:
        writer.finish("done")
        assert writer.finished
        with pytest.raises(ValueError, match="already finished"):
            writer.finish("failed")
        with pytest.raises(OSError, match="Bad file descriptor"):
            writer.log(1, {"m": 1.0})


def test_attempts_are_counted_from_the_metrics_when_the_status_is_gone(make_run: Maker) -> None:
    folder = make_run()
    for _ in range(3):
        with RunWriter(folder) as writer:
            writer.log(1, {"m": 1.0})
            writer.finish("preempted")
    (folder / STATUS).write_bytes(b"\x00" * 20)
    with RunWriter(folder) as writer:
        assert writer.attempt == 4
        writer.finish("done")


def test_a_torn_end_is_closed_so_that_it_spoils_no_other_row(make_run: Maker) -> None:
    folder = make_run()
    with RunWriter(folder) as writer:
        writer.log(1, {"m": 1.0})
        writer.finish("preempted")
    with open(folder / METRICS, "ab") as file:
        file.write(b'{"step": 2, "attempt": 1, "ti')
    assert Run(folder).problems() == ["metrics.jsonl: the last line is torn and was skipped"]
    with RunWriter(folder) as writer:
        assert writer.attempt == 2
        writer.log(2, {"m": 2.0})
        writer.finish("done")
    assert Run(folder).curve("m").value.tolist() == [1.0, 2.0]
    assert Run(folder).problems() == ["metrics.jsonl: 1 unreadable lines skipped (line 2)"]


def test_one_row_is_one_write(make_run: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = os.write

    def count(descriptor: int, data: bytes) -> int:
        sizes.append(len(data))
        return real(descriptor, data)

    with RunWriter(make_run()) as writer:
        monkeypatch.setattr(os, "write", count)
        for step in range(5):
            writer.log(step, {f"m{i}": 0.1 * i for i in range(50)})
        monkeypatch.undo()
        writer.finish("done")
    assert len(sizes) == 5


def test_no_row_lies_across_a_page(make_run: Maker) -> None:
    folder = make_run()
    for _ in range(2):
        with RunWriter(folder) as writer:
            for step in range(100):
                writer.log(step, {f"m{i}": 0.123456789 * i for i in range(37)})
            writer.log(100, {f"wide{i}": 0.123456789 * i for i in range(1000)})  # 22 KB: several rows of one step
            writer.finish("preempted")
    offset = 0
    for line in (folder / METRICS).read_bytes().splitlines(keepends=True):
        begin, end = offset + len(line) - len(line.lstrip()), offset + len(line)
        assert begin // writer_module.PAGE == (end - 1) // writer_module.PAGE
        offset = end
    curves = Run(folder).curves()
    assert len(curves) == 1037 and len(curves["m36"].step) == 100 and curves["wide999"].step.tolist() == [100]


def test_a_short_write_is_completed(make_run: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run()
    real = os.write
    with RunWriter(folder) as writer:
        monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
        writer.log(1, {"m": 0.125})
        monkeypatch.undo()
        writer.finish("done")
    assert Run(folder).curve("m").value.tolist() == [0.125] and Run(folder).problems() == []


@pytest.fixture
def quick_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(writer_module, "IDLE_BEAT_SECONDS", 0.03)


def _until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False


@pytest.mark.usefixtures("quick_heart")
def test_the_heart_beats_through_a_long_step(make_run: Maker) -> None:
    folder = make_run()
    with RunWriter(folder) as writer:
        first = read_status(folder).heartbeat
        assert _until(lambda: read_status(folder).heartbeat > first + 0.05)  # no call of ours in between
        writer.beat(7, success=0.5)
        assert _until(lambda: read_status(folder).step == 7 and read_status(folder).brief == {"success": 0.5})
        writer.finish("done")


@pytest.mark.usefixtures("quick_heart")
def test_a_full_disk_does_not_stop_the_heart(make_run: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run()
    tried: list[int] = []

    def full(*_: object, **__: object) -> None:
        tried.append(1)
        raise OSError(28, "No space left on device")

    with RunWriter(folder) as writer:
        monkeypatch.setattr(writer_module, "write_status", full)
        assert _until(lambda: len(tried) > 3)
        monkeypatch.undo()
        writer.beat(3)
        assert _until(lambda: read_status(folder).step == 3)
        writer.finish("done")


@pytest.mark.usefixtures("quick_heart")
def test_a_status_is_never_seen_half_written(make_run: Maker) -> None:
    folder = make_run()
    with RunWriter(folder) as writer:
        for step in range(300):
            writer.beat(step, text="x" * (step % 50))
            msgspec.json.decode((folder / STATUS).read_bytes(), type=RunStatus)
        writer.finish("done")


@pytest.fixture
def other_writer(make_run: Maker) -> Iterator[Path]:
    """A run that another process writes."""
    folder = make_run()
    code = "import sys, time; from bellmark.records import RunWriter; w = RunWriter(sys.argv[1]); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)])
    assert _until(lambda: read_status(folder).state == "running" and "begins" in _read(folder / "log.txt"))
    yield folder
    process.send_signal(signal.SIGKILL)
    process.wait()


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_two_processes_cannot_write_one_run(other_writer: Path) -> None:
    with pytest.raises(UserError, match=r"run one is being written by process \d+"):
        RunWriter(other_writer)
    write_status(other_writer, RunStatus())  # even when both start in the same instant, before a status is there
    with pytest.raises(UserError, match="run one is being written by another process"):
        RunWriter(other_writer)


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.json cannot be read: No such file"):
        RunWriter(tmp_path)
