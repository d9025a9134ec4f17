from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellmark.records import CheckpointStore


def _steps(store: CheckpointStore) -> list[int]:
    return [c.step for c in store.all()]


def test_saved_data_reads_back(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    assert store.last() is None and store.best() is None and store.all() == []
    saved = store.save(50_000, b"weights", metric=0.5)
    assert saved.path.name == "step_000050000.pt" and saved.path.read_bytes() == b"weights"
    last = store.last()
    assert last is not None and last.step == 50_000 and last.metric == 0.5 and last.read() == b"weights"
    assert json.loads((store.folder / "last.json").read_text())["file"] == "step_000050000.pt"
    assert json.loads((store.folder / "best.json").read_text())["step"] == 50_000


def test_keeps_the_newest_its_spare_the_best_and_every_n(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    for step, metric in [(10, 0.1), (20, 0.9), (30, 0.2), (40, 0.3), (50, 0.4), (60, 0.5)]:
        store.save(step, bytes([step]), metric=metric, keep_every=40)
    assert _steps(store) == [20, 40, 50, 60]
    assert store.best().step == 20 and store.last().step == 60  # type: ignore[union-attr]
    files = {p.name for p in tmp_path.iterdir()}
    assert files == {"last.json", "best.json"} | {
        f"step_0000000{s}.{e}" for s in (20, 40, 50, 60) for e in ("pt", "json")
    }


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.none() | st.sampled_from([0.0, 0.5, 1.0, math.nan, -math.inf]), min_size=1, max_size=8),
    st.sampled_from(["max", "min"]),
)
def test_best_is_the_earliest_of_the_best_numbers(
    tmp_path_factory: pytest.TempPathFactory, metrics: list[float | None], mode: str
) -> None:
    store = CheckpointStore(tmp_path_factory.mktemp("store"), mode)  # type: ignore[arg-type]
    for step, metric in enumerate(metrics):
        store.save(step, b"x", metric=metric)
    numbers = [m for m in metrics if m is not None and math.isfinite(m)]
    best, last = store.best(), store.last()
    assert last is not None and last.step == len(metrics) - 1
    if numbers:
        wanted = max(numbers) if mode == "max" else min(numbers)
        assert best is not None and best.step == metrics.index(wanted)
    else:
        assert best is None


def test_after_a_resume_from_further_back_the_newest_is_last_and_the_abandoned_future_is_not_best(
    tmp_path: Path,
) -> None:
    store = CheckpointStore(tmp_path)
    for step, metric in [(10, 0.1), (20, 0.2), (30, 0.9)]:
        store.save(step, b"first", metric=metric, keep_every=10)
    CheckpointStore(tmp_path).save(20, b"second", metric=0.3, keep_every=10)
    assert store.last().read() == b"second"  # type: ignore[union-attr]
    assert store.best().step == 20  # type: ignore[union-attr]


def test_saves_of_one_step_stand_beside_each_other_as_saves_of_several_do(tmp_path: Path) -> None:
    """In a burst of updates no step is taken: the best must not be lost to a save that nobody judged."""
    store = CheckpointStore(tmp_path)
    store.save(20, b"judged", metric=0.9, keep_every=20, updates=1)
    for updates in (5, 9, 12):
        store.save(20, bytes([updates]), keep_every=20, updates=updates)
    assert [(c.path.name, c.facts.updates) for c in store.all()] == [
        ("step_000000020.pt", 1),  # the best
        ("step_000000020_3.pt", 9),  # the spare
        ("step_000000020_4.pt", 12),
    ]
    assert store.best().read() == b"judged" and store.last().read() == bytes([12])  # type: ignore[union-attr]
    assert store.furthest() == (20, 12)
    for step in (21, 22):
        store.save(step, b"later", keep_every=20, updates=20)
    assert [c.facts.updates for c in store.all()] == [1, 12, 20, 20]  # of every 20 steps the newest


class Crash(Exception):
    """The process dies here."""


def _crash_at(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """The `call`-th rename from now never happens, nor anything after it."""
    real, seen = os.replace, [0]

    def replace(source: Path, target: Path) -> None:
        seen[0] += 1
        if seen[0] >= call:
            raise Crash
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("call", [1, 2, 3, 4])
@pytest.mark.parametrize("step", [20, 30])  # 20: the step was saved before, and is saved again
def test_a_crash_at_any_rename_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, step: int
) -> None:
    store = CheckpointStore(tmp_path)
    store.save(10, b"one", metric=0.1)
    store.save(20, b"two", metric=0.2)
    _crash_at(monkeypatch, call)
    with pytest.raises(Crash):
        store.save(step, b"newer", metric=0.3)
    monkeypatch.undo()
    last = CheckpointStore(tmp_path).last()
    assert last is not None and last.read() == (b"two" if call <= 2 else b"newer")
    CheckpointStore(tmp_path).save(40, b"after", metric=0.4)
    assert not list(tmp_path.glob(".*.tmp"))
    assert CheckpointStore(tmp_path).last().read() == b"after"  # type: ignore[union-attr]


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_damaged_data_is_skipped_with_a_warning(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(10, b"one" * 100, metric=0.9)
    store.save(20, b"two" * 100, metric=0.5)
    store.save(30, b"three" * 100, metric=0.1)
    _flip(tmp_path / "step_000000030.pt")
    with pytest.warns(UserWarning, match=r"step_000000030\.pt does not match its checksum"):
        assert store.last().step == 20  # type: ignore[union-attr]
    (tmp_path / "step_000000010.pt").write_bytes(b"one")
    with pytest.warns(UserWarning, match=r"step_000000010\.pt has 3 bytes, 300 were saved"):
        assert store.best().step == 20  # type: ignore[union-attr]
    (tmp_path / "step_000000020.json").write_text("{")
    (tmp_path / "step_000000010.pt").unlink()
    (tmp_path / "step_000000030.pt").unlink()
    with pytest.warns(UserWarning, match=r"step_000000020\.json is unreadable"):
        assert store.last() is None


def test_data_without_facts_never_counts(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(10, b"one")
    (tmp_path / "step_000000099.pt").write_bytes(b"half a copy")
    assert _steps(store) == [10]
