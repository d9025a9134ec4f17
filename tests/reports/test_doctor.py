"""The doctor's findings on the page: in its own words, with commands that can be typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_ledger import QUESTION, Ledger

from bellmark.cli import main
from bellmark.health import Finding
from bellmark.records import Run
from bellmark.reports import build_report
from bellmark.reports.doctor import examine


def sick(case: object) -> list[Finding]:
    what = ("gone", "critical", 20_000, "the value is gone", "a leak", "bellmark probe RUN; bellmark evaluate RUN")
    return [Finding(*what)]  # type: ignore[arg-type]


def test_a_finding_says_what_why_and_what_to_try(full: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bellmark.reports.doctor.diagnose", sick)
    run = Run(full.written[0])
    (found,) = examine(run, run.curves())
    assert (found.id, found.severity, found.step, found.sentence) == ("gone", "critical", 20_000, "The value is gone.")
    tried = f"bellmark probe gae_ppo_finetune; bellmark evaluate {run.name}"
    assert found.advice == f"Likely cause: a leak. Try: {tried}."


def test_reports_show_what_the_doctor_finds(full: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bellmark.reports.doctor.diagnose", sick)
    plan = full.plan()
    paths = build_report(plan, plan.results(), full.folder / "out")
    assert "The value is gone." in paths.page.read_text()
    assert "### Health" in paths.log.read_text() and "| critical | 20,000 | The value is gone." in paths.log.read_text()


def test_the_command_asks_the_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bellmark.reports.doctor.diagnose", sick)
    ledger = Ledger(Path(), {**QUESTION})
    ledger.write_all()
    assert main(["report", "duel.yaml", "--figures", "none"]) == 0
    assert "The value is gone." in Path("reports/duel/index.html").read_text()
    assert not Path("reports/duel/figures").exists()
