"""What is wrong in a sweep is one clear line that says what to do, and everything else goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bellmark.cli import main

TINY = {
    "policy.hidden": 8, "policy.layers": 1, "critic.hidden": 8, "critic.layers": 1, "collect.envs": 4,
    "collect.steps": 4, "update.epochs": 1, "update.minibatches": 1, "evaluation.every": 16, "evaluation.episodes": 2,
}  # fmt: skip
HEAD: dict[str, Any] = {
    "question": "?", "expect": {"metric": "eval/return"}, "base": "ppo", "set": TINY, "steps": 32, "seeds": [1],
    "tasks": [{"kind": "probe", "name": "policy-from-obs"}],
}  # fmt: skip


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *options: str, **keys: Any) -> str:
    """The one line that a sweep with these keys is refused with."""
    file = folder / "s.yaml"
    file.write_text(yaml.safe_dump({**HEAD, **keys}))
    assert main(["sweep", "run", str(file), "--runs", str(folder / "runs"), "--no-report", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("bellmark: error: ") and error.count("\n") == 1
    assert not list(folder.glob("runs/**/run.json"))
    return error


def test_an_unknown_key_is_named_with_the_nearest_right_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean seeds" in refused(tmp_path, capsys, seed=[1])
    assert "did you mean update.clip" in refused(tmp_path, capsys, grid={"update.clop": [0.1]})


def test_a_baseline_that_does_not_exist_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = {"update.clip": [0.1, 0.3]}
    assert "did you mean clip=0.3 or clip=0.1?" in refused(tmp_path, capsys, grid=grid, baseline="clip=0.2")
    assert "fits no cell" in refused(tmp_path, capsys, grid=grid, baseline={"update.clip": 0.2})
    assert "unknown recipe 'pqo'; did you mean ppo" in refused(tmp_path, capsys, baseline="pqo")
    assert "gone.yaml" in refused(tmp_path, capsys, baseline="./gone.yaml")


def test_a_metric_that_no_evaluation_records_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(tmp_path, capsys, expect={"metric": "eval/retrun"})
    assert "expect.metric: unknown metric 'eval/retrun'; did you mean eval/return" in error
    unrecorded = {"expect": {"metric": "eval/return_sampled"}, "set": {**TINY, "evaluation.sampled": False}}
    assert "evaluation.sampled is false; set it to true" in refused(tmp_path, capsys, **unrecorded)


def test_one_length_and_exclusions_that_exclude(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "steps=32 and grid.steps both say how long" in refused(tmp_path, capsys, grid={"steps": [16, 48]})
    assert "steps=32 and set.steps both say" in refused(tmp_path, capsys, set={**TINY, "steps": 16})
    grid = {"update.clip": [0.1, 0.3]}
    error = refused(tmp_path, capsys, grid=grid, exclude=[{"update.clip": 0.2}])
    assert "exclude: update.clip=0.2 fits no cell; its values: [0.1, 0.3]" in error


def test_an_impossible_request_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "resources.gpus=8, but none is visible here" in refused(tmp_path, capsys, resources={"gpus": 8})
    assert "resources.memory=900TB, but this machine has" in refused(tmp_path, capsys, resources={"memory": "900TB"})
    assert "resources.memory='lots'" in refused(tmp_path, capsys, resources={"memory": "lots"})
    assert "--partition belongs to --launcher slurm" in refused(tmp_path, capsys, "--partition", "main")


def test_two_equal_cells_are_run_once_and_a_damaged_record_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, root = tmp_path / "s.yaml", tmp_path / "runs"
    cells = [{"name": "a", "set": {"update.clip": 0.1}}, {"name": "b", "set": {"update.clip": 0.1}}]
    file.write_text(yaml.safe_dump({**HEAD, "list": cells}))
    command = ["sweep", "run", str(file), "--runs", str(root), "--no-report", "--workers", "2"]
    assert main(["sweep", "plan", str(file), "--runs", str(root), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert any("are the same configuration; run once" in warning for warning in shown["warnings"])
    assert [cell["arm"] for cell in shown["cells"]] == ["ppo", "a"]
    spoilt = Path(shown["runs"][0]["path"])
    spoilt.mkdir(parents=True)
    (spoilt / "run.json").write_text('{"name": "edited by ha')
    assert main(command) == 2  # the one failure is bad input
    said = capsys.readouterr()
    told = " ".join((said.out + said.err).split())
    assert "run.json is damaged" in told and "1 of 2 runs done, 1 failed" in told and "exit code 2" in told
    done = Path(shown["runs"][1]["path"])
    (done / "status.json").write_text("{ edited")
    (done / "metrics.jsonl").write_text("edited by hand\n")
    assert main(["sweep", "status", str(file), "--runs", str(root)]) == 0
    assert main(["sweep", "plan", str(file), "--runs", str(root)]) == 0


def test_resume_cancel_and_extend_say_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump(HEAD))
    place = ["--runs", str(tmp_path / "runs")]
    for command, line in (
        (["resume"], "was never launched below"),
        (["cancel"], "there is nothing to cancel"),
        (["extend", "--seeds", "1"], "has the seeds 1 already"),
        (["extend", "--seeds", "one"], "--seeds: seeds='one': write them as 1,2,3 or 1-3"),
    ):
        assert main(["sweep", command[0], str(file), *command[1:], *place]) == 2
        assert line in capsys.readouterr().err
    before = file.read_text()
    assert main(["sweep", "extend", str(file), "--seeds", "2,3", "--dry-run", *place]) == 0
    assert "x 3 seeds" in capsys.readouterr().out
    assert file.read_text() == before
