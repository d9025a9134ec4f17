from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bellmark.cli import main
from bellmark.records import RunMeta, RunWriter, create_run

Out = pytest.CaptureFixture[str]


def _run(
    root: Path, name: str, *, sweep: str | None = None, config: dict[str, object] | None = None, **more: object
) -> Path:
    fields: dict[str, object] = {"seed": 1, "commit": "a" * 40, "versions": {"numpy": "2.4.6"}, **more}
    meta = RunMeta(
        name=name,
        family="finetune",
        recipe="ppo",
        overrides=["update=awr"],
        config=config or {"seed": 1, "update": {"kind": "ppo", "clip": 0.2}},
        fingerprint=f"{name:0<12.12}",
        model_fingerprint="b" * 12,
        task="pick_cube",
        steps=1000,
        sweep=sweep,
        arm="awr" if sweep else None,
        group=sweep or "single",
        **fields,  # type: ignore[arg-type]
    )
    return create_run(root / (sweep or "single") / name, meta)


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Three runs: one done with metrics and checkpoints, one pending in a sweep, one damaged."""
    with RunWriter(_run(tmp_path, "ppo-s1-3fa29c")) as writer:
        writer.log(0, {"eval/success": 0.25, "loss/policy": math.nan})
        writer.log(1000, {"eval/success": 0.75})
        writer.checkpoint(1000, b"state", metric=0.75)
        writer.finish("done")
    _run(tmp_path, "awr-s2-91be07", sweep="quickstart")
    (_run(tmp_path, "bad-s3-000000") / "run.json").write_text("{")
    return str(tmp_path)


def test_list(root: str, capsys: Out) -> None:
    assert main(["runs", "list", "--root", root]) == 0
    out, err = capsys.readouterr()
    lines = {line.split()[0]: line.split() for line in out.splitlines()}
    wanted = {"pick_cube", "done", "1,000/1,000", "eval/success", "0.75"}
    assert set(lines) == {"name", "ppo-s1-3fa29c", "awr-s2-91be07"} and wanted <= set(lines["ppo-s1-3fa29c"])
    assert {"quickstart", "awr", "pending", "0/1,000"} <= set(lines["awr-s2-91be07"])
    assert err.startswith("bellmark: warning: run skipped: ") and "run.json is damaged" in err


def test_list_json_and_filters(root: str, capsys: Out) -> None:
    assert main(["runs", "list", "--root", root, "--json", "--state", "done"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == "ppo-s1-3fa29c" and row["state"] == "done" and row["step"] == row["total"] == 1000
    assert row["latest"]["eval/success"] == {"step": 1000, "value": 0.75}
    assert row["latest"]["loss/policy"] == {"step": 0, "value": None}  # NaN is no JSON
    assert main(["runs", "list", "--root", root, "--json", "--sweep", "quickstart"]) == 0
    assert [r["name"] for r in json.loads(capsys.readouterr().out)] == ["awr-s2-91be07"]
    assert main(["runs", "list", "--root", root, "--state", "failed"]) == 0
    assert capsys.readouterr().out.startswith("no runs in state failed")


def test_show(root: str, capsys: Out) -> None:
    assert main(["runs", "show", "ppo", "--root", root]) == 0
    out = capsys.readouterr().out
    for text in ("ppo-s1-3fa29c", "done", "step 1,000 of 1,000, attempt 1", "ppo update=awr", "aaaaaaaaaaaa"):
        assert text in out
    for text in ("eval/success  1,000  0.75       2", "loss/policy       0   nan       1", "step_000001000.pt"):
        assert text in out


def test_show_json(root: str, capsys: Out) -> None:
    assert main(["runs", "show", str(Path(root) / "single" / "ppo-s1-3fa29c"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["meta"]["config"]["update"] == {"kind": "ppo", "clip": 0.2} and shown["status"]["state"] == "done"
    assert shown["latest"]["eval/success"] == {"step": 1000, "value": 0.75} and shown["problems"] == []
    assert [c["file"] for c in shown["checkpoints"]] == ["step_000001000.pt"]


def test_diff(tmp_path: Path, capsys: Out) -> None:
    awr = {"seed": 1, "update": {"kind": "awr", "beta": 0.5}}
    left = _run(tmp_path, "left", dirty=True)
    versions = {"numpy": "2.4.5", "scipy": "1.17"}
    right = _run(tmp_path, "right", config=awr, dirty=True, commit="c" * 40, versions=versions)
    (left / "dirty.diff").write_text("one")
    (right / "dirty.diff").write_text("two")
    assert main(["runs", "diff", "left", "right", "--root", str(tmp_path)]) == 0
    rows = {line.split("  ")[0]: line.split()[-2:] for line in capsys.readouterr().out.splitlines() if "  " in line}
    assert rows["update"] == ["ppo", "awr"]
    assert rows["update.clip"] == ["0.2", "-"] and rows["update.beta"] == ["-", "0.5"]
    assert rows["commit"] == ["a" * 40, "c" * 40] and rows["version of numpy"] == ["2.4.6", "2.4.5"]
    assert rows["version of scipy"] == ["-", "1.17"] and "uncommitted changes" in rows and "seed" not in rows
    assert main(["runs", "diff", "left", "right", "--root", str(tmp_path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["config"]["update"] == {"left": "ppo", "right": "awr"} and set(shown["origin"]) >= {"commit"}


def test_diff_of_equals(root: str, capsys: Out) -> None:
    assert main(["runs", "diff", "ppo", "ppo", "--root", root]) == 0
    assert "no difference" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "ppo-s1-3fa29d"], "unknown run 'ppo-s1-3fa29d'; did you mean ppo-s1-3fa29c"),
        (["show", "bad-s3-000000"], "run.json is damaged"),
        (["diff", "ppo", "nothing"], "unknown run 'nothing'; known: awr-s2-91be07, ppo-s1-3fa29c"),
        (["list", "--sweep", "quickstat"], "unknown sweep 'quickstat'; did you mean quickstart?"),
    ],
)
def test_bad_input_is_one_line(root: str, capsys: Out, arguments: list[str], message: str) -> None:
    assert main(["runs", *arguments, "--root", root]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


def test_a_missing_root_is_said(capsys: Out) -> None:
    assert main(["runs", "list", "--root", "no/such/folder"]) == 2
    assert "'no/such/folder' is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["list"], ["show"], ["diff"]])
def test_help_has_examples(capsys: Out, command: list[str]) -> None:
    assert main(["runs", *command, "--help"]) == 0
    assert "Examples:\n    bellmark runs" in capsys.readouterr().out


def test_damage_is_a_line_and_the_rest_goes_on(root: str, capsys: Out) -> None:
    assert main(["doctor", root]) in (0, 3)
    out, err = capsys.readouterr()
    assert "ppo-s1-3fa29c" in out
    assert err.startswith("bellmark: warning: run skipped: ") and "run.json is damaged" in err and err.count("\n") == 1
    assert main(["doctor", f"{root}/single/bad-s3-000000"]) == 2
    assert "no run that can be read in" in capsys.readouterr().err


def test_a_run_whose_checkpoints_are_damaged_says_so(root: str, capsys: Out) -> None:
    run = Path(root, "single", "ppo-s1-3fa29c")
    for file in run.glob("checkpoints/*.pt"):
        file.write_bytes(b"")
    assert main(["evaluate", str(run)]) == 2
    assert "has no checkpoint that is whole, of 1" in capsys.readouterr().err


def test_export_of_a_metric_that_is_not_there(root: str, capsys: Out) -> None:
    assert main(["runs", "export", "ppo-s1", "--root", root, "--metric", "eval/sucess"]) == 2
    assert "unknown metric 'eval/sucess'; did you mean eval/success?" in capsys.readouterr().err
