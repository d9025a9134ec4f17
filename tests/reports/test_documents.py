"""Data in a page: what is packed comes back; a run's document holds its record; a page of many stays bounded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_ledger import Ledger

from bellmark.config import flatten
from bellmark.records import Run
from bellmark.reports import documents
from bellmark.reports.documents import Embed, document
from bellmark.reports.findings import Finding, gravest
from bellmark.reports.pack import pack, plain, unpack
from bellmark.reports.scales import outline


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True)))
def test_numbers_come_back_rounded_and_finite(values: list[float]) -> None:
    back = unpack(pack(plain(values)))
    for value, found in zip(values, back, strict=True):
        assert found is None if not math.isfinite(value) else found == pytest.approx(value, rel=1e-5)


def test_whole_numbers_take_no_point() -> None:
    assert plain([1.0, 0.25, math.nan, -0.0]) == [1, 0.25, None, 0]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(4, 60))
def test_an_outline_keeps_ends_and_extremes(values: list[float], most: int) -> None:
    array = np.asarray(values)
    kept = outline(array, most)
    assert kept == sorted(set(kept)) and {0, len(values) - 1} <= set(kept)
    assert len(kept) <= max(len(values) if len(values) <= most else 0, most + 2)
    assert {array.min(), array.max()} <= set(array[kept])


def test_a_document_is_the_record(full: Ledger) -> None:
    run = Run(full.written[0])
    told = document(
        run, run.curves(), [Finding("slow", "info", 3, "slow")], ["line 7"], points=100, video=str, log=True
    )
    curves = {name: (told["curves"]["steps"][at], values) for name, at, values in told["curves"]["metrics"]}
    assert set(curves) == set(run.metric_names())
    for name, curve in run.curves().items():
        assert curves[name] == (curve.step.tolist(), pytest.approx(curve.value.tolist(), rel=1e-5))
    assert len(told["curves"]["steps"]) == 2  # all metrics at every evaluation, the phases of work at all but the first
    assert [key for key, _ in told["config"]] == list(flatten(run.meta.config))
    assert dict(told["facts"])["Fingerprint"] == run.meta.fingerprint and told["problems"] == ["line 7"]
    assert told["command"].startswith("bellmark train gae_ppo_finetune") and "attempt 1 ends: done" in told["log"]
    assert told["findings"] == [{"id": "slow", "severity": "info", "step": 3, "sentence": "slow", "advice": ""}]


def test_a_log_is_told_where_something_went_wrong(ledger: Ledger) -> None:
    ledger.write_one("awr", 1, (58, 60), state="failed", reason="boom")
    ledger.write_one("awr", 2)
    logs = [document(Run(p), {}, [], [], points=9, video=str, log=False)["log"] for p in ledger.written]
    assert "boom" in logs[0] and logs[1] == ""


def test_many_points_are_shared_out(full: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "PAGE_NUMBERS", 0)
    monkeypatch.setattr(documents, "FEWEST_POINTS", 4)
    for packed in documents.documents(full.dossier()).values():
        assert all(len(values) <= 6 for _, _, values in unpack(packed)["curves"]["metrics"])


def test_videos_are_embedded_while_there_is_room(full: Ledger) -> None:
    folder = full.written[0] / "videos"
    for name, size in (("step_1.mp4", 60), ("step_2.mp4", 60), ("notes.txt", 5)):
        (folder / name).write_bytes(b"x" * size)
    told = document(Run(full.written[0]), {}, [], [], points=9, video=Embed(100), log=False)["videos"]
    assert [v["name"] for v in told] == ["step_2.mp4", "step_1.mp4"]  # the newest first
    assert told[0]["source"].startswith("data:video/mp4;base64,") and told[1]["source"] == ""


def test_the_gravest_finding_counts() -> None:
    low, high = Finding("a", "info", None, ""), Finding("b", "warning", 1, "")
    assert gravest([low, high]) == "warning" and gravest([low]) == "info" and gravest([]) == ""
