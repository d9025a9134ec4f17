"""Export to the real libraries and back: the same steps, the same bits, the same facts."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from bellmark.cli import main
from bellmark.records import Run, scan
from bellmark.trackers.export import export_run
from bellmark.trackers.sinks import SINKS

KINDS = ("csv", "tensorboard", "wandb", "mlflow")


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is written anywhere else, and no store of this machine is used."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def same_curves(one: Run, other: Run) -> None:
    mine, theirs = one.curves(), other.curves()
    assert set(mine) == set(theirs)
    for name, curve in mine.items():
        np.testing.assert_array_equal(curve.step, theirs[name].step)
        np.testing.assert_array_equal(curve.value, theirs[name].value)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind: str, run: Run, tmp_path: Path) -> None:
    pytest.importorskip(SINKS[kind][1] or "csv")
    assert main(["export", str(run.path), "--to", kind, "--out", "out"]) == 0
    assert main(["import", kind, "out", "--runs", "back", "--group", "again"]) == 0
    (found,) = scan(tmp_path / "back")
    same_curves(run, found)
    assert found.meta.fingerprint == run.meta.fingerprint and found.meta.config == run.meta.config
    assert (found.name, found.meta.task, found.meta.seed, found.meta.group) == (run.name, "pick_cube", 1, "again")
    assert found.status.state == "done"


@pytest.mark.parametrize("kind", KINDS)
def test_importing_twice_changes_nothing(
    kind: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(SINKS[kind][1] or "csv")
    export_run(run, kind, tmp_path / "out")
    for _ in range(2):
        assert main(["import", kind, str(tmp_path / "out"), "--runs", "back"]) == 0
    assert capsys.readouterr().out.endswith("0 runs imported, 1 there already\n")
    same_curves(run, scan(tmp_path / "back")[0])


def test_tensorboard_itself_reads_what_was_exported(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    place = export_run(run, "tensorboard", tmp_path)
    reader = EventAccumulator(str(place), size_guidance={"tensors": 0})
    reader.Reload()
    points = [(e.step, e.tensor_proto.double_val[0]) for e in reader.Tensors("eval/success")]
    assert points == [(0, 0.0), (100, 0.1), (200, 0.7), (300, 0.8), (400, 0.9)]
    assert reader.SummaryMetadata("eval/success").plugin_data.plugin_name == "scalars"


def test_old_tensorboard_scalars_are_read(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(tmp_path / "logs" / "old" / "run"))
    for step in (5, 10):
        value = Summary.Value(tag="charts/episodic_return", simple_value=step / 2)
        writer.add_event(Event(step=step, wall_time=1.0, summary=Summary(value=[value])))
    writer.close()
    (found,) = import_module(SINKS["tensorboard"][0]).read(tmp_path / "logs")
    assert found.name == "old__run"
    assert found.curves == {"charts/episodic_return": [(5, 2.5), (10, 5.0)]}


def test_mlflow_itself_sees_parameters_and_state(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    export_run(run, "mlflow", tmp_path / "store")
    client = import_module(SINKS["mlflow"][0]).client((tmp_path / "store").as_uri())
    experiment = client.get_experiment_by_name("bellmark")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.params["update.beta"] == "0.5" and found.info.status == "FINISHED"
    export_run(run, "mlflow", tmp_path / "store")  # the same work is the same run there
    assert len(client.search_runs([experiment.experiment_id])) == 1


def test_a_run_logged_with_wandb_alone_is_read(tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb")
    settings = wandb.Settings(console="off", silent=True, disable_git=True, x_disable_stats=True)
    theirs = wandb.init(
        mode="offline", name="theirs", dir=str(tmp_path), config={"seed": 4, "lr": 1e-3}, settings=settings
    )
    for step in (0, 10):
        theirs.log({"reward": step * 0.1, "note": "text"}, step=step)
    theirs.finish()
    wandb.teardown()  # its own process writes the file a little later
    (found,) = import_module(SINKS["wandb"][0]).read(tmp_path)
    assert (found.name, found.seed, found.config["lr"], found.state) == ("theirs", 4, 1e-3, "done")
    assert found.curves == {"reward": [(0, 0.0), (10, 1.0)]}


def test_a_csv_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "sheet.csv").write_text("Step,reward,day\n10,1.5,monday\n20,,tuesday\n30,2.5,friday\n")
    (found,) = import_module(SINKS["csv"][0]).read(tmp_path / "sheet.csv")
    assert found.curves == {"reward": [(10, 1.5), (30, 2.5)]}


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("csv", "time,reward\n1,2\n", "no column of steps"),
        ("csv", "step,reward\n1.5,2\n", "line 2: the step '1.5' is no whole number"),
        ("wandb", "nothing", "does not begin with ':W&B'"),
    ],
)
def test_bad_files_are_one_line(
    kind: str, content: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(SINKS[kind][1] or "csv")
    file = tmp_path / f"bad.{kind}"
    file.write_text(content)
    assert main(["import", kind, str(file), "--runs", "back"]) == 2
    assert says in capsys.readouterr().err


def test_a_damaged_wandb_record_costs_itself_only(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    export_run(run, "wandb", tmp_path / "out")
    (file,) = (tmp_path / "out").rglob("*.wandb")
    data = bytearray(file.read_bytes())
    place = data.index(b"eval/success", 2000)
    data[place - 2 : place + 12] = b"\xff" * 14
    file.write_bytes(bytes(data))
    with pytest.warns(UserWarning, match="damaged records skipped"):
        (found,) = import_module(SINKS["wandb"][0]).read(tmp_path / "out")
    assert found.name == run.name and len(found.curves["loss/policy"]) >= 2


def test_a_database_without_its_library_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlflow")
    assert main(["import", "mlflow", "sqlite:///mlflow.db", "--runs", "back"]) == 2
    assert "sqlite stores of MLflow need SQLAlchemy" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_folder_is_said(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(SINKS[kind][1] or "csv")
    (tmp_path / "empty").mkdir()
    assert main(["import", kind, "empty", "--runs", "back"]) == 2
    assert "bellmark: error: empty: no" in capsys.readouterr().err
