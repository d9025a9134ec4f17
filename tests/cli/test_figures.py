"""`bellmark figures`, and `--figures` of the report, from the outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_ledger import QUESTION, Ledger

from bellmark.cli import main


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A planned sweep below the working directory, nothing run."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    made = Ledger(Path(), {**QUESTION})
    made.plan()
    return made


def test_pdf_for_a_paper(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.write_all()
    assert main(["figures", "duel.yaml", "--format", "pdf", "--out", "paper"]) == 0
    files = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert files == [Path("paper") / f"{name}.pdf" for name in ("curves", "together", "effects")]
    assert all(file.read_bytes().startswith(b"%PDF") for file in files)
    assert main(["report", "duel.yaml", "--figures", "pdf"]) == 0
    assert sorted(p.name for p in Path("reports/duel/figures").iterdir()) == [
        "curves.pdf",
        "effects.pdf",
        "together.pdf",
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["duel.yaml"], "duel: no run has been evaluated yet, so there is nothing to draw"),
        (["duel.yaml", "--format", "pfd"], "unknown figure format 'pfd'; did you mean pdf"),
        (["duel.yaml", "--format", "none"], "--format none leaves nothing to write"),
    ],
)
def test_bad_input_is_one_line(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert main(["figures", *arguments]) == 2
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1
