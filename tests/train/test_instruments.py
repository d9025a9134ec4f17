"""Instruments: what they measure, and that a run with them is the run without them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import made

from bellmark.agents.api import Agent, Batch, Behaviour
from bellmark.agents.dreamer import imagination
from bellmark.cli.families import resolve
from bellmark.cli.train import run_folder
from bellmark.envs.api import Transition
from bellmark.records import Run
from bellmark.train.families import instruments_of, make_agent, read_config
from bellmark.train.instruments import Tape, Watcher, divergence
from bellmark.train.run import execute

SMALL = {
    "dreamer": (
        "dreamer_cartpole_state",
        [
            *("model.deter=16", "model.units=8", "model.classes=3", "model.latents=4", "batch=2", "length=4"),
            *("steps=80", "train_ratio=8", "collect.envs=2", "collect.log_every=40", "evaluation.every=40"),
            *("evaluation.episodes=4", "learning.imagination.horizon=3", "evaluation.sampled=false"),
        ],
    ),
    "tdmpc": (
        "tdmpc2",
        [
            *("task=dmc", "task.task=cartpole-balance", "task.action_repeat=100", "model.size=1", "slices.size=4"),
            *("planner.samples=8", "planner.elites=2", "planner.policy_plans=2", "planner.iterations=1", "steps=40"),
            *("collect.random_steps=20", "collect.pretrain=2", "collect.log_every=20", "evaluation.every=20"),
            *("evaluation.episodes=4", "collect.insert_every=1"),
        ],
    ),
}


def tape(steps: int, worlds: int = 4) -> Tape:
    """World w sees w + t, ends after steps - w steps."""
    kept = Tape()
    for t in range(steps):
        alive = np.array([w for w in range(worlds) if t < steps - w])
        obs = torch.tensor(alive + t, dtype=torch.float32)[:, None]
        ended = np.array([t + 1 == steps - w for w in alive])
        kept(alive, obs, obs * 0 + t, Transition(obs.numpy() + 1, np.full(len(alive), t + 1.0), ended, ended))
    return kept


def test_a_tape_keeps_rows_as_learners_see_them() -> None:
    rows = tape(8).batch()
    assert rows is not None
    # Lengths 8, 7, 6, 5: the middle one is 7, which worlds 0 and 1 have.
    assert rows.obs.shape == (8, 2, 1)
    assert rows.obs[:, 1, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert rows.action[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]  # none at the last row
    assert rows.reward[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]  # beside what it led to
    assert rows.terminated[-1].tolist() == [False, True]
    assert rows.first[:, 0].tolist() == [True] + [False] * 7


def test_episodes_of_a_few_steps_give_none() -> None:
    assert tape(3).batch() is None


def test_divergence_of_choices_and_of_numbers() -> None:
    none = torch.zeros(1, 0)
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    # 0.5 ln 2 + 0.5 ln(2 / 3)
    choices = divergence(Behaviour(p, none), Behaviour(q, none))
    assert float(choices) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-6)
    one = torch.ones(1, 1)
    # equal deviations s: (difference of means)^2 / (2 s^2) = 4 / 8
    moved = divergence(Behaviour(one * 0, 2 * one), Behaviour(2 * one, 2 * one))
    assert float(moved) == pytest.approx(0.5)


@pytest.mark.parametrize("family", SMALL)
def test_measuring_takes_no_random_number_and_leaves_parameters_alone(family: str, tmp_path: Path) -> None:
    recipe, overrides = SMALL[family]
    chosen = resolve(recipe, overrides)
    agent = make_agent(read_config(chosen.family, chosen.tree), tmp_path, 1, "cpu")
    rows = tape(8).batch()
    assert rows is not None
    spec = agent.learner.spec  # type: ignore[attr-defined]
    shape = (*rows.first.shape, spec.obs_shape[0])
    rows = rows._replace(obs=torch.randn(shape), action=torch.zeros(*rows.first.shape, spec.actions))
    former = torch.random.get_rng_state(), agent.learner.generator.get_state()  # type: ignore[attr-defined]
    instruments = instruments_of(agent, chosen.family)
    measured = instruments.measure(rows)
    assert all(bool(value.isfinite()) for value in measured.values())
    assert {"model/action_gap", "model/open_loop_error", "model/open_loop_reward"} <= measured.keys()
    again = instruments.measure(rows)
    assert all(torch.equal(measured[name], again[name]) for name in measured)
    assert torch.equal(former[0], torch.random.get_rng_state())
    assert torch.equal(former[1], agent.learner.generator.get_state())  # type: ignore[attr-defined]
    parameters = agent.learner.nets.parameters()  # type: ignore[attr-defined]
    assert all(p.grad is None or not p.grad.any() for p in parameters)


def test_a_predicted_end_is_held_against_the_row_it_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, overrides = SMALL["tdmpc"]
    chosen = resolve(recipe, [*overrides, "model.episodic=true"])
    agent = make_agent(read_config(chosen.family, chosen.tree), tmp_path, 1, "cpu")
    rows = tape(8).batch()
    assert rows is not None
    learner = agent.learner  # type: ignore[attr-defined]
    shape = rows.first.shape
    ended = sum(torch.meshgrid(*map(torch.arange, shape), indexing="ij")) % 2 == 0  # a row early it is the opposite
    rows = rows._replace(
        obs=torch.randn(*shape, learner.spec.obs_shape[0]), action=torch.zeros(*shape, learner.spec.actions),
        terminated=ended,
    )  # fmt: skip
    # The t-th prediction looks at the latent after t + 1 steps: one that knows the rows' ends is never wrong.
    foretold = iter(ended[1:].float())
    monkeypatch.setattr(learner.nets.world.termination, "logit", lambda latent: next(foretold))
    assert float(instruments_of(agent, "tdmpc").measure(rows)["model/open_loop_ends"]) == 1


def dreamer_rows(tmp_path: Path) -> tuple[Agent, Batch]:
    """A learner after a few updates, and rows that end here and there."""
    chosen = resolve(*SMALL["dreamer"])
    agent = make_agent(read_config(chosen.family, chosen.tree), tmp_path, 1, "cpu")
    while agent.step < agent.total:
        agent.iterate()
    rows = tape(8).batch()
    assert rows is not None
    action = torch.nn.functional.one_hot(torch.arange(rows.first.numel()) % 2, 2).float().view(*rows.first.shape, 2)
    ended = torch.zeros_like(rows.first)
    ended[3:, 0] = True
    return agent, rows._replace(obs=torch.randn(*rows.first.shape, 4), action=action, terminated=ended)


def test_a_healthy_learner_agrees_with_a_second_computation(tmp_path: Path) -> None:
    agent, rows = dreamer_rows(tmp_path)
    measured = instruments_of(agent, "dreamer").measure(rows)
    assert float(measured["value/target_error"]) < 1e-5
    assert float(measured["value/target_gradient"]) == 0
    assert float(measured["model/kl_mismatch"]) < 1e-5
    assert 0 <= float(measured["model/open_loop_ends"]) <= 1


def test_targets_of_another_recursion_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, rows = dreamer_rows(tmp_path)
    right = imagination.lambda_return
    shifted = lambda r, d, t, v: right(r, d, t, torch.cat((v[:1], v[:-1])))  # noqa: E731
    monkeypatch.setattr(imagination, "lambda_return", shifted)
    assert float(instruments_of(agent, "dreamer").measure(rows)["value/target_error"]) > 1e-3


def test_the_component_that_is_redrawn_worst_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, rows = dreamer_rows(tmp_path)
    learner = agent.learner  # type: ignore[attr-defined]
    # Rows alternate between +2 and -2, on the loss's scale between +s and -s with s = symlog(2): variance s^2.
    sign = torch.where(torch.arange(rows.first.numel()) % 2 == 0, 1.0, -1.0).view(*rows.first.shape, 1)
    s = math.log(3)
    # The first component is redrawn at half its height: error (s / 2)^2, share 3/4. The second as its mean: 0.
    # The third with the wrong sign: error (2 s)^2, share -3. The fourth hardly varies: no matter that it is far off.
    seen = torch.cat((2 * sign, 2 * sign, 2 * sign, 5e-4 * sign), -1)
    redrawn = torch.cat((s / 2 * sign, 0 * sign, -s * sign, 9 + 0 * sign), -1).flatten(0, 1)
    in_units = redrawn.sign() * redrawn.abs().expm1()
    monkeypatch.setattr(learner.nets.decoder, "forward", lambda columns: in_units[: columns.shape[1]])
    measured = instruments_of(agent, "dreamer").measure(rows._replace(obs=seen))
    assert float(measured["model/explained_least"]) == pytest.approx(-3, abs=1e-5)
    assert int(measured["model/explained_least_index"]) == 2


def test_heads_of_dynamics_that_agree_have_no_diversity(tmp_path: Path) -> None:
    recipe, overrides = SMALL["tdmpc"]
    chosen = resolve(recipe, overrides)
    two = resolve("svg_ensemble", [*overrides, "target.rollouts=1", "model.dynamics.heads=2", "model.critic.heads=2"])
    rows = tape(8).batch()
    assert rows is not None
    found = []
    for one in (chosen, two):
        agent = make_agent(read_config(one.family, one.tree), tmp_path, 1, "cpu")
        size = agent.learner.spec.obs_shape[0]  # type: ignore[attr-defined]
        seen = rows._replace(obs=torch.randn(*rows.first.shape, size), action=torch.zeros(*rows.first.shape, 1))
        found.append(float(instruments_of(agent, one.family).measure(seen)["model/diversity"]))
    assert found[0] == 0 and found[1] > 0


def test_a_model_that_forgets_has_no_memory_gradient(tmp_path: Path) -> None:
    recipe, overrides = SMALL["dreamer"]
    chosen = resolve(recipe, overrides)
    agent = make_agent(read_config(chosen.family, chosen.tree), tmp_path, 1, "cpu")
    rows = tape(8).batch()
    assert rows is not None
    rows = rows._replace(obs=torch.randn(*rows.first.shape, 4), action=torch.zeros(*rows.first.shape, 2))
    assert float(instruments_of(agent, "dreamer").measure(rows)["model/memory_gradient"]) > 0


def test_a_policy_that_has_not_moved_has_no_churn(tmp_path: Path) -> None:
    folder = made(tmp_path)
    execute(folder)
    agent = make_agent(read_config("finetune", Run(folder).meta.config), folder, 1, "cpu")
    watcher = Watcher(agent, "finetune")
    kept = tape(8)
    rows = kept.batch()
    assert rows is not None
    assert "policy/churn" not in watcher.measure(kept)  # nothing to compare with
    measured = watcher.measure(kept)
    assert measured["policy/churn"] == pytest.approx(0.0, abs=1e-6)
    assert measured["param_norm/policy"] > 0 and measured["param_norm/critic"] > 0
    assert "update_ratio/policy" not in measured  # it has made no step
    other = Watcher(agent, "finetune")
    other.load_state_dict(watcher.state_dict())
    agent.policy.log_std.data += 1.0  # type: ignore[attr-defined]
    # ln(b / a) + a^2 / (2 b^2) - 1/2 with b = e a: 1 + e^-2 / 2 - 1 / 2
    assert other.measure(kept)["policy/churn"] == pytest.approx(0.5 + math.exp(-2) / 2, rel=1e-3)


@pytest.mark.parametrize("family", SMALL)
def test_a_run_records_them(family: str, tmp_path: Path) -> None:
    recipe, overrides = SMALL[family]
    folder = run_folder(resolve(recipe, overrides), tmp_path)
    execute(folder)
    curves = Run(folder).curves()
    assert len(curves["model/action_gap"].value) == 3
    assert len(curves["policy/churn"].value) == 2
    assert {"model/open_loop_error", "time/instruments", "clip_share/model", "clip_share/policy"} <= curves.keys()
    assert len(curves["param_norm/policy"].value) == 3
    assert len(curves["update_ratio/policy"].value) in (1, 2)  # from the first update on
