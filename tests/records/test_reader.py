from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from bellmark.errors import UserError
from bellmark.records import Run, RunMeta, RunWriter, create_run, read_meta, scan, survey, write_atomic

Maker = Callable[..., Path]


def test_curves_and_names(make_run: Maker) -> None:
    folder = make_run()
    with RunWriter(folder) as writer:
        writer.log(0, {"eval/return": 1.0, "loss/policy": math.nan})
        writer.log(0, {"time/update": 0.5})
        writer.log(100, {"eval/return": 2.0})
        writer.checkpoint(100, b"state", metric=2.0)
        writer.finish("done")
    run = Run(folder)
    assert run.metric_names() == ["eval/return", "loss/policy", "time/update"]
    assert run.curve("eval/return").step.tolist() == [0, 100]
    assert math.isnan(run.curve("loss/policy").value[0])
    assert len(run.curve("nothing").step) == 0
    assert set(run.curves(["eval/return", "nothing"])) == {"eval/return"}
    assert set(run.curves()) == set(run.metric_names())
    assert [c.step for c in run.checkpoints()] == [100]
    assert run.last_checkpoint() == run.best_checkpoint() == run.checkpoints()[0]


def test_a_pending_run_is_empty(make_run: Maker) -> None:
    run = Run(make_run())
    assert run.metric_names() == [] and run.curves() == {} and run.checkpoints() == [] and run.problems() == []
    assert run.last_checkpoint() is None and run.best_checkpoint() is None and run.dirty_diff() == ""


def test_meta_reads_back(make_run: Maker) -> None:
    folder = make_run(overrides=["update=awr"], cell={"update.beta": 0.5}, sweep="s", arm="awr", dirty=True)
    meta = read_meta(folder)
    assert meta.overrides == ["update=awr"] and meta.cell == {"update.beta": 0.5} and meta.arm == "awr"
    assert create_run(folder, meta) == folder  # the same again: nothing happens


def test_the_diff_is_a_file_of_its_own(tmp_path: Path, make_run: Maker) -> None:
    meta = read_meta(make_run())
    assert Run(create_run(tmp_path / "dirty", meta, "diff --git a b")).dirty_diff() == "diff --git a b"


def test_another_run_in_the_same_folder_is_refused(make_run: Maker) -> None:
    make_run("one", fingerprint="aaaaaaaaaaaa")
    with pytest.raises(UserError, match="already holds run 'one' with fingerprint aaaaaaaaaaaa"):
        make_run("one", fingerprint="bbbbbbbbbbbb")


def test_a_newer_schema_is_said(make_run: Maker) -> None:
    folder = make_run("new", schema=99)
    with pytest.raises(UserError, match="schema 99, this Bellmark reads up to 1"):
        Run(folder)


def test_fields_of_a_later_writer_do_not_matter(make_run: Maker) -> None:
    folder = make_run()
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace("{", '{"invented_later": [1, 2],', 1))
    assert Run(folder).name == "one"


@pytest.mark.parametrize("damage", [b"", b"{", b"\x00" * 50, b"[]", b'{"name": 3}', b"\xff\xff"])
def test_damaged_folders_are_reported_and_the_others_go_on(make_run: Maker, tmp_path: Path, damage: bytes) -> None:
    make_run("good")
    (make_run("bad") / "run.json").write_bytes(damage)
    (make_run("gone") / "run.json").unlink()
    (tmp_path / "single" / "notes").mkdir()
    runs, damaged = survey(tmp_path)
    assert [run.name for run in runs] == ["good"]
    assert [d.path.name for d in damaged] == ["bad", "gone"]
    assert "run.json is damaged" in damaged[0].problem
    with pytest.warns(UserWarning, match="run skipped: .*run.json"):
        assert [run.name for run in scan(tmp_path)] == ["good"]


def test_a_damaged_status_reads_lost_and_says_why(make_run: Maker) -> None:
    folder = make_run()
    (folder / "status.json").write_text('{"state": "running", "st')
    status = Run(folder).status
    assert status.state == "lost" and "status.json is damaged" in status.reason
    assert any("status.json is damaged" in problem for problem in Run(folder).problems())


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run folder: it has no run\.json"):
        Run(tmp_path)
    assert scan(tmp_path / "nowhere") == []


def test_write_atomic_replaces_whole(tmp_path: Path) -> None:
    file = tmp_path / "f"
    write_atomic(file, b"old")
    write_atomic(file, b"new", durable=False)
    assert file.read_bytes() == b"new" and list(tmp_path.iterdir()) == [file]


def test_meta_has_what_the_specification_lists() -> None:
    wanted = {"config", "recipe", "overrides", "fingerprint", "model_fingerprint", "commit", "host", "versions"}
    assert wanted | {"device", "parent_checkpoint", "sweep", "cell"} <= set(RunMeta.__struct_fields__)
