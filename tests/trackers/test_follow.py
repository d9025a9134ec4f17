"""Live sinks follow the record from a process of their own: what they get, and that training never waits for them."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from tracked_run import first_attempt, meta, second_attempt

from bellmark.cli.train import train
from bellmark.errors import UserError
from bellmark.records import Run, RunWriter, create_run
from bellmark.trackers import live
from bellmark.trackers.follow import Follower
from bellmark.trackers.live import following
from bellmark.trackers.sinks import check, opened


class Notebook:
    """A sink that writes down what it is handed."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, dict[str, float]]] = []
        self.rewound: list[int] = []
        self.flushes = 0
        self.state = ""

    def write(self, step: int, when: float, attempt: int, metrics: Mapping[str, float]) -> None:
        self.rows.append((step, attempt, dict(metrics)))

    def rewind(self, step: int, when: float) -> None:
        self.rewound.append(step)

    def flush(self) -> None:
        self.flushes += 1

    def close(self, state: str) -> None:
        self.state = state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return create_run(tmp_path / "runs" / "single" / "ppo-s1-3fa29c", meta())


def test_every_row_once_over_two_attempts(folder: Path) -> None:
    first, second = Notebook(), Notebook()
    follower = Follower(folder, {"notebook": first})
    first_attempt(folder)
    follower.close()
    second_attempt(folder)
    Follower(folder, {"notebook": second}).close()
    assert [row[:2] for row in first.rows] == [(0, 1), (100, 1), (200, 1), (300, 1)] and first.state == "preempted"
    assert second.rewound == [100] and second.state == "done"
    assert [row[:2] for row in second.rows] == [(200, 2), (300, 2), (400, 2)]
    assert math.isnan(second.rows[0][2]["loss/policy"]) and second.rows[1][2]["policy/kl"] == math.inf


def test_a_row_being_written_is_left_for_later(folder: Path) -> None:
    sink = Notebook()
    follower = Follower(folder, {"notebook": sink})
    file = folder / "metrics.jsonl"
    file.write_bytes(b'{"step":1,"attempt":1,"time":1.0,"a":1.0}\n{"step":2,"atte')
    assert follower.step() == 1
    file.write_bytes(file.read_bytes() + b'mpt":1,"time":1.0,"a":2.0}\n')
    assert follower.step() == 1
    assert [row[0] for row in sink.rows] == [1, 2] and sink.flushes == 2


def test_tensorboard_forgets_what_is_done_again(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    first_attempt(folder)
    second_attempt(folder)
    Follower(folder, {"tensorboard": opened("tensorboard", meta(), tmp_path / "tb")}).close()
    reader = EventAccumulator(str(tmp_path / "tb"), size_guidance={"tensors": 0})
    reader.Reload()
    points = [(e.step, e.tensor_proto.double_val[0]) for e in reader.Tensors("eval/success")]
    assert points == [(0, 0.0), (100, 0.1), (200, 0.7), (300, 0.8), (400, 0.9)]


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "mlflow"])
def test_a_live_run_over_two_attempts_is_whole_there(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(kind)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if kind == "tensorboard":
        with following(folder, [kind]):
            first_attempt(folder)
    else:  # their libraries take seconds to import: both attempts by one follower
        first_attempt(folder)
    with following(folder, [kind]):
        second_attempt(folder)
    from importlib import import_module

    from bellmark.trackers.sinks import SINKS

    place = tmp_path / "mlruns" if kind == "mlflow" else folder / kind
    (found,) = import_module(SINKS[kind][0]).read(place)
    assert dict(found.curves)["eval/success"] == [(0, 0.0), (100, 0.1), (200, 0.7), (300, 0.8), (400, 0.9)]
    assert (folder / "trackers.log").read_text() == ""


def test_a_tracker_that_hangs_or_dies_costs_training_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(sys, "executable", "/bin/cat")  # refuses its arguments and ends at once
    with following(folder, ["tensorboard"]), RunWriter(folder) as writer:
        for step in range(1000):
            writer.log(step, {"a": 1.0})
        writer.finish("done")
    assert len(Run(folder).curve("a").step) == 1000
    assert "the record is whole, export it" in capsys.readouterr().err


def test_without_trackers_nothing_is_started(folder: Path) -> None:
    began = time.monotonic()
    with following(folder, []):
        pass
    assert not (folder / "trackers.log").exists() and began > 0


def test_unknown_and_missing_trackers_are_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown tracker 'tensorbord'; did you mean tensorboard"):
        check(["tensorbord"])
    monkeypatch.setattr("bellmark.trackers.sinks.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"wandb, which is not installed: pip install 'bellmark\[wandb\]'"):
        check(["wandb"])
    result = CliRunner().invoke(train, ["ppo", "--track", "wandb"])
    assert isinstance(result.exception, UserError)
