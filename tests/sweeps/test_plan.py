from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import resolve

from bellmark.cli import families
from bellmark.errors import UserError
from bellmark.records import RunMeta, RunStatus, create_run
from bellmark.records.layout import write_status
from bellmark.stats.power import seeds_to_reach
from bellmark.sweeps.plan import plan
from bellmark.sweeps.schema import Expect, Sweep, load_sweep
from bellmark.sweeps.work import PlannedRun

Make = Callable[..., Sweep]
Arms = list[str]


def arms(sweep: Sweep, root: Path) -> Arms:
    return [cell.arm for cell in plan(sweep, resolve, root).cells]


def record(run: PlannedRun, folder: Path, state: str = "done", **status: Any) -> Path:
    """Put the run of a plan on disk in some state."""
    meta = RunMeta(
        name=run.name,
        family="toy",
        recipe=run.resolved.recipe,
        overrides=list(run.overrides),
        config=run.resolved.tree,
        fingerprint=run.fingerprint,
        model_fingerprint=run.resolved.model_fingerprint,
        task=run.task,
        seed=run.seed,
        steps=run.steps,
        sweep="elsewhere",
        arm="their name",
    )
    create_run(folder, meta)
    write_status(folder, RunStatus(state=state, **{"step": run.steps, "total": run.steps, "attempt": 1, **status}))
    return folder


# The users' plans, with the counts they give: bmpc_ablation_plan.md (dog-run, two seeds, the baseline run elsewhere).
USERS_PLANS: dict[str, tuple[Mapping[str, Any], int, int]] = {
    "2a_utd": ({"grid": {"utd": [2, 4]}}, 2, 4),
    "2b_multihead": (
        {
            "set": {"net.heads": 2, "net.lr_scaling": True},
            "grid": {"coef": [0, 0.3, 1], "local": [False, True]},
        },
        6,
        12,
    ),
    "2c_expert_source": ({"grid": {"source": ["chosen", "mean"], "local": [True, False]}}, 4, 8),
    "2d_num_rollouts": ({"grid": {"utd": [4]}}, 1, 2),
    "2e_imagine_source": ({"grid": {"source": ["replay_true"]}}, 1, 2),
    "2f_encoder_cons": ({"grid": {"coef": [0.1, 1]}}, 2, 4),
    "2g_trust_region": (
        {"set": {"local": True}, "grid": {"coef": [0.1, 1], "tau": [0.003, 0.01, 0.03]}},
        6,
        12,
    ),
    "2h_exploration": (
        {
            "set": {"net.heads": 2, "net.lr_scaling": True, "coef": 1, "local": True},
            "list": [{"set": {"source": "dual"}}],
        },
        1,
        2,
    ),
}


@pytest.mark.parametrize("name", USERS_PLANS)
def test_users_ablation_plan_counts(sweep_of: Make, tmp_path: Path, name: str) -> None:
    keys, configs, runs = USERS_PLANS[name]
    found = plan(sweep_of(name, tasks=["dog-run"], seeds=[1, 2], baseline="toy", **keys), resolve, tmp_path)
    listed = [cell for cell in found.cells if cell.listed]
    assert len(listed) == configs
    assert sum(len(found.of(cell)) for cell in listed) == runs
    noun = "config" if configs == 1 else "configs"
    assert found.count().startswith(f"{configs} {noun} x 2 seeds x 1 task = {runs} runs")


def test_users_ablation_plan_totals() -> None:
    assert sum(configs for _, configs, _ in USERS_PLANS.values()) == 23
    assert sum(runs for _, _, runs in USERS_PLANS.values()) == 46


def test_users_value_stability_plan_counts(sweep_of: Make, tmp_path: Path) -> None:
    # value_stability_plan.md: sweep 1 is 2 x 2 x 2 x 6 seeds, sweep 2 is 3 x 6; their baseline is one of the cells
    first = sweep_of(
        "one",
        grid={"utd": [1, 2], "source": ["min", "mean"], "local": [False, True]},
        baseline={"utd": 2, "source": "mean", "local": False},
        seeds=6,
    )
    assert plan(first, resolve, tmp_path).count() == "8 configs x 6 seeds x 1 task = 48 runs"
    second = sweep_of("two", grid={"gammas": [[0.9, 0.95], [0.9, 0.97], [0.8, 0.9, 0.95, 0.97]]}, seeds=6)
    assert plan(second, resolve, tmp_path).count() == "3 configs x 6 seeds x 1 task = 18 runs"


