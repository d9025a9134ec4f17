"""The run loop: a record of the right shape, resuming bit for bit, stopping on signals, surviving kills."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_run import TINY as TINY_PPO
from small_run import made
from tdmpc_small import TINY

from bellmark.agents.tdmpc import model
from bellmark.cli import main
from bellmark.cli.families import resolve
from bellmark.cli.train import run_folder
from bellmark.errors import UserError
from bellmark.records import Checkpoint, CheckpointStore, Run, standing
from bellmark.train import checkpoint
from bellmark.train.run import DONE, REQUEUE, Stopped, StopRequest, execute

BURST = (
    "task=probe", "task.name=policy-from-obs", "model.size=1", "slices.size=8", "slices.horizon=1", "steps=40",
    "planner.samples=16", "planner.elites=6", "planner.policy_plans=4", "planner.iterations=2", "planner.horizon=1",
    "collect.random_steps=20", "collect.pretrain=30", "collect.insert_every=1", "collect.log_every=20",
    "evaluation.every=20", "evaluation.episodes=2", "checkpoints.seconds=0",
)  # fmt: skip


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Everything recorded but times."""
    found = Run(folder).curves()
    return {
        name: list(zip(c.step.tolist(), c.value.tolist(), strict=True))
        for name, c in found.items()
        if not name.startswith(("time/", "throughput/"))
    }


