from __future__ import annotations

import math
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bellmark.errors import UserError
from bellmark.records import Index, RunMeta, RunWriter, create_run, index, open_run
from bellmark.records.layout import RunStatus, write_status

Maker = Callable[..., Path]


def _meta(name: str, seed: int = 0) -> RunMeta:
    return RunMeta(
        name=name,
        family="finetune",
        recipe="ppo",
        overrides=[],
        config={"seed": seed},
        fingerprint=f"{name}-{seed}",
        model_fingerprint="m",
        task="t",
        seed=seed,
        steps=100,
    )


def _log(folder: Path, *values: float) -> None:
    with RunWriter(folder) as writer:
        for step, value in enumerate(values):
            writer.log(step, {"m": value})
        writer.finish("done")


def _seen(found: Index) -> str:
    """Everything the index says, as text (in which one NaN equals another)."""
    damaged = [(d.path.name, d.problem) for d in found.refresh()]
    return repr((sorted(damaged), [(r.path, r.meta, r.status, sorted(r.latest.items())) for r in found.rows()]))


NAMES = ("a", "b", "c")
actions = st.tuples(
    st.sampled_from(NAMES), st.sampled_from(["log", "nan", "status", "damage", "delete", "tear", "new"])
)


def _act(folder: Path, action: str, turn: int) -> None:
    if not (folder / "run.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        create_run(folder, _meta(folder.name, turn))
    elif action == "delete":
        shutil.rmtree(folder)
    elif action == "damage":
        (folder / "run.json").write_bytes(b"{" * turn)
    elif action == "tear":
        with open(folder / "metrics.jsonl", "ab") as file:
            file.write(b'{"step": 1, "att')
    elif action == "new":
        shutil.rmtree(folder)
        create_run(folder, _meta(folder.name, turn))
    elif action == "status":
        write_status(folder, RunStatus(state="stopped", step=turn))
    else:
        with open(folder / "metrics.jsonl", "ab") as file:
            value = '"NaN"' if action == "nan" else str(turn)
            file.write(f'{{"step": {turn}, "attempt": 1, "m{turn % 2}": {value}}}\n'.encode())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(actions, min_size=1, max_size=10))
def test_incremental_equals_rebuilt(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]) -> None:
    root = tmp_path_factory.mktemp("runs")
    incremental = Index(root)
    for turn, (name, action) in enumerate(steps, start=1):
        _act(root / "single" / name, action, turn)
        now = _seen(incremental)
        copy = Index(root)
        copy.file = root / ".other.sqlite"
        copy.rebuild()
        assert _seen(copy) == now


def test_rows_filters_and_find(make_run: Maker, tmp_path: Path) -> None:
    make_run("a", group="s1", sweep="s1", fingerprint="f1")
    _log(make_run("b", group="s1", sweep="s1", task="other"), 1.0, math.nan)
    make_run("a", group="s2", sweep="s2", fingerprint="f1")
    found = Index(tmp_path)
    assert [r.path.relative_to(tmp_path).as_posix() for r in found.rows()] == ["s1/a", "s1/b", "s2/a"]
    assert [r.meta.name for r in found.rows(sweep="s1")] == ["a", "b"]
    assert [r.meta.name for r in found.rows(task="other")] == ["b"] == [r.meta.name for r in found.rows(state="done")]
    assert [r.path.parent.name for r in found.find("f1")] == ["s1", "s2"] and found.find("nothing") == []
    latest = found.rows(state="done")[0].latest["m"]
    assert latest.step == 1 and math.isnan(latest.value)


def test_the_latest_value_goes_back_when_a_resume_supersedes_it(make_run: Maker, tmp_path: Path) -> None:
    folder = make_run()
    _log(folder, 0.0, 1.0, 2.0)
    assert Index(tmp_path).rows()[0].latest["m"] == (2, 2.0)
    with RunWriter(folder) as writer:
        writer.resume(1)
        writer.finish("preempted")
    assert Index(tmp_path).rows()[0].latest["m"] == (1, 1.0)