def test_default_baseline_is_the_base_with_set(sweep_of: Make, tmp_path: Path) -> None:
    found = plan(sweep_of(set={"tau": 0.01}, grid={"utd": [2, 4]}), resolve, tmp_path)
    assert [cell.arm for cell in found.cells] == ["toy", "utd=2", "utd=4"]
    assert found.baseline.arm == "toy"
    assert all(list(cell.differs) == ["utd"] for cell in found.cells if not cell.is_baseline)
    assert found.count() == "2 configs x 3 seeds x 1 task = 6 runs, and 3 runs of the baseline toy"


def test_set_is_declared_and_shown_against_a_baseline_without_it(sweep_of: Make, tmp_path: Path) -> None:
    keys = {"set": {"net.heads": 2}, "grid": {"utd": [2]}, "baseline": "toy"}
    cell = plan(sweep_of(**keys), resolve, tmp_path).cells[1]
    assert cell.differs == {"net.heads": (1, 2), "utd": (1, 2)}
    assert cell.undeclared == ()


def test_undeclared_difference_is_warned_of(sweep_of: Make, tmp_path: Path) -> None:
    found = plan(sweep_of(grid={"utd": [2]}, baseline="ensemble"), resolve, tmp_path)
    assert found.cells[1].undeclared == ("net.heads", "coef")
    assert any("net.heads (4 -> 1), coef (0.3 -> 0.0)" in text for text in found.warnings)


def test_a_recipe_as_a_cell_declares_its_whole_difference(sweep_of: Make, tmp_path: Path) -> None:
    found = plan(sweep_of(list=[{"name": "awr", "recipe": "toy_awr", "set": {"utd": 3}}]), resolve, tmp_path)
    cell = found.cells[1]
    assert (cell.arm, cell.recipe, cell.undeclared) == ("awr", "toy_awr", ())
    assert {"update", "gamma", "utd"} <= set(cell.differs)
    assert cell.place == {"recipe": "toy_awr", "utd": 3}
    assert found.of(cell)[0].name.startswith("toy_awr-utd3-s1-")


def test_cell_that_is_the_baseline_is_run_once(sweep_of: Make, tmp_path: Path) -> None:
    found = plan(sweep_of(grid={"utd": [1, 2]}), resolve, tmp_path)
    assert [cell.arm for cell in found.cells] == ["utd=1", "utd=2"]
    assert found.baseline.arm == "utd=1"
    assert any("utd=1 is the baseline" in text for text in found.warnings)
    assert len(found.runs) == 6


def test_equal_cells_are_run_once(sweep_of: Make, tmp_path: Path) -> None:
    found = plan(
        sweep_of(grid={"gamma": [0.5, 0.7]}, list=[{"name": "half", "set": {"gamma": 0.5}}]), resolve, tmp_path
    )
    assert [cell.arm for cell in found.cells] == ["toy", "gamma=0.5", "gamma=0.7"]
    assert any("gamma=0.5 and half are the same" in text for text in found.warnings)


def test_key_of_an_option_not_chosen_is_dead(sweep_of: Make, tmp_path: Path) -> None:
    sweep = sweep_of(grid={"update.beta": [0.5, 2], "update": ["ppo", "awr"], "update.weight.most": [5]})
    found = plan(sweep, resolve, tmp_path)
    assert [cell.arm for cell in found.cells] == ["update=ppo", "beta=0.5,update=awr", "beta=2,update=awr"]
    assert "update.beta has no effect in 2 cells, it belongs to update=awr; left out there" in found.warnings
    # in the awr cells the weights are the default `mean`, so the clip's knob is dead there too, for a nearer reason
    assert any("update.weight.most" in text and "update.weight=clipped" in text for text in found.warnings)
    assert "update.beta=0.5" in found.cells[1].overrides


def test_chosen_option_brings_its_knobs_to_life(sweep_of: Make, tmp_path: Path) -> None:
    keys = {"update.weight.most": 5, "update.weight": "clipped", "update": "awr"}
    found = plan(sweep_of(grid={"utd": [2]}, set=keys), resolve, tmp_path)
    assert found.runs[0].resolved.tree["update"]["weight"] == {"kind": "clipped", "most": 5.0}
    assert not [text for text in found.warnings if "no effect" in text]


