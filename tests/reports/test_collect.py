"""From folders to a dossier: what a run cost, what makes a comparison unfair, what belongs together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from synthetic_ledger import CURVES, Ledger

from bellmark.errors import UserError
from bellmark.records import Curve, Provenance, Run, RunMeta, RunWriter, create_run
from bellmark.reports import collect_plan, collect_runs, judged
from bellmark.reports.code import changes_that_matter, code_of, codes_of, same_code
from bellmark.reports.shelf import Shelf, spent

DIFF = "diff --git a/{0} b/{0}\n--- a/{0}\n+++ b/{0}\n@@ -1 +1 @@\n-a\n+b\n"


def test_costs_are_counted_along_the_curve(full: Ledger) -> None:
    run = next(run for run in full.dossier().runs if run.arm == "awr")
    assert run.trace.step.tolist() == [0, 10_000, 20_000, 30_000, 40_000, 50_000]
    assert run.trace.simulator.tolist() == [410_000 * i for i in range(6)]
    # an evaluation of 0.5 s each time, and 3 s of work before every one but the first
    np.testing.assert_allclose(run.trace.wall, [0.5 + 3.5 * i for i in range(6)])
    assert (run.cost.real, run.cost.branch) == (50_000, 2_000_000)
    assert (run.cost.gathered, run.cost.evaluated) == (None, None)  # a record from before they were counted
    assert run.cost.seconds == {"evaluate": 3.0, "collect": 5.0, "update": 10.0}


def test_steps_of_stored_policies_and_of_evaluations_count(tmp_path: Path) -> None:
    curves = {
        "eval/success": Curve(np.array([0, 100]), np.array([0.5, 0.6])),
        "eval/steps": Curve(np.array([0, 100]), np.array([400.0, 300.0])),
        "steps/real": Curve(np.array([0, 100]), np.array([0.0, 100.0])),
        "steps/branch": Curve(np.array([0, 100]), np.array([0.0, 50.0])),
        "steps/gathered": Curve(np.array([0, 100]), np.array([0.0, 1000.0])),
        "weight/mean": Curve(np.array([50, 100]), np.array([1.5, 2.5])),
    }
    simulator, _ = spent(curves, curves["eval/success"].step)
    assert simulator.tolist() == [0.0, 1150.0]
    about = {"recipe": "ppo", "overrides": [], "config": {}, "fingerprint": "f", "model_fingerprint": "m"}
    meta = RunMeta(name="run", family="finetune", task="pick_cube", seed=1, steps=100, **about)
    with RunWriter(create_run(tmp_path / "run", meta)) as writer:
        for step in (0, 50, 100):
            at = {n: float(c.value[c.step == step][0]) for n, c in curves.items() if (c.step == step).any()}
            writer.log(step, at)
        writer.finish("done")
    record = Shelf().record(Run(tmp_path / "run"), "arm", "eval/success")
    assert (record.cost.gathered, record.cost.evaluated) == (1000.0, 700.0)
    assert record.learning == {"weight/mean": 2.0}
    assert "eval/steps" not in record.others


def test_a_fair_sweep_has_no_problem(full: Ledger) -> None:
    dossier = full.dossier()
    assert [run.problems for run in dossier.runs] == [()] * 6
    assert dossier.baseline is not None and dossier.arms[0] is dossier.baseline
    assert judged(dossier)[0].kind == "supported"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"commit": "f" * 40}, "undeclared code"),
        ({"diff": DIFF.format("src/bellmark/ops/returns.py")}, "undeclared code"),
        ({"diff": "# untracked sha256:0123 envs/mine.py\n"}, "undeclared code"),
        ({"versions": {"mujoco": "3.18.0"}}, "mujoco 3.18.0"),
        ({"episodes": 64}, "undeclared evaluation protocol"),
        ({"diff": DIFF.format("docs/index.md")}, ""),
        ({"diff": DIFF.format("README.md") + "# untracked sha256:0123 sweeps/mine.yaml\n"}, ""),
        ({"versions": {"mujoco": "3.17.0", "torch": "2.14.0"}}, ""),
    ],
)
def test_one_odd_run(ledger: Ledger, settings: dict[str, object], problem: str) -> None:
    for planned in ledger.plan().runs:
        odd = (planned.arm, planned.seed) == ("awr", 2)
        hits = [h // 2 for h in CURVES[planned.arm]] if odd and "episodes" in settings else CURVES[planned.arm]
        ledger.write(planned, hits, **(settings if odd else {}))  # type: ignore[arg-type]
    dossier = ledger.dossier()
    found = [line for run in dossier.runs for line in run.problems]
    if problem:
        assert len(found) == 1 and problem in found[0] and "awr_rerollout-s2" in found[0]
        assert judged(dossier)[0].kind == "invalid"
    else:
        assert found == [] and judged(dossier)[0].kind != "invalid"


def test_an_odd_run_of_the_baseline_is_the_one_named(ledger: Ledger) -> None:
    for planned in ledger.plan().runs:
        odd = (planned.arm, planned.seed) == ("gae_ppo_finetune", 1)
        ledger.write(planned, CURVES[planned.arm], commit="f" * 40 if odd else None)
    found = [line for run in ledger.dossier().runs for line in run.problems]
    assert len(found) == 1 and found[0].startswith("undeclared code: gae_ppo_finetune-s1")


def carried_on(folder: Path, commit: str | None, resumed_from: int | None) -> None:
    versions = {"mujoco": "3.17.0"}
    with RunWriter(folder, origin=Provenance(commit, False, "", "node1", versions)) as writer:
        if resumed_from is not None:
            writer.resume(resumed_from)
        writer.log(writer.resumed_step or 0, {"eval/extra": 0.5})
        writer.finish("done")


def test_a_run_that_other_code_carried_on_is_named(full: Ledger) -> None:
    odd = next(path for path in full.written if "awr_rerollout-s2" in path.name)
    carried_on(odd, "f" * 40, resumed_from=50_000)
    assert codes_of(Run(odd)) == ("d53c0cc1b2a3", "f" * 12)
    dossier = full.dossier()
    found = [line for run in dossier.runs for line in run.problems]
    assert len(found) == 1 and found[0].startswith("undeclared code: awr_rerollout-s2")
    assert found[0].endswith("ran on d53c0cc1b2a3 then ffffffffffff, the baseline on d53c0cc1b2a3")
    assert judged(dossier)[0].kind == "invalid"


def test_a_run_that_was_carried_on_elsewhere_is_told(full: Ledger) -> None:
    odd = next(path for path in full.written if "awr_rerollout-s2" in path.name)
    for number, (place, mujoco) in enumerate((("node1", "3.17.0"), ("node2", "3.18.0"))):
        versions = {"python": "3.11.2", "mujoco": mujoco, "torch": "2.13.0"}
        with RunWriter(odd, origin=Provenance(full.commit, False, "", place, versions), device="cpu") as writer:
            if number:
                writer.resume(50_000)
            writer.log(50_000, {"eval/extra": 0.5})
            writer.finish("done")
    dossier = full.dossier()
    assert "runs were made on different machines (node1, node2): compare no wall times" in dossier.cautions
    found = [line for run in dossier.runs for line in run.problems]
    assert len(found) == 1 and found[0].endswith("ran with mujoco 3.17.0 then 3.18.0, the baseline with 3.17.0")


def test_the_code_that_did_the_work_counts_and_not_that_of_the_plan(full: Ledger) -> None:
    run = full.written[0]
    carried_on(run, "f" * 40, resumed_from=None)
    assert codes_of(Run(run)) == ("f" * 12,)
    carried_on(run, None, resumed_from=None)  # on a node without git
    assert codes_of(Run(run)) == ("d53c0cc1b2a3",)


def test_runs_the_plan_does_not_know_are_named(full: Ledger) -> None:
    runs = [Run(path) for path in full.written]
    full.question["seeds"] = [1, 2]
    dossier = collect_plan(full.plan(), runs)
    strays = [line for line in dossier.cautions if "not planned" in line]
    assert len(strays) == 2 and "gae_ppo_finetune-s3" in strays[1]
    assert len(dossier.runs) == 4


def test_runs_are_grouped_by_all_but_seed(full: Ledger) -> None:
    dossier = collect_runs([Run(path) for path in full.written], name="both")
    assert [(arm.name, len(arm.runs)) for arm in dossier.arms] == [("gae_ppo_finetune", 3), ("awr", 3)]
    assert dossier.metric == "eval/success" and dossier.sweep is None


def test_a_group_is_called_by_what_not_all_groups_have(full: Ledger) -> None:
    shared = ("model.size=1", "steps=50000")
    metas = [
        ("bmpc", ("seed=1", *shared, "evaluation.every=5000")),
        ("tdmpc2", ("seed=2", *shared)),
        ("tdmpc2", ("seed=1", *shared, "optimizer.lr=1e-4")),
    ]
    runs = []
    for number, (recipe, overrides) in enumerate(metas):
        run = Run(full.written[number])
        run.meta = replace(run.meta, arm=None, recipe=recipe, overrides=list(overrides), config={"number": number})
        runs.append(run)
    names = ["bmpc evaluation.every=5000", "tdmpc2", "tdmpc2 optimizer.lr=1e-4"]
    assert [arm.name for arm in collect_runs(runs, name="three").arms] == names
    assert [arm.name for arm in collect_runs(runs[:1], name="one").arms] == [" ".join(["bmpc", *metas[0][1][1:]])]


def test_a_metric_that_no_run_has(full: Ledger) -> None:
    with pytest.raises(UserError, match="unknown metric 'eval/sucess'; did you mean eval/success"):
        collect_runs([Run(full.written[0])], name="one", metric="eval/sucess")


def test_names_of_code() -> None:
    harmless, real = DIFF.format("docs/a.md"), DIFF.format("src/a.py")
    assert changes_that_matter(harmless) == "" and changes_that_matter(harmless + real) == real
    assert code_of("a" * 40, harmless) == "a" * 12 and code_of(None, "") == "unknown"
    assert code_of("a" * 40, real).startswith("a" * 12 + "+") and len(code_of("a" * 40, real)) == 19
    assert same_code("a" * 12, "a" * 12) and not same_code("a" * 12, "b" * 12)
    assert not same_code("a" * 12, "unknown")


def test_commits_that_differ_in_docs_only_are_the_same_code(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()[:12]

    def commit(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        git("add", "-A")
        git("commit", "-qm", name)
        return git("rev-parse", "HEAD")

    git("init", "-q")
    first, words, code = commit("a.py", "1"), commit("notes.md", "x"), commit("a.py", "2")
    monkeypatch.chdir(tmp_path)
    same_code.cache_clear()
    assert same_code(first, words) and not same_code(words, code) and not same_code(first, code)
    same_code.cache_clear()


def test_reports_need_no_torch() -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import bellmark.reports, bellmark.cli.report\n"
        "heavy = {'torch', 'matplotlib', 'scipy.stats', 'jinja2'} & {k for k, v in sys.modules.items() if v}\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
