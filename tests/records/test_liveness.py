from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bellmark.errors import UserError
from bellmark.records import Run, RunStatus, RunWriter, liveness, read_status
from bellmark.records.layout import write_status
from bellmark.records.reader import judged

Maker = Callable[..., Path]


def _status(process: psutil.Process | None = None, **fields: object) -> RunStatus:
    here = process or psutil.Process()
    known: dict[str, object] = {
        "state": "running",
        "pid": here.pid,
        "process_start": here.create_time(),
        "host": liveness.this_host(),
        "pid_namespace": liveness.pid_namespace(),
        "heartbeat": time.time(),
    }
    return RunStatus(**{**known, **fields})  # type: ignore[arg-type]


def test_a_living_process_is_running_however_old_its_heartbeat() -> None:
    assert judged(_status(heartbeat=0.0)).state == "running"


def test_a_dead_process_is_lost_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        status = _status(psutil.Process(process.pid))
        assert judged(status).state == "running"
        process.kill()
        process.wait()
        assert judged(status).state == "lost"


def test_a_zombie_is_lost() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        child = psutil.Process(process.pid)
        status = _status(child)
        while child.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert judged(status).state == "lost"


def test_a_reused_pid_is_lost() -> None:
    assert judged(_status(process_start=time.time() - 1e6)).state == "lost"


@pytest.mark.parametrize("elsewhere", [{"host": "another"}, {"pid_namespace": -1}])
def test_on_another_host_or_in_another_container_the_age_of_the_heartbeat_decides(elsewhere: dict[str, object]) -> None:
    status = _status(pid=2**22 + 1, heartbeat=1000.0, **elsewhere)
    assert judged(status, now=1000.0 + liveness.DEAD_AFTER - 1).state == "running"
    assert judged(status, now=1000.0 + liveness.DEAD_AFTER + 1).state == "lost"


@pytest.mark.parametrize("state", ["pending", "done", "failed", "preempted", "stopped"])
def test_only_running_can_be_lost(state: str) -> None:
    assert judged(_status(state=state, process_start=0.0)).state == state


def test_a_lost_run_is_taken_over_at_once(make_run: Maker) -> None:
    folder = make_run()
    write_status(folder, _status(process_start=0.0, attempt=4, step=70))
    assert Run(folder).status.state == "lost"
    with RunWriter(folder) as writer:
        assert writer.attempt == 5
        writer.finish("done")


def test_a_writer_on_a_lost_node_is_waited_out(make_run: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "DEAD_AFTER", 0.2)
    folder = make_run()
    write_status(folder, _status(host="another", heartbeat=time.time() + 3600))  # its clock may even be wrong
    began = time.monotonic()
    with RunWriter(folder) as writer:
        assert time.monotonic() - began >= 0.2
        writer.finish("done")


def test_a_writer_alive_on_another_node_is_respected(make_run: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "DEAD_AFTER", 20.0)
    folder = make_run()
    write_status(folder, _status(host="another"))
    moved = _status(host="another", heartbeat=read_status(folder).heartbeat + 1)
    timer = threading.Timer(0.05, write_status, args=(folder, moved))
    timer.start()
    with pytest.raises(UserError, match="is being written on host another"):
        RunWriter(folder)
    timer.join()
