"""`bellmark sweep` on real recipes; workers are not started here (tests/sweeps/test_local.py does that)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic_ledger import QUESTION, Ledger

from bellmark.cli import main
from bellmark.sweeps import local
from bellmark.sweeps.launch import Outcome
from bellmark.sweeps.schema import Expect, ListCell, Resources, Sweep
from bellmark.sweeps.work import Plan

Cli = Callable[..., int]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clip.yaml"
    keys: dict[str, Any] = {
        "question": "Does a wider clip help?",
        "expect": {"metric": "eval/success", "minimum_effect": 0.05},
        "base": "gae_ppo_finetune",
        "grid": {"update.clip": [0.1, 0.4]},
        "seeds": 2,
    }
    path.write_text(yaml.safe_dump(keys))
    return path


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `sweep run` hands to the launcher; the launch itself ends at once with an outcome of the test's choice."""
    calls: list[dict[str, Any]] = []

    def launch(plan: Plan, seats: list[Any], **options: Any) -> Outcome:
        calls.append({"plan": plan, "seats": seats, **options})
        return Outcome((), {plan.runs[0].name: "boom"}, ("b",))

    monkeypatch.setattr(local, "launch_local", launch)
    return calls


def test_plan_shows_cells_runs_count_and_warnings(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "plan", str(file), "--runs", str(tmp_path / "runs")]) == 0
    shown = capsys.readouterr()
    assert "Does a wider clip help?" in shown.out
    assert "eval/success will increase by at least 0.05 (mean of the last 3 evaluations)" in shown.out
    assert "2 configs x 2 seeds x 1 task = 4 runs, and 2 runs of the baseline gae_ppo_finetune (6 new)" in shown.out
    assert "update.clip 0.2 -> 0.4" in shown.out
    assert "gae_ppo_finetune-clip0.4-s2-" in shown.out
    assert "2 seeds can only show a direction" in shown.err
    assert not (tmp_path / "runs").exists()


def test_plan_says_when_runs_to_come_are_of_other_code_than_those_that_are_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(tmp_path, {**QUESTION})
    planned = ledger.plan().runs
    ledger.write(planned[0], [10, 20])
    command = ["sweep", "plan", str(ledger.file), "--runs", str(ledger.runs_root)]
    assert main(command) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"1 finished run \(d53c0cc1b2a3\) will be compared with \d+ runs to come of other code", said)
    assert main([*command, "--json"]) == 0
    assert any("of other code" in text for text in json.loads(capsys.readouterr().out)["warnings"])
    ledger.write(planned[1], [10, 20], state="preempted")
    assert main(command) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"1 unfinished run \(d53c0cc1b2a3\) will be carried on by other code", said)
    for run in planned[1:]:
        ledger.write(run, [10, 20])  # nothing is to come: the report will say what it thinks of them
    assert main(command) == 0
    assert "of other code" not in capsys.readouterr().err


def test_plan_as_json(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "plan", str(file), "--runs", str(tmp_path), "--seeds", "5-6", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [cell["arm"] for cell in shown["cells"]] == ["gae_ppo_finetune", "clip=0.1", "clip=0.4"]
    assert shown["cells"][2]["differs"] == {"update.clip": {"baseline": 0.2, "here": 0.4}}
    assert sorted({run["seed"] for run in shown["runs"]}) == [5, 6]
    assert len({run["fingerprint"] for run in shown["runs"]}) == 6


def test_status_before_anything_was_run(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "status", str(file), "--runs", str(tmp_path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["states"] == {"new": 6}
    assert shown["runs"][0]["latest"] is None
    assert main(["sweep", "status", str(file), "--runs", str(tmp_path)]) == 0
    assert "0/50,000" in capsys.readouterr().out


def test_run_hands_over_and_tells_what_came_of_it(
    file: Path, tmp_path: Path, launched: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--workers", "3", "--threads", "2", "--retry-failed", "--runs", str(tmp_path)]
    assert main(["sweep", "run", str(file), *options]) == 1
    (call,) = launched
    assert len(call["seats"]) == 3
    assert call["seats"][0].threads == 2
    assert call["retry_failed"]
    shown = capsys.readouterr().out
    assert "to run: 6" in shown
    assert ": boom (see " in shown
    assert "1 left (`bellmark sweep resume` goes on with them)" in shown


def test_dry_run_starts_nothing(file: Path, tmp_path: Path, launched: list[dict[str, Any]]) -> None:
    assert main(["sweep", "run", str(file), "--dry-run", "--runs", str(tmp_path)]) == 0
    assert not launched


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "nowhere.yaml"], "sweep file 'nowhere.yaml' does not exist"),
        (["run", "FILE", "--seeds", "1-x"], "--seeds: seeds='1-x'"),
        (["run", "FILE", "--sed", "1"], "did you mean --seeds"),
        (["rum", "FILE"], "run"),
        (["run", "FILE", "--workers", "0"], "--workers"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["sweep", *(str(file) if word == "FILE" else word for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "sweeps").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_sweep_file_of_the_repository_plans(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "plan", str(path), "--runs", str(tmp_path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["runs"]) >= 2
    assert not [text for text in shown["warnings"] if "no effect" in text or "neither swept" in text]


def test_the_worked_example_of_the_documentation_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    first, second = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    file = tmp_path / "example.yaml"
    file.write_text(first)
    assert main(["sweep", "plan", str(file), "--runs", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "5 configs x 5 seeds x 1 task = 25 runs" in shown.out
    assert "clip=0.2,gamma=0.8 (baseline)" in shown.out
    assert not shown.err
    file.write_text(f"question: q\nexpect: {{metric: m}}\n{second}")
    assert main(["sweep", "plan", str(file), "--runs", str(tmp_path)]) == 0


def test_the_documentation_names_every_key() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    for group in (Sweep, Expect, Resources, ListCell):
        for key in group.model_fields:
            assert f"`{key}`" in text, key
