"""What is found in short excerpts in the two shapes of the users' logs, line by line; each line was checked by hand.

The numbers and names of the excerpts are those of the full documents; everything found there is gone through in
docs/log/2026-11-21-auditing-the-users-logs.md.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bellmark.audits import audit, case_of_log, read_log
from bellmark.cli import main
from bellmark.records import Index, scan

HERE = Path(__file__).parent
FINETUNE, PROTOCOL = HERE / "finetune_excerpt.md", HERE / "protocol_excerpt.md"

EXPECTED = {
    FINETUNE: [
        (5, "mislabel"),  # mc5_awr ran with mc_samples=16
        (5, "seeds"),
        (20, "episodes"),  # 134 to 241 episodes, more where it succeeds more
        (32, "unsupported"),  # 90.0% of a run that is nowhere
        (47, "seeds"),
        (76, "flip"),  # beta 0.5 by peak, 0.3 and 1.0 by final value
        (76, "noise"),  # 99.2 and 98.8 of 241 episodes: 1.96 sqrt(.99 .01 2/241) = 1.8 points
        (86, "clock"),  # 24:09
        (93, "seeds"),
        (113, "confound"),  # "fair", yet 128 and 512 environments, 200 and 50 steps
        (113, "flip"),  # 89.1 and 83.2 by peak, 77.2 and 79.7 by final value
        (113, "noise"),  # 5.9 points; 1.96 sqrt(.8615 .1385 2/241) = 6.2
        (125, "confound"),  # "direct comparison", yet 100 and 512 environments
    ],
    PROTOCOL: [
        (4, "clock"),  # dated a day before the run it names
        (4, "seeds"),
        (12, "seeds"),
        (13, "miscopy"),  # 16.4 for 16.8
        (13, "unsupported"),  # a step that Run 2 has not
        (27, "host-load"),
        (30, "resume"),  # resumed at 15k, values from 7k on
        (30, "seeds"),
        (36, "early-stop"),
        (38, "seeds"),
        (49, "seeds"),
        (62, "confound"),  # a pretrained start with 25k steps against scratch with 30k
        (69, "confound"),
        (71, "miscopy"),  # 129 is the other run's lowest value
    ],
}


@pytest.mark.parametrize("file", EXPECTED, ids=lambda p: p.stem)
def test_findings(file: Path) -> None:
    assert [(f.line, f.audit) for f in audit(case_of_log(read_log(file)))] == EXPECTED[file]


def test_everything_is_read_with_its_line() -> None:
    log = read_log(FINETUNE)
    first = next(e for e in log.entries if e.title == "MC16 AWR Re-rollout")
    assert (first.when, first.line) == ("2026-02-17 22:43", 3)
    assert [(s.key, s.value, s.line) for s in first.settings][:2] == [("mc_samples", "16", 12), ("num_envs", "100", 13)]
    assert first.commands[0].flags["exp_name"] == "mc5_awr" and first.commands[0].module == "RL.awr"
    assert first.run_dirs[0].path == "runs/mc5_awr__seed1__1771394434"
    curve = first.tables[1]
    assert curve.head == ("Iter", "Step", "SR", "Episodes") and curve.rows[3][2].text == "**98.8%**"
    assert curve.rows[3][2].line == 23
    assert [n.line for n in first.notes][-2:] == [31, 32]
    columns = next(e for e in log.entries if e.title.startswith("Fair"))
    assert {(s.column, s.value) for s in columns.settings if s.key == "num_envs"} == {
        ("MC16 offline", "128"),
        ("IQL offline", "512"),
    }


def test_rows_find_the_run_they_are_about_across_entries() -> None:
    case = case_of_log(read_log(FINETUNE))
    (table,) = [c for c in case.comparisons if c.line == 76]
    assert [arm.first.name for arm in table.arms] == ["awr_beta03", "awr_beta05", "mc5_awr"]
    assert table.keys >= {"awr_beta"}


def test_import_makes_runs_that_the_index_and_the_report_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["import", "log", str(FINETUNE), "--runs", str(tmp_path)]) == 0
    assert "0 runs imported, 5 there already" in capsys.readouterr().out
    runs = {run.name: run for run in scan(tmp_path)}
    run = runs["mc5_awr"]
    assert run.curve("eval/success").step.tolist() == [0, 5000, 10000, 15000]
    assert run.curve("eval/success").value[-1] == pytest.approx(0.988)
    assert run.curve("eval/episodes").value[0] == 134
    assert run.meta.config["mc_samples"] == 16 and run.meta.seed == 1 and run.meta.commit == "d53c0cc"
    assert run.meta.created == "2026-02-18T06:00:34+00:00"  # 1771394434 seconds
    assert "eval/success at 4: 98.8% (line 23)" in (run.path / "log.txt").read_text()
    assert len(Index(tmp_path).rows(group="finetune_excerpt")) == 5
    assert main(["report", str(tmp_path / "finetune_excerpt"), "--out", str(tmp_path / "report")]) == 0
    kept = json.loads((tmp_path / "finetune_excerpt" / "log.json").read_text())
    assert kept["entries"][1]["settings"][0] == {"key": "mc_samples", "value": "16", "line": 12, "column": ""}


def test_a_log_that_bellmark_writes_is_read_with_its_seeds(tmp_path: Path) -> None:
    rows = [
        f"| {arm}, seed {n} | 50.0% | {top}.0% | {top}.0% (step 20) |"
        for arm, top in (("a", 80), ("b", 60))
        for n in (1, 2)
    ]
    text = (
        "## [duel] - 2026-11-21 07:08\n\n### Results\n\n| Experiment | Step 10 | Step 20 | Peak |\n|---|---|---|---|\n"
    )
    file = tmp_path / "EXPERIMENTS.md"
    file.write_text(text + "| **a, mean of 2** | 50.0% | 80.0% | 80.0% |\n" + "\n".join(rows) + "\n")
    case = case_of_log(read_log(file))
    (table,) = case.comparisons
    assert {arm.label: [t.seed for t in arm.trials] for arm in table.arms} == {"a": [1, 2], "b": [1, 2]}
    assert audit(case) == []


def test_the_protocols_shape_is_read_too(tmp_path: Path) -> None:
    assert main(["import", "log", str(PROTOCOL), "--runs", str(tmp_path), "--group", "cartpole"]) == 0
    run = next(run for run in scan(tmp_path) if run.name == "large_model")
    assert run.curve("eval/length").value.tolist() == [500.0, 129.0, 453.0]
    assert run.meta.config["d_hidden"] == 256 and run.meta.config["start"] == "scratch" and run.meta.steps == 30_000


@pytest.mark.parametrize(("content", "says"), [("no heading", "holds no entry"), (None, "cannot be read")])
def test_what_is_no_log_is_said_in_one_line(
    content: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.md"
    if content is not None:
        file.write_text(content)
    assert main(["audit", str(file)]) == 2
    assert says in capsys.readouterr().err
