"""`bellmark report` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic_ledger import QUESTION, Ledger

from bellmark.cli import main


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A finished sweep below the working directory, as users have it."""
    monkeypatch.chdir(tmp_path)
    made = Ledger(Path(), {**QUESTION})
    made.write_all()
    return made


def test_a_sweep(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "duel.yaml"]) == 0
    out = capsys.readouterr().out
    assert "Supported: awr improves eval/success" in out and "6 of 6 runs done" in out
    assert "report: reports/duel/index.html\nreport: reports/duel/log.md" in out
    page = Path("reports/duel/index.html").read_text()
    assert "bellmark sweep run duel.yaml" in page and "runs/duel/awr_rerollout-s1" in page


def test_json(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "duel.yaml", "--json", "--out", "elsewhere"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["page"] == "elsewhere/index.html" and Path(found["log"]).is_file()
    assert [(v["arm"], v["kind"]) for v in found["verdicts"]] == [("awr", "supported")]
    assert set(found["runs"].values()) == {"done"}


def test_a_folder_and_single_runs(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "runs/duel"]) == 0
    assert "No claim was declared" in capsys.readouterr().out and Path("reports/duel/index.html").is_file()
    first, second = (path.name for path in ledger.written[:2])
    assert main(["report", first, second, "--metric", "eval/success_sampled", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metric"] == "eval/success_sampled" and set(found["runs"]) == {first, second}
    assert found["verdicts"] == [] and found["page"] == "reports/runs/index.html"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere.yaml"], "sweep file 'nowhere.yaml' does not exist"),
        (["duel.yaml", "runs/duel"], "a sweep file is reported on alone: duel.yaml was given with 1 more"),
        (["duel.yaml", "--metric", "eval/return"], "sweep duel declares eval/success; change expect.metric there"),
        (["runs/duel", "--metric", "eval/sucess"], "unknown metric 'eval/sucess'; did you mean eval/success"),
        (["empty"], "empty: no runs in this folder"),
        (["duel.yaml", "--out", "duel.yaml"], "report folder 'duel.yaml' cannot be written"),
    ],
)
def test_bad_input_is_one_line(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    Path("empty").mkdir()
    assert main(["report", *arguments]) == 2
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1