def worker(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bellmark.cli", "run-cell", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def reached(folder: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a run has logged a step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (curve := Run(folder).curves(["steps/real"]).get("steps/real")) is not None and curve.step[-1] >= step:
            return
        time.sleep(0.05)
    output = process.communicate()[0].decode() if process.poll() is not None else ""
    raise AssertionError(f"step {step} was not reached: {output}")


def test_a_run_is_judged_before_its_first_and_after_its_last_update(tmp_path: Path) -> None:
    folder = made(tmp_path)
    assert execute(folder) == DONE
    run = Run(folder)
    assert run.status.state == "done"
    assert run.curve("eval/return").step.tolist() == [0, 64, 128, 192, 256, 320]
    assert run.curve("eval/episodes").value.tolist() == [8.0] * 6
    assert run.curve("steps/real").step.tolist() == list(range(0, 321, 32))
    assert (run.curve("steps/branch").value == 0).all()
    before = (folder / "metrics.jsonl").read_bytes()
    assert execute(folder) == DONE  # again: nothing to do, nothing written
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_same_seed_same_record_and_another_seed_another(tmp_path: Path) -> None:
    folders = [made(tmp_path / "a"), made(tmp_path / "b"), made(tmp_path / "c", "seed=2")]
    for folder in folders:
        execute(folder)
    first, again, other = (curves(f) for f in folders)
    assert first == again
    assert first["loss/policy"] != other["loss/policy"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_a_signal_saves_and_the_next_call_goes_on_as_if_nothing_had_happened(tmp_path: Path, number: int) -> None:
    whole, cut = made(tmp_path / "whole", "steps=3200"), made(tmp_path / "cut", "steps=3200")
    execute(whole)
    process = worker(cut)
    reached(cut, 32, process)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == REQUEUE
    assert Run(cut).status.state == "preempted"
    assert execute(cut) == DONE
    assert Run(cut).status.attempt == 2
    first, second = Run(cut).attempts()
    assert first.resumed_from is None and 32 <= (second.resumed_from or 0) < 3200
    assert first.commit == second.commit == Run(cut).meta.commit and (first.number, second.number) == (1, 2)
    assert curves(cut) == curves(whole)


def test_kill_9_loses_at_most_what_came_after_the_last_checkpoint(tmp_path: Path) -> None:
    whole, cut = made(tmp_path / "whole", "steps=3200"), made(tmp_path / "cut", "steps=3200")
    execute(whole)
    for step in (32, 320):
        process = worker(cut)
        reached(cut, step, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    assert execute(cut) == DONE
    assert curves(cut) == curves(whole)


def test_a_burst_of_updates_is_saved_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its 20th step this run owes 30 updates at once; it dies after every 9th save, before it can say a word."""

    class Killed(BaseException):
        pass

    burst = resolve("tdmpc2", BURST)
    whole, cut = (run_folder(burst, tmp_path / name) for name in ("whole", "cut"))
    monkeypatch.setitem(model.SIZES, 1, TINY)
    monkeypatch.setattr("bellmark.train.online.SLICE", 0.0)  # a look after each update
    execute(whole)
    right, saves = CheckpointStore.save, itertools.count(1)

    def save(store: CheckpointStore, *what: Any, **more: Any) -> Checkpoint:
        made = right(store, *what, **more)
        if next(saves) % 9 == 0:
            raise Killed
        return made

    monkeypatch.setattr("bellmark.train.run.MOST_SAVING", 1e9)
    monkeypatch.setattr(CheckpointStore, "save", save)
    while Run(cut).status.state != "done":
        with suppress(Killed):
            execute(cut)
    at = [(attempt.resumed_from, attempt.resumed_updates) for attempt in Run(cut).attempts()]
    assert sum(step == 20 and 0 < updates < 30 for step, updates in at) >= 3, at
    assert at[1:] == sorted(set(at[1:])) and len(standing(Run(cut).attempts())) == len(at)
    assert curves(cut) == curves(whole)


@pytest.mark.parametrize("recipe", ["tdmpc2", "ppo"])
def test_an_environment_of_ones_own_is_saved_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    """Its worlds are Python objects, of which checkpoints keep pickles."""
    monkeypatch.setitem(model.SIZES, 1, TINY)
    monkeypatch.setattr("bellmark.train.online.SLICE", 0.0)
    monkeypatch.setattr("bellmark.train.run.MOST_SAVING", 1e9)
    own = ("task=custom", "task.env=Pendulum-v1", "task.horizon=9", "checkpoints.seconds=0")
    small = [o for o in {"tdmpc2": BURST, "ppo": TINY_PPO}[recipe] if not o.startswith(("task", "checkpoints"))]
    whole, cut = (run_folder(resolve(recipe, [*own, *small]), tmp_path / name) for name in ("whole", "cut"))
    assert execute(whole) == DONE
    looks = itertools.count(1)

    def check(self: StopRequest) -> None:
        if next(looks) % 29 == 0:
            self.name = "SIGTERM"
            raise Stopped

    monkeypatch.setattr(StopRequest, "check", check)
    assert any(execute(cut) == DONE for _ in range(100))
    assert Run(cut).status.attempt > 1 and curves(cut) == curves(whole)


def test_a_burst_that_diverges_ends_the_run_before_a_checkpoint_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row would be due at step 40: saves between rows are no less careful."""
    monkeypatch.setitem(model.SIZES, 1, TINY)
    monkeypatch.setattr("bellmark.train.online.SLICE", 0.0)
    monkeypatch.setattr("bellmark.train.run.MOST_SAVING", 1e9)
    wild = ("optimizer.lr=1e30", "optimizer.clip=1e30", "collect.log_every=40", "evaluation.every=40")
    folder = run_folder(resolve("tdmpc2", [*BURST, *wild]), tmp_path)
    with pytest.raises(UserError, match=r"loss/\w+ is (nan|inf) at step 20: learning has diverged"):
        execute(folder)
    last = Run(folder).last_checkpoint()
    assert last is not None and last.step <= 20
    state = checkpoint.unpack(last.read(), last.path.name)["state"]
    assert all(torch.isfinite(total) for total in state["tally"]["sums"].values())


def test_a_start_checkpoint_of_another_model_is_refused_with_the_difference(tmp_path: Path) -> None:
    donor = made(tmp_path)
    execute(donor)
    other = made(tmp_path, "start=stored", f"start.checkpoint={donor}", "policy.hidden=24")
    with pytest.raises(UserError, match=r"another model family: policy.hidden: 16 there, 24 here"):
        execute(other)
    assert Run(other).status.state == "failed"


def test_a_run_starts_from_another_run(tmp_path: Path) -> None:
    donor = made(tmp_path)
    execute(donor)
    best = Run(donor).best_checkpoint()
    assert best is not None
    heir = made(tmp_path, "start=stored", f"start.checkpoint={donor}", "steps=32")
    execute(heir)
    judged = Run(donor).curve("eval/return")
    start = Run(heir).curve("eval/return").value[0]
    assert start == pytest.approx(judged.value[judged.step.tolist().index(best.step)], abs=1e-6)


def test_train_repeats_nothing_in_whatever_words_it_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "ppo", *TINY_PPO, "--runs", str(tmp_path)]) == 0
    capsys.readouterr()
    # another order, and a default spelled out: another name for the same run
    assert main(["train", "ppo", "seed=1", *TINY_PPO, "--runs", str(tmp_path)]) == 0
    assert "is done already" in capsys.readouterr().out
    assert len(list(tmp_path.glob("single/*"))) == 1


def test_unknown_checkpoints_are_named(tmp_path: Path) -> None:
    folder = made(tmp_path, "start=stored", "start.checkpoint=pickcube_weka")
    with pytest.raises(UserError, match=r"unknown checkpoint 'pickcube_weka'; did you mean pickcube_weak"):
        execute(folder)


def test_a_damaged_checkpoint_file_is_one_clear_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pt"
    bad.write_bytes(b"not a checkpoint")
    folder = made(tmp_path, "start=stored", f"start.checkpoint={bad}")
    with pytest.raises(UserError, match="is not a readable checkpoint"):
        execute(folder)


def test_a_good_enough_evaluation_ends_the_run_early_and_a_resumed_one_counts_on(tmp_path: Path) -> None:
    level = ("evaluation.stop=at_level", "evaluation.stop.metric=eval/episodes", "evaluation.stop.level=8")
    once, twice = made(tmp_path, *level), made(tmp_path, *level, "evaluation.stop.evaluations=2")
    for folder in (once, twice):
        assert execute(folder) == DONE
        assert execute(folder) == DONE  # and stays done
    # every evaluation has 8 episodes; the one at step 0 does not count
    assert Run(once).curve("eval/return").step.tolist() == [0, 64]
    assert Run(twice).curve("eval/return").step.tolist() == [0, 64, 128]
    assert Run(twice).status.state == "done"
    assert Run(twice).status.reason == "stopped early: eval/episodes reached 8 in 2 evaluations in a row"


def test_a_level_that_is_missed_ends_nothing(tmp_path: Path) -> None:
    folder = made(
        tmp_path, "evaluation.stop=at_level", "evaluation.stop.metric=eval/episodes", "evaluation.stop.level=9"
    )
    assert execute(folder) == DONE
    assert Run(folder).status.step == 320


def test_stopping_on_a_metric_that_no_evaluation_has_is_refused_at_once(tmp_path: Path) -> None:
    folder = made(tmp_path, "evaluation.stop=at_level", "evaluation.stop.metric=eval/retrun")
    with pytest.raises(
        UserError, match=r"evaluation.stop.metric: unknown metric 'eval/retrun'; did you mean eval/return"
    ):
        execute(folder)


@pytest.mark.parametrize("every", [4, 7, 11])
def test_a_stop_at_any_moment_evaluations_included_leaves_the_record_as_it_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    whole, parts = made(tmp_path / "whole"), made(tmp_path / "parts")
    execute(whole)
    looks = itertools.count(1)

    def check(self: StopRequest) -> None:
        if next(looks) % every == 0:
            self.name = "SIGTERM"
            raise Stopped

    monkeypatch.setattr(StopRequest, "check", check)
    # A look per step of an evaluation and per iteration: every attempt but those stopped at once gets on.
    assert any(execute(parts) == DONE for _ in range(200))
    assert curves(parts) == curves(whole)
    assert Run(parts).status.attempt > 1


def test_a_loss_that_is_no_number_ends_the_run_before_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    folder = made(tmp_path, "optimizer.lr=1e30", "optimizer.max_grad_norm=1e30")
    with pytest.raises(UserError, match=r"loss/\w+ is (nan|inf) at step \d+: learning has diverged"):
        execute(folder)
    run = Run(folder)
    assert run.status.state == "failed"
    last = run.curve("loss/policy")
    diverged = int(last.step[~np.isfinite(last.value)].min())
    kept = [int(p.stem.rpartition("_")[2]) for p in (folder / "checkpoints").glob("step_*.pt")]
    assert max(kept) < diverged
