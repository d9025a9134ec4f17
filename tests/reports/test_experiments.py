"""EXPERIMENTS.md: entries come from the records, words come from their owner, and neither eats the other."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from synthetic_ledger import Ledger

from bellmark.cli import main
from bellmark.records import Run, RunWriter, create_run
from bellmark.reports.log import BEGIN, END


@pytest.fixture
def kept(ledger: Ledger, capsys: pytest.CaptureFixture[str]):
    """Writes the log of a ledger and returns its text."""

    def write(*arguments: str) -> str:
        ledger.plan()  # writes the sweep file as the question stands now
        file = ledger.folder / "EXPERIMENTS.md"
        options = ["--file", str(file), "--runs", str(ledger.runs_root), "--sweeps", str(ledger.folder)]
        assert main(["log", *arguments, *options]) == 0
        return file.read_text()

    return write


def note(file: Path, text: str) -> None:
    file.write_text(file.read_text().replace(BEGIN, f"{BEGIN}\n{text}", 1))


def test_a_sweep_without_runs_appears_when_it_is_named_and_everything_is_pending(ledger: Ledger, kept) -> None:
    assert "duel" not in kept()
    text = kept(str(ledger.file))
    assert "## [duel]" in text and "Hypothesis: Measured advantages need no critic." in text
    assert "| awr | (pending: 0 of 3 done, 3 pending) | (pending) |" in text
    assert "### Results\n\n(pending)" in text


def test_a_finished_sweep_has_settings_commands_results_and_verdict(ledger: Ledger, kept) -> None:
    ledger.write_all()
    text = kept()
    for part in ("### Shared Settings", "### Commands", "### Results: eval/success", "### Run Dirs", "### Notes"):
        assert part in text
    # 118, 122, 124 of 128 are 94.8% on average over the last three
    assert "| awr | 94.8% (3 of 3 done) | supported |" in text
    assert "| gae_ppo_finetune | 71.4% (3 of 3 done) | baseline |" in text


def test_writing_twice_changes_nothing(ledger: Ledger, kept) -> None:
    ledger.write_all()
    assert kept() == kept()


def test_notes_and_words_outside_entries_survive_new_results(ledger: Ledger, kept) -> None:
    plan = ledger.plan()
    ledger.write(plan.runs[0], (58, 70, 80, 88, 92, 94))
    file = ledger.folder / "EXPERIMENTS.md"
    kept()
    note(file, "- seed 1 looked *odd* <b>| here")
    file.write_text("My preface.\n\n" + file.read_text() + "\nA remark at the end.\n")
    former = file.read_text()
    ledger.written.clear()
    ledger.write_all()
    text = kept()
    assert text != former and "supported" in text
    assert text.startswith("My preface.\n") and text.count("A remark at the end.") == 1
    assert text.count("- seed 1 looked *odd* <b>| here") == 1
    assert not list(ledger.folder.glob("EXPERIMENTS.previous*"))  # notes are meant to be changed


def test_a_generated_part_changed_by_hand_is_set_aside(ledger: Ledger, kept) -> None:
    ledger.write_all()
    file = ledger.folder / "EXPERIMENTS.md"
    text = kept()
    file.write_text(text.replace("94.8%", "99.9%"))
    assert kept() == text
    assert "99.9%" in (ledger.folder / "EXPERIMENTS.previous.md").read_text()


def test_an_entry_without_its_marks_is_kept_whole_above_the_new_one(ledger: Ledger, kept) -> None:
    ledger.write_all()
    file = ledger.folder / "EXPERIMENTS.md"
    file.write_text(kept().replace(BEGIN, "mine: do not lose").replace(END, ""))
    text = kept()
    assert text.count("mine: do not lose") == 1 and text.count(BEGIN) == 1
    assert kept() == text


def test_deleted_runs_leave_the_entry_with_its_notes(ledger: Ledger, kept) -> None:
    ledger.write_all()
    file = ledger.folder / "EXPERIMENTS.md"
    kept()
    note(file, "- the disk was full")
    shutil.rmtree(ledger.runs_root)
    text = kept()
    assert "no longer there" in text and "- the disk was full" in text and "94.8%" in text
    assert kept() == text
    ledger.write_all()
    back = kept()
    assert "no longer there" not in back and "- the disk was full" in back


def test_a_sweep_whose_recipe_is_gone_keeps_its_entry(ledger: Ledger, kept, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.write_all()
    text = kept()
    ledger.file.write_text(ledger.file.read_text().replace("base: gae_ppo_finetune", "base: gone"))
    options = ["--runs", str(ledger.runs_root), "--sweeps", str(ledger.folder)]
    assert main(["log", "--file", str(ledger.folder / "EXPERIMENTS.md"), *options]) == 0
    assert (ledger.folder / "EXPERIMENTS.md").read_text() == text
    assert "left as it is: sweep duel" in capsys.readouterr().err
    ledger.file.write_text("question: [")
    assert main(["log", "--file", str(ledger.folder / "EXPERIMENTS.md"), *options]) == 0
    assert (ledger.folder / "EXPERIMENTS.md").read_text() == text


def test_two_sweeps_and_single_runs_have_entries_of_their_own(ledger: Ledger, kept) -> None:
    ledger.write_all()
    other = Ledger(ledger.folder / "second", {**ledger.question, "name": "rematch", "seeds": [7, 8]})
    other.folder.mkdir()
    other.file.write_text("")
    other.plan()
    meta = Run(ledger.written[0]).meta
    alone = msgspec.structs.replace(meta, name="alone", group="single", sweep=None, arm=None, fingerprint="f" * 12)
    with RunWriter(create_run(ledger.runs_root / "single" / "alone", alone)) as writer:
        writer.log(0, {"eval/success": 0.5})
        writer.finish("done")
    text = kept(str(other.file))
    assert [line for line in text.splitlines() if line.startswith("<!-- bellmark entry")] == [
        line
        for key in ("sweep:rematch", "sweep:duel", "runs:single")
        for line in text.splitlines()
        if f"entry {key} " in line and "end" not in line
    ]
    assert "| awr | (pending: 0 of 2 done, 2 pending) | (pending) |" in text and "(3 of 3 done) | supported |" in text
    assert kept(str(other.file)) == text
