"""The doctor beside a run: what it says, and that a critical finding ends the run only where that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import made

from bellmark.health import Case, Finding
from bellmark.records import Run
from bellmark.train.run import DONE, execute

SICK = Finding("peak_then_collapse", "critical", 64, "evaluations fell", "a fall", "less haste")
WORSE = Finding("loss_spike", "warning", 64, "it jumped", "a jump", "clip")


def falls_ill(case: Case) -> list[Finding]:
    """Healthy until the third evaluation."""
    return [SICK, WORSE] if len(case.curves["eval/return"].value) >= 3 else []


def test_a_critical_finding_ends_the_run_with_a_checkpoint_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bellmark.train.doctor.diagnose", falls_ill)
    folder = made(tmp_path, "doctor.on_critical=stop")
    assert execute(folder) == DONE
    status = Run(folder).status
    assert (status.state, status.step) == ("stopped", 128)
    assert "peak_then_collapse: evaluations fell (likely: a fall)" in status.reason
    last = Run(folder).last_checkpoint()
    assert last is not None and last.step == 128


def test_what_is_known_before_the_first_step_ends_a_run_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bellmark.train.doctor.diagnose", lambda case: [SICK])
    folder = made(tmp_path, "doctor.on_critical=stop")
    assert execute(folder) == DONE
    assert (Run(folder).status.state, Run(folder).status.step) == ("stopped", 0)


def test_otherwise_it_is_said_once_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bellmark.train.doctor.diagnose", falls_ill)
    folder, lines = made(tmp_path), []
    assert execute(folder, say=lines.append) == DONE
    assert Run(folder).status.state == "done"
    told = [line for line in lines if line.startswith("doctor:")]
    assert [line.split(":")[2].strip() for line in told] == ["peak_then_collapse", "loss_spike"]
    assert (folder / "log.txt").read_text().count("peak_then_collapse") == 1


def test_a_record_holds_what_chance_scores_and_what_starts_are_worth(tmp_path: Path) -> None:
    folder = made(tmp_path)
    execute(folder)
    curves = Run(folder).curves()
    assert curves["baseline/random_episodes"].value.tolist() == [24.0]  # three rounds of eight worlds
    # Best reward 1 at x / 2; a uniform action misses it by (a - x / 2)^2, 1 / 3 + 1 / 4 = 7 / 12 on average.
    assert curves["baseline/random_return"].value[0] == pytest.approx(1 - 7 / 12, abs=0.25)
    assert len(curves["value/start"].value) == len(curves["eval/discounted"].value) == 6
    assert curves["eval/discounted"].value.tolist() == curves["eval/return"].value.tolist()  # episodes of one step