def test_set_that_changes_nothing_is_warned_of(sweep_of: Make, tmp_path: Path) -> None:
    found = plan(sweep_of(set={"gamma": 0.9}, grid={"utd": [2]}), resolve, tmp_path)
    assert [text for text in found.warnings if "gamma=0.9 changes nothing" in text]


def test_set_that_changes_something_in_one_cell_is_not_warned_of(sweep_of: Make, tmp_path: Path) -> None:
    cells = [{"name": "other", "recipe": "toy_awr"}]
    own = resolve("toy_awr", ()).tree["gamma"]
    assert own != resolve("toy", ()).tree["gamma"]
    found = plan(sweep_of(set={"gamma": own}, list=cells), resolve, tmp_path)
    assert not [text for text in found.warnings if "changes nothing" in text]


def test_the_length_of_a_cell_is_its_own(sweep_of: Make, tmp_path: Path) -> None:
    found = plan(sweep_of(steps=8, list=[{"name": "long", "set": {"steps": 16}}]), resolve, tmp_path)
    assert {run.arm: run.steps for run in found.runs} == {"toy": 8, "long": 16}


def test_a_scale_for_a_task_that_the_sweep_has_not_is_warned_of(sweep_of: Make, tmp_path: Path) -> None:
    expect = {"metric": "eval/return", "scales": {"dog-rum": 10, "hop": 5}}
    found = plan(sweep_of(expect=expect, tasks=["dog-run", "hop"], grid={"utd": [2]}), resolve, tmp_path)
    assert [text for text in found.warnings if "scales" in text] == [
        "expect.scales.dog-rum names no task of this sweep; did you mean dog-run?"
    ]


def test_cells_judged_unlike_the_baseline_are_warned_of(tmp_path: Path) -> None:
    """A recipe of its own is declared as a whole, but not how it is judged; declared episodes get no verdict either."""
    head = "question: q\nexpect: {metric: eval/return}\nbase: tdmpc2\n"
    file = tmp_path / "judged.yaml"
    file.write_text(head + "list: [{recipe: svg_ensemble}, {name: few, set: {evaluation.episodes: 3}}]\n")
    warnings = plan(load_sweep(file), families.resolve, tmp_path).warnings
    assert warnings[0].startswith("cell svg_ensemble differs from the baseline tdmpc2 in keys neither swept nor under")
    assert "evaluation.every (50000 -> 10000), evaluation.episodes (10 -> 5)" in warnings[0]
    assert "no verdict on cell few, judged unlike the baseline tdmpc2: evaluation.episodes (10 -> 3)" in warnings


@pytest.mark.parametrize(
    ("seeds", "tasks", "words"),
    [([1], ["dog-run"], "anecdote"), ([1, 2], ["dog-run"], "direction"), ([1, 2], ["dog-run", "hop"], ""), (3, [], "")],
)
def test_too_few_seeds_are_warned_of(sweep_of: Make, tmp_path: Path, seeds: Any, tasks: Any, words: str) -> None:
    warnings = plan(sweep_of(grid={"utd": [2]}, seeds=seeds, tasks=tasks), resolve, tmp_path).warnings
    assert bool([text for text in warnings if "seed" in text]) == bool(words)
    assert words in " ".join(warnings)


@pytest.mark.parametrize(("arms", "tasks"), [(1, 1), (2, 1), (3, 1), (4, 1), (6, 1), (13, 1), (3, 2)])
def test_the_seeds_a_verdict_takes_are_those_of_the_verdict_rule(
    sweep_of: Make, tmp_path: Path, arms: int, tasks: int
) -> None:
    needed = seeds_to_reach(0.05 / arms, tasks)
    given = {"grid": {"utd": list(range(2, 2 + arms))}, "tasks": ["dog-run", "hop"][:tasks]}
    few = plan(sweep_of(**given, seeds=list(range(1, needed))), resolve, tmp_path).warnings
    assert [text for text in few if text.endswith(f"at least {needed} seeds")]
    enough = plan(sweep_of(**given, seeds=list(range(1, needed + 1))), resolve, tmp_path).warnings
    assert not [text for text in enough if "seeds" in text]


