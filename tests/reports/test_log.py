"""The log: the user's shape, and the user's notes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from synthetic_ledger import Ledger

from bellmark.reports import build_report, judged
from bellmark.reports.log import BEGIN, END, own_notes, render


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds and are no matter here."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def written(ledger: Ledger) -> Path:
    plan = ledger.plan()
    return build_report(plan, plan.results(), ledger.folder / "report", source="duel.yaml").log


def test_shape(full: Ledger) -> None:
    text = written(full).read_text()
    heads = [line for line in text.splitlines() if line.startswith("#") and "one run" not in line]
    assert heads == [
        "## [duel] - 2026-02-17 20:52",
        "### Overview",
        "### Shared Settings",
        "### Settings per Experiment",
        "### Commands",
        "# run what is missing, then report",
        "# write this report again",
        "### Results: eval/success",
        "### Summary",
        "### Run Dirs",
        "### Cost per Run",
        "### Generated Notes",
        "### Notes",
    ]
    assert "**Git**: d53c0cc1b2a3" in text
    assert "bellmark train awr_rerollout seed=1" in text
    row = "| awr, seed 2 | 45.3% | 71.9% | 85.9% | 92.2% | 95.3% | **96.9%** | 96.9% (step 50,000) |"
    assert row in text  # 58, 92, 110, 118, 122, 124 of 128
    assert "**awr: supported** (+" in text and "Supported: awr improves eval/success" in text


def test_every_table_is_rectangular(full: Ledger) -> None:
    blocks = written(full).read_text().split("\n\n")
    tables = [block.splitlines() for block in blocks if block.startswith("| ")]
    assert len(tables) == 5
    for lines in tables:
        assert len({line.count("|") for line in lines}) == 1


def test_notes_survive(full: Ledger) -> None:
    log = written(full)
    mine = "- epochs=100 explains the peak\n\n| my | table |\n| --- | --- |\n<b>bold</b>"
    log.write_text(log.read_text().replace(f"{BEGIN}\n\n{END}", f"{BEGIN}\n{mine}\n{END}"))
    for _ in range(3):
        assert written(full) == log
    text = log.read_text()
    assert text.count(mine) == 1 and text.count(BEGIN) == 1
    assert "epochs=100 explains the peak" in (log.parent / "index.html").read_text()


def test_a_log_without_marks_is_set_aside(full: Ledger) -> None:
    log = written(full)
    for n in range(3):
        log.write_text(f"my own words {n}")
        written(full)
    kept = sorted(path.read_text() for path in log.parent.glob("log.previous*.md"))
    assert kept == ["my own words 0", "my own words 1", "my own words 2"]
    assert own_notes(log) == ""


def test_the_same_records_give_the_same_log(full: Ledger) -> None:
    dossier = full.dossier()
    assert render(dossier, judged(dossier)) == render(dossier, judged(dossier))


def test_text_cannot_break_a_table(ledger: Ledger) -> None:
    ledger.question |= {"question": "a | b\n<script>", "list": [{"name": "x | y `z`", "recipe": "awr_rerollout"}]}
    ledger.write_all_of("x | y `z`", (58, 60))
    dossier = ledger.dossier()
    text = render(dossier, judged(dossier))
    assert "<script>" not in text and "a \\| b &lt;script>" in text
    rows = [line for line in text.splitlines() if line.startswith(("| **x", "| x"))]
    assert rows and all("x \\| y 'z'" in row for row in rows)


def test_nothing_run_yet(ledger: Ledger) -> None:
    text = render(ledger.dossier(), judged(ledger.dossier()))
    assert "(pending)" in text and "**Git**: no run yet" in text and "0 of 3" in text