def test_lost_is_worked_out_at_reading(make_run: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_status(make_run(), RunStatus(state="running", host="another", heartbeat=1e12))
    assert Index(tmp_path).rows()[0].status.state == "running"
    monkeypatch.setattr("bellmark.records.liveness.DEAD_AFTER", -1e13)  # time passes, no file changes
    assert Index(tmp_path).rows()[0].status.state == "lost"


def test_only_changed_files_are_read_again(make_run: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _log(make_run("a"), 1.0)
    changed = make_run("b")
    Index(tmp_path).refresh()
    read: list[str] = []
    for name in ("_read_run", "_read_status", "_read_latest"):
        real = getattr(index, name)
        monkeypatch.setattr(index, name, lambda *a, name=name, real=real: (read.append(f"{name} {a[2]}"), real(*a)))
    Index(tmp_path).refresh()
    assert read == []
    _log(changed, 2.0)
    Index(tmp_path).refresh()
    assert read == ["_read_status single/b", "_read_latest single/b"]


def _garbage(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def _overwrite_middle(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[4096:8192] = b"\xa5" * 4096
    file.write_bytes(data)


def _other_tables(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("DROP TABLE latest")
    db.close()


def _old_version(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 0")
    db.close()


def _bad_content(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("UPDATE runs SET meta = '{'")
    db.close()


@pytest.mark.parametrize(
    "harm", [Path.unlink, _garbage, _truncate, _overwrite_middle, _other_tables, _old_version, _bad_content]
)
def test_a_damaged_or_deleted_file_is_built_anew(make_run: Maker, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    for name in NAMES:
        _log(make_run(name), 1.0, 2.0)
    found = Index(tmp_path)
    before = _seen(found)
    harm(found.file)
    assert _seen(found) == before
    with sqlite3.connect(found.file) as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (3,)
    db.close()


def test_without_a_place_to_write_the_index_lives_in_memory(make_run: Maker, tmp_path: Path) -> None:
    _log(make_run(), 1.0)
    found = Index(tmp_path)
    found.file = tmp_path / "no such folder" / "index.sqlite"
    assert [r.meta.name for r in found.rows()] == ["one"]
    assert Index(tmp_path / "nowhere").rows() == []


def test_a_damaged_run_is_reported_until_it_is_mended(make_run: Maker, tmp_path: Path) -> None:
    make_run("good")
    bad = make_run("bad")
    text = (bad / "run.json").read_bytes()
    (bad / "run.json").write_bytes(text[:40])
    found = Index(tmp_path)
    assert [d.path.name for d in found.refresh()] == ["bad"] and [r.meta.name for r in found.rows()] == ["good"]
    (bad / "run.json").write_bytes(text)
    assert found.refresh() == [] and [r.meta.name for r in found.rows()] == ["bad", "good"]
    (bad / "metrics.jsonl").mkdir()
    assert "metrics.jsonl cannot be read" in found.refresh()[0].problem
    (bad / "metrics.jsonl").rmdir()
    assert found.refresh() == [] and len(found.rows()) == 2


def test_open_run(make_run: Maker, tmp_path: Path) -> None:
    folder = make_run("ppo-s1-3fa29c", fingerprint="3fa29c000000")
    make_run("ppo-s2-91be07", fingerprint="91be07000000")
    make_run("twin", group="x", fingerprint="1" * 12)
    make_run("twin", group="y", fingerprint="1" * 12)
    for text in (str(folder), "ppo-s1-3fa29c", "single/ppo-s1-3fa29c", "ppo-s1", "3fa29c"):
        assert open_run(text, tmp_path).path == folder
    assert open_run("x/twin", tmp_path).path.parent.name == "x"
    with pytest.raises(UserError, match=r"unknown run 'ppo-s3-91be07'; did you mean ppo-s2-91be07"):
        open_run("ppo-s3-91be07", tmp_path)
    with pytest.raises(UserError, match=r"run 'ppo' fits 2 runs; say which: single/ppo-s1-3fa29c, single/ppo-s2"):
        open_run("ppo", tmp_path)
    with pytest.raises(UserError, match="say which: x/twin, y/twin"):
        open_run("twin", tmp_path)
    (folder / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        open_run("ppo-s1-3fa29c", tmp_path)