def test_tasks_by_name_kind_or_knobs(sweep_of: Make, tmp_path: Path) -> None:
    sweep = sweep_of(grid={"utd": [2]}, tasks=["dog-run", "hop", {"kind": "push", "goal": 2.0}], seeds=[1])
    found = plan(sweep, resolve, tmp_path)
    assert found.tasks == ("dog-run", "hop", "push")
    trees = [run.resolved.tree["task"] for run in found.runs[:3]]
    assert trees == [
        {"kind": "reach", "name": "dog-run"},
        {"kind": "reach", "name": "hop"},
        {"kind": "push", "goal": 2.0},
    ]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"grid": {"gama": [1]}}, ["cell gama=1", "did you mean gamma"]),
        ({"grid": {"gamma": ["x"]}}, ["cell gamma=x", "gamma='x'"]),
        ({"base": "toi"}, ["'toi'", "toy"]),
        ({"list": [{"recipe": "toy_arw"}]}, ["cell toy_arw", "toy_awr"]),
        ({"grid": {"utd": [1, 2]}, "baseline": {"utd": 3}}, ["{utd=3} fits no cell"]),
        ({"grid": {"utd": [1, 2], "tau": [1, 2]}, "baseline": {"utd": 1}}, ["fits 2 cells", "utd=1,tau=2"]),
        ({"grid": {"utd": [1, 2]}, "baseline": {"utt": 3}}, ["'utt'", "utd"]),
        ({"grid": {"utd": [1, 2]}, "baseline": "utd=3"}, ["'utd=3'", "utd=1"]),
        ({"grid": {"utd": [1]}, "exclude": [{"utd": 1}]}, ["exclude leaves no cell"]),
        ({"list": [{"name": "a", "set": {"utd": 1}}, {"name": "a", "set": {"utd": 2}}]}, ["two cells", "'a'"]),
    ],
)
def test_bad_input_names_the_cell(sweep_of: Make, tmp_path: Path, keys: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        plan(sweep_of(**keys), resolve, tmp_path)
    for word in words:
        assert word in str(caught.value)


def test_baseline_of_another_sweep_is_shared(sweep_of: Make, tmp_path: Path) -> None:
    test = sweep_of("1_test", set={"tau": 0.01}, steps=20, tasks=["hop"], seeds=2)
    first = plan(test, resolve, tmp_path)
    assert (first.count(), first.baseline.arm) == ("1 config x 2 seeds x 1 task = 2 runs", "toy")
    for run in first.runs:
        record(run, run.dir)
    second = plan(sweep_of("2a", base="1_test.yaml", grid={"utd": [2, 4]}, seeds=2), resolve, tmp_path)
    base = second.of(second.baseline)
    assert [run.state for run in base] == ["done", "done"]
    assert [run.dir for run in base] == [run.dir for run in first.runs]
    assert {run.state for run in second.runs if run not in base} == {"new"}
    assert all(list(cell.differs) == ["utd"] for cell in second.cells[1:])
    third = plan(sweep_of("3a", baseline="1_test.yaml", grid={"utd": [2]}, tasks=["hop"], seeds=2), resolve, tmp_path)
    assert third.cells[1].undeclared == ("steps", "tau")


def test_circle_of_sweep_files_ends(sweep_of: Make, tmp_path: Path) -> None:
    sweep_of("a", base="b.yaml")
    with pytest.raises(UserError, match="circle"):
        plan(sweep_of("b", base="a.yaml"), resolve, tmp_path)


def test_results_are_the_runs_that_exist_wherever_they_were_made(sweep_of: Make, tmp_path: Path) -> None:
    found = plan(sweep_of(grid={"utd": [2]}, seeds=[1]), resolve, tmp_path)
    record(found.runs[1], tmp_path / "other" / "x")
    again = plan(found.sweep, resolve, tmp_path)
    assert [run.path for run in again.results()] == [tmp_path / "other" / "x"]
    assert again.runs[1].sweep == "elsewhere"


def test_only_what_is_missing_is_to_run(sweep_of: Make, tmp_path: Path) -> None:
    found = plan(sweep_of(grid={"utd": [2]}, seeds=4), resolve, tmp_path)
    alive = {"pid": os.getpid(), "host": os.uname().nodename, "heartbeat": time.time()}
    states = ["done", "failed", "preempted", "stopped", "pending", "running"]
    for run, state in zip(found.runs, states, strict=False):
        record(run, tmp_path / state, state)
    another_host = {**alive, "host": "another"}
    record(found.runs[6], tmp_path / "alive", "running", **another_host)
    again = plan(found.sweep, resolve, tmp_path)
    # "running" was written by no living process
    expected = ["done", "failed", "preempted", "stopped", "pending", "lost", "running", "new"]
    assert [run.state for run in again.runs] == expected
    assert [run.state for run in again.to_run()] == ["preempted", "pending", "lost", "new"]
    assert [run.state for run in again.to_run(retry_failed=True)][:2] == ["failed", "preempted"]


def test_finished_twin_is_shared_rather_than_a_lost_one(sweep_of: Make, tmp_path: Path) -> None:
    (run,) = plan(sweep_of(seeds=[1]), resolve, tmp_path).runs
    record(run, tmp_path / "a", "preempted", step=9)
    record(run, tmp_path / "b", "done")
    record(run, tmp_path / "c", "failed", step=10)
    (again,) = plan(sweep_of(seeds=[1]), resolve, tmp_path).runs
    assert again.dir == tmp_path / "b"


def test_cost_comes_from_runs_of_the_same_configuration(sweep_of: Make, tmp_path: Path) -> None:
    found = plan(sweep_of(grid={"utd": [2]}, steps=1000), resolve, tmp_path)
    assert found.cost(1) == ""
    record(found.runs[0], tmp_path / "base", process_start=1000.0, heartbeat=1100.0)  # 10 steps/s
    record(found.runs[3], tmp_path / "utd", process_start=1000.0, heartbeat=1300.0)  # 3.33 steps/s
    again = plan(found.sweep, resolve, tmp_path)
    assert [run.seconds for run in again.runs] == pytest.approx([0, 100, 100, 0, 300, 300])
    assert again.cost(1) == "about 13 min with 1 worker"  # 800 s
    assert again.cost(2) == "about 7 min with 2 workers"  # 400 s
    assert again.cost(100) == "about 5 min with 100 workers"  # the longest run


AXES: dict[str, list[Any]] = {
    "gamma": [0.1, 0.2, 0.3],
    "utd": [2, 3, 4],
    "local": [True, False],
    "source": ["a", "b", "1e-3", "true", "a=b", " c"],
    "net.heads": [1, 2],
    "gammas": [[0.5], [0.5, 0.6], []],
}


@st.composite
def grids(draw: st.DrawFn) -> dict[str, Any]:
    """A grid, a zip on other keys, some exclusions of whole cells."""
    keys = draw(st.lists(st.sampled_from(sorted(AXES)), unique=True, min_size=1, max_size=4))
    cut = draw(st.integers(0, len(keys)))
    values = st.integers(1, 3).flatmap(st.just)
    grid = {k: AXES[k][: draw(values)] for k in keys[:cut]}
    length = draw(st.integers(1, 2))
    together = {k: AXES[k][:length] for k in keys[cut:]}
    rows = [dict(zip(together, row, strict=True)) for row in zip(*together.values(), strict=True)] or [{}]
    cells = [{**dict(zip(grid, v, strict=True)), **row} for v in product(*grid.values()) for row in rows]
    exclude = draw(st.lists(st.sampled_from(cells), max_size=len(cells) - 1, unique_by=repr))
    return {"grid": grid, "zip": together, "exclude": exclude, "cells": len(cells) - len(exclude)}


@settings(max_examples=60, deadline=None)
@given(grids(), st.integers(1, 3), st.integers(1, 2))
def test_runs_are_product_less_excluded_and_unique(axes: dict[str, Any], seeds: int, tasks: int) -> None:
    cells = axes.pop("cells")
    sweep = Sweep(
        name="h",
        question="?",
        expect=Expect(metric="m"),
        base="toy",
        seeds=seeds,
        tasks=("dog-run", "hop")[:tasks],
        baseline="toy_awr",
        **axes,
    )
    found = plan(sweep, resolve, "does-not-exist")
    listed = [cell for cell in found.cells if cell.listed]
    assert len(listed) == cells
    assert sum(len(found.of(cell)) for cell in listed) == cells * seeds * tasks
    for key in (lambda run: run.name, lambda run: run.dir, lambda run: run.fingerprint):
        assert len({key(run) for run in found.runs}) == len(found.runs)
    for run in found.runs:
        assert resolve(run.resolved.recipe, run.overrides).fingerprint == run.fingerprint
    for cell in listed:
        tree = found.of(cell)[0].resolved.tree
        assert all(_at(tree, key) == value for key, value in cell.swept.items())


def _at(tree: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree
