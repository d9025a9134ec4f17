"""`bellmark runs lengthen`: what was trained short and goes on is what trains long from the start, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import TINY as FINETUNE
from synthetic_ledger import QUESTION, Ledger
from tdmpc_small import TINY as TDMPC_SIZE

from bellmark.agents.tdmpc import model
from bellmark.cli import main
from bellmark.cli.families import resolve
from bellmark.cli.lengthen import longer
from bellmark.cli.train import run_folder
from bellmark.errors import UserError
from bellmark.records import CheckpointStore, Run
from bellmark.train.run import DONE, execute

Curves = dict[str, list[tuple[int, float]]]

JUDGED = ("evaluation.every=40", "evaluation.episodes=2")
SMALL = {  # recipe -> overrides; half of the steps, and all
    "ppo": (FINETUNE, 192, 384),
    "tdmpc2": (
        (
            "task=probe", "task.name=time-limit", "model.size=1", "slices.size=8", "planner.samples=16", *JUDGED,
            "planner.elites=6", "planner.policy_plans=4", "collect.random_steps=20", "collect.log_every=20",
            "loss.encoder=1",
        ), 80, 160,
    ),
    "dreamer_cartpole_state": (
        (
            "model.deter=16", "model.units=8", "model.latents=4", "model.classes=4", "model.bins=21", "batch=4",
            *JUDGED, "length=6", "train_ratio=4", "collect.log_every=40", "learning.imagination.horizon=3",
            "model.depth=2",
        ), 80, 160,
    ),
}  # fmt: skip


def trained(root: Path, recipe: str, steps: int, *overrides: str) -> Run:
    small = [o for o in SMALL[recipe][0] if not o.startswith("steps=")]
    folder = run_folder(resolve(recipe, [*small, *overrides, f"steps={steps}"]), root)
    assert execute(folder) == DONE
    return Run(folder)


def curves(run: Run) -> Curves:
    return {
        name: list(zip(curve.step.tolist(), curve.value.tolist(), strict=True))
        for name, curve in run.curves().items()
        if not name.startswith(("time/", "throughput/"))
    }


@pytest.mark.parametrize("recipe", SMALL)
def test_a_lengthened_run_is_the_long_run(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(model.SIZES, 1, TDMPC_SIZE)
    _, short, long = SMALL[recipe]
    whole = trained(tmp_path / "whole", recipe, long)
    half = trained(tmp_path / "parts", recipe, short)
    before = (half.path / "metrics.jsonl").read_bytes()
    grown = longer(half, str(long))
    assert (grown.status.state, grown.status.step, grown.status.total) == ("preempted", short, long)
    assert (grown.meta.fingerprint, grown.name) == (whole.meta.fingerprint, whole.name)
    assert grown.meta.continues == half.name and grown.meta.config == whole.meta.config
    assert execute(grown.path) == DONE
    assert curves(grown) == curves(whole)
    assert [attempt.resumed_from for attempt in grown.attempts()] == [None, short]
    assert (half.path / "metrics.jsonl").read_bytes() == before and half.status.state == "done"


def test_the_command_goes_on_by_the_same_words_with_more_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = trained(tmp_path, "ppo", 160)
    assert main(["runs", "lengthen", half.name, "--steps", "3.2e2", "--runs", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "at step 160 of 320, from " + half.name in said
    command = said.splitlines()[-1].removeprefix("go on with: bellmark ").split()
    assert main([*command, "--threads", str(torch.get_num_threads())]) == 0
    found = [run for run in (tmp_path / "single").iterdir() if run.name != half.name]
    assert [Run(run).status.state for run in found] == ["done"] and Run(found[0]).status.step == 320
    assert main(["runs", "lengthen", half.name, "--steps", "320", "--runs", str(tmp_path)]) == 0  # it is there already
    assert "at step 320 of 320" in capsys.readouterr().out


def test_a_sweep_goes_on_with_the_longer_runs_once_it_asks_for_as_many_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(tmp_path, {**QUESTION})
    run = ledger.write(ledger.plan().runs[0], [10, 20])
    with pytest.raises(UserError, match="has no checkpoint to go on from"):
        longer(run, "100000")
    CheckpointStore(run.path / "checkpoints", "max").save(10_000, b"state")
    assert main(["runs", "lengthen", str(run.path), "--steps", "100_000"]) == 0
    assert "the sweep goes on with them once its file says steps: 100000" in capsys.readouterr().out
    ledger.question["steps"] = 100_000
    first, *others = ledger.plan().runs
    assert (first.state, first.step, first.dir.parent) == ("preempted", 10_000, run.path.parent)
    assert Run(first.dir).meta.continues == run.name and {other.state for other in others} == {"new"}


@pytest.mark.parametrize(
    ("recipe", "overrides", "named"),
    [
        ("tdmpc2", (), []),
        ("tdmpc2", ("loss.encoder_from=0.5",), []),  # of a term that weighs nothing
        ("tdmpc2", ("loss.encoder=1", "loss.encoder_from=0.5"), ["loss.encoder_from"]),
        ("tdmpc2", ("policy.entropy=linear",), ["policy.entropy"]),
        ("tdmpc2", ("policy.entropy=linear", "policy.entropy.begins=1"), []),
        ("svg_ensemble", (), []),
        ("value_stability", (), ["policy.entropy", "optimizer.encoder_step_at, encoder_frozen_at"]),
        ("dreamer_cartpole_state", (), []),
        ("dreamer_cartpole_state", ("optimizer.course=cosine",), ["optimizer.course"]),
        ("dreamer_cartpole_state", ("learning.entropy=cosine",), ["learning.entropy"]),
        ("dreamer_cartpole_state", ("gating=gated",), []),
        ("dreamer_cartpole_state", ("gating=gated", "gating.ratio=cosine"), ["gating.ratio"]),
        ("ppo", (), []),
    ],
)
def test_what_follows_the_length_of_a_run(recipe: str, overrides: tuple[str, ...], named: list[str]) -> None:
    config = resolve(recipe, overrides).config
    assert config.follows_length() == named  # type: ignore[attr-defined]


def test_what_cannot_go_on_is_refused(tmp_path: Path) -> None:
    half = trained(tmp_path, "ppo", 160)
    with pytest.raises(UserError, match=r"steps=160 is not more than the 160 of"):
        longer(half, "160")
    with pytest.raises(UserError, match="steps"):
        longer(half, "many")
    early = trained(
        tmp_path,
        "ppo",
        160,
        "evaluation.stop=at_level",
        "evaluation.stop.metric=eval/episodes",
        "evaluation.stop.level=8",
    )
    with pytest.raises(
        UserError, match=r"stopped early: eval/episodes reached 8 .*: with more steps it would have ended"
    ):
        longer(early, "320")
    waiting = Run(run_folder(resolve("ppo", ["seed=7"]), tmp_path))
    with pytest.raises(UserError, match="is pending at step 0 of 7,680,000: only a run that is done"):
        longer(waiting, "8e6")
