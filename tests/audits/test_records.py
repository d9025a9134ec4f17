"""The same audits over run folders and sweep files."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from synthetic_ledger import CURVES, Ledger

from bellmark.audits import audit, case_of_records
from bellmark.cli import main
from bellmark.records import Run, RunMeta, RunWriter, create_run
from bellmark.reports import collect_runs


@pytest.fixture
def ledger(tmp_path: Path, made_question: dict[str, object]) -> Ledger:
    return Ledger(tmp_path, made_question)


@pytest.fixture
def made_question() -> dict[str, object]:
    from synthetic_ledger import QUESTION

    return {**QUESTION}


def messages(ledger: Ledger, name: str) -> list[str]:
    return [f.message for f in audit(case_of_records(ledger.dossier(), str(ledger.file)), [name])]


def make(folder: Path, values: list[float], **fields: object) -> Run:
    known: dict[str, object] = {
        "family": "finetune", "recipe": "ppo", "overrides": [], "config": {"seed": 1, "steps": 200},
        "fingerprint": folder.name[:12].ljust(12, "0"), "model_fingerprint": "0" * 12, "task": "pick_cube",
        "seed": 1, "steps": 200,
    }  # fmt: skip
    meta = RunMeta(name=folder.name, **{**known, **fields})
    with RunWriter(create_run(folder, meta)) as writer:
        for i, value in enumerate(values):
            writer.log(100 * i, {"eval/success": value, "eval/episodes": 100.0})
        writer.finish("done")
    return Run(folder)


def of(*runs: Run) -> list[tuple[str, str]]:
    return [(f.audit, f.message) for f in audit(case_of_records(collect_runs(runs, name="some"), "some"))]


def test_a_sound_sweep_is_clean(ledger: Ledger) -> None:
    ledger.write_all()
    assert [f for f in audit(case_of_records(ledger.dossier(), "duel.yaml")) if f.weight != "note"] == []


def test_one_seed_and_an_order_that_turns(ledger: Ledger) -> None:
    ledger.question["seeds"] = [1]
    base, arm = ledger.plan().runs
    ledger.write(base, CURVES["gae_ppo_finetune"])
    ledger.write(arm, (58, 126, 80, 70, 70, 70))
    assert messages(ledger, "seeds") == [
        "2 configurations with a single run, all with seed 1: a difference between two of them may be one between seeds"
    ]
    # peak 126 of 128 against 94; final 70 against 94
    (turned,) = messages(ledger, "flip")
    assert "73.4375 to 54.6875 by final value, 73.44 to 98.44 by peak" in turned


def test_undeclared_differences_are_those_of_the_report(ledger: Ledger) -> None:
    for run in ledger.plan().runs:
        ledger.write(run, CURVES[run.arm], commit=("a" if run.arm == "awr" else "b") * 40)
    (message,) = messages(ledger, "confound")
    assert "undeclared code" in message


def test_a_minimum_effect_that_the_planned_episodes_cannot_show(ledger: Ledger) -> None:
    ledger.question["list"] = [{"name": "awr", "recipe": "awr_rerollout"}]
    ledger.question["set"] = {"evaluation.episodes": 20}
    ledger.question["seeds"] = [1, 2]
    # 20 episodes x 3 evaluations x 2 seeds = 120 behind each arm: 196 sqrt(.25 x 2/120) = 12.7 points, declared are 2
    (message,) = messages(ledger, "noise")
    assert "2.0 points lies within evaluation noise: 12.7 points" in message
    ledger.question["set"] = {"evaluation.episodes": 2000}
    assert messages(ledger, "noise") == []


def test_an_attempt_that_began_again_at_zero(tmp_path: Path) -> None:
    folder = tmp_path / "again"
    make(folder, [0.1, 0.2, 0.3])
    with RunWriter(folder) as writer:
        writer.log(0, {"eval/success": 0.1})
        writer.finish("done")
    assert ("resume", "again: an attempt began again at step 0 after 200 steps") in of(Run(folder))
    kept = tmp_path / "kept"
    make(kept, [0.1, 0.2, 0.3])
    with RunWriter(kept) as writer:
        writer.resume(200)
        writer.log(300, {"eval/success": 0.4})
        writer.finish("done")
    assert "resume" not in dict(of(Run(kept)))


def test_rows_whose_times_run_backwards(tmp_path: Path) -> None:
    run = make(tmp_path / "clock", [0.1, 0.2])
    file = run.path / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[1]["time"] = rows[0]["time"] - 3600
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (message,) = [text for name, text in of(Run(run.path)) if name == "clock"]
    assert "the row of step 100 (attempt 1) was written 60 min before the row of step 0" in message


def test_a_rate_in_a_record_is_no_copy(tmp_path: Path) -> None:
    assert "miscopy" not in dict(of(make(tmp_path / "rates", [1 / 3, 2 / 3, 0.123456])))


def test_a_label_that_its_configuration_denies(tmp_path: Path) -> None:
    config = {"seed": 1, "steps": 200, "advantage": {"mc_samples": 16}}
    wrong = make(tmp_path / "mc5_awr", [0.1, 0.2], config=config)
    right = make(tmp_path / "awr-mc_samples16-s1-3fa29c", [0.1, 0.2], config=config, fingerprint="b" * 12)
    assert ("mislabel", "mc5_awr: the name says mc 5, the configuration advantage.mc_samples=16") in of(wrong)
    assert "mislabel" not in dict(of(right))


def test_evaluations_on_unequal_episodes(tmp_path: Path) -> None:
    one = make(tmp_path / "one", [0.1, 0.2], config={"seed": 1, "steps": 200, "a": 1})
    other = make(tmp_path / "other", [0.1, 0.2], config={"seed": 1, "steps": 200, "a": 2}, fingerprint="c" * 12)
    file = other.path / "metrics.jsonl"
    file.write_text(file.read_text().replace('"eval/episodes":100.0', '"eval/episodes":20.0'))
    assert any(name == "episodes" and "unequal numbers of episodes" in text for name, text in of(one, Run(other.path)))


def test_the_command_prints_and_exits_by_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "runs" / "mc5", [0.1, 0.2], config={"seed": 1, "steps": 200, "mc_samples": 16})
    assert main(["audit", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    assert "mislabel (wrong)" in out and "findings: 1 wrong" in out
    assert main(["audit", str(tmp_path / "runs"), "--strict"]) == 1
    capsys.readouterr()
    assert main(["audit", str(tmp_path / "runs"), "--json", "--only", "mislabel"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["audit"] == "mislabel" and found["weight"] == "wrong"
    assert main(["audit", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 17
    assert main(["audit"]) == 2
    assert main(["audit", str(tmp_path)]) == 0


def test_records_that_are_damaged_do_not_stop_the_others(tmp_path: Path) -> None:
    run = make(tmp_path / "whole", [0.1, 0.2])
    file = run.path / "metrics.jsonl"
    file.write_bytes(file.read_bytes() + b'{"step": 3')
    assert dict(of(Run(run.path))).keys() >= {"seeds"}
    assert msgspec.json.decode(file.read_bytes().splitlines()[0])["step"] == 0
