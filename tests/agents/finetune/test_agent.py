"""The agent whole: gradient routing, knobs, determinism, resuming, probes."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any, get_args

import pytest
import torch
from finetune_small import QUICK, agent, choices, config, stored

from bellmark.agents.finetune.config import Finetune
from bellmark.agents.finetune.networks import Critic
from bellmark.config import branches, kind_of, knobs
from bellmark.errors import UserError


def gradients(learner: Any, term: str) -> dict[str, bool]:
    """Which parts receive gradient from one loss term."""
    losses: dict[str, torch.Tensor] = {}
    obs = torch.randn(16, 1, generator=torch.Generator().manual_seed(0))
    action = torch.randn(16, 1, generator=torch.Generator().manual_seed(1))
    signal = torch.randn(16, generator=torch.Generator().manual_seed(2)).abs()
    log_prob = learner.policy.log_prob(obs, action)
    losses["policy"] = learner.config.update.loss(log_prob, log_prob - log_prob.detach(), signal)
    losses["value"] = learner.critic.joint_loss(obs, signal)
    losses["entropy"] = -learner.policy.entropy()
    learner.optimizer.zero_grad()
    losses[term].backward()
    parts = {"mean": learner.policy.mean, "critic": learner.critic}
    got = {k: any(p.grad is not None and bool(p.grad.any()) for p in m.parameters()) for k, m in parts.items()}
    spread = learner.policy.log_std.grad
    return {**got, "log_std": spread is not None and bool(spread.any())}


@pytest.mark.parametrize("update", choices()["update"])
@pytest.mark.parametrize(
    ("term", "reaches"),
    [("policy", {"mean", "log_std"}), ("value", {"critic"}), ("entropy", {"log_std"})],
)
def test_gradient_routing(update, term, reaches):
    received = gradients(agent(*QUICK, f"update={update}"), term)
    assert {part for part, got in received.items() if got} == reaches


def test_estimates_carry_no_gradient():
    learner = agent(*QUICK)
    seen = {}
    original = learner.update

    def spy(rollout, estimate):
        seen.update(advantage=estimate.advantage, target=estimate.value_target, log_prob=rollout.log_prob_TN)
        return original(rollout, estimate)

    learner.update = spy
    learner.iterate()
    assert not any(t.requires_grad for t in seen.values())


# Knobs that change nothing that a policy learns: each with its reason.
INERT = {
    "steps": "how long, not how",
    "evaluation.every": "when a policy is judged",
    "evaluation.episodes": "how a policy is judged",
    "evaluation.seed": "how a policy is judged",
    "evaluation.sampled": "how a policy is judged",
    **{f"evaluation.stop.{key}": "when a run ends" for key in ("metric", "level", "evaluations")},
    "checkpoints.seconds": "what is kept on disk",
    "checkpoints.every": "what is kept on disk",
    "doctor.on_critical": "when a run ends",
    "advantage.worlds": "memory only; float32 batches of other sizes may differ in the last bit",
    **{
        f"task.{key}": "tested with the environment"
        for key in ("horizon", "task", "action_repeat", "observation", "action", "env", "arguments", "simulator")
    },
    **dict.fromkeys(
        (
            "start.checkpoint",
            "advantage.continuation.checkpoint",
            "critic.initial.expert",
            "critic.checkpoint",
            "critic.data.checkpoints",
            "data.checkpoints",
        ),
        "names, loaded by the caller",
    ),
}

CHANGED: dict[str, Any] = {
    "task.name": "constant", "task.reward": "dense", "seed": 9, "start.log_std": -1.0, "start.max_log_std": -1.0,
    "policy.hidden": 24, "policy.layers": 1, "critic.hidden": 24, "critic.layers": 1,
    "critic.warmup_iterations": 1, "critic.extra_epochs": 2, "critic.extra_batch_size": 7, "critic.extra_lr": 1e-2,
    "critic.initial.worlds": 5, "critic.initial.rollouts": 2, "critic.initial.epochs": 3,
    "critic.initial.batch_size": 7, "critic.initial.lr": 1e-2, "critic.initial.when": "retrain", "critic.initial.n": 3,
    "critic.initial.rounds": 3, "critic.n": 3, "critic.epochs": 3, "critic.batch_size": 7, "critic.lr": 1e-2,
    "critic.ema": 0.5, "critic.twins": 2, "critic.expectile": 0.9, "critic.weight_decay": 0.1, "critic.polyak": 0.5,
    "critic.time_limit": "terminal", "critic.select": "td_loss", "critic.patience": 1, "critic.weights": "reset",
    "critic.data.episodes": 4, "critic.starts": 5, "critic.steps": 7,
    "advantage.beyond.steps": 1, "advantage.beyond.going_on": 2, "advantage.allocation.pilot": 3,
    "advantage.allocation.reach": 0.1, "advantage.allocation.trust": 0.1,
    "data.rollouts": 2, "data.worlds": 5, "data.steps": 7,
    "collect.envs": 5, "collect.steps": 7, "gamma": 0.5, "reward_scale": 3.0, "advantage.lambda_": 0.3,
    "advantage.bootstrap": "never", "advantage.n_q": 3, "advantage.n_v": 3, "advantage.horizon": "fresh",
    "advantage.tolerance": 0.5, "advantage.share": 0.5, "update.epochs": 3, "update.minibatches": 3,
    "update.clip": 0.01, "update.target_kl": 1e-6, "update.normalise": "off", "update.value_coef": 0.1,
    "update.entropy_coef": 0.1, "update.beta": 0.3, "update.max_weight": 1.1, "update.weights": "raw",
    "update.alpha": 0.3, "update.floor": 0.0, "optimizer.lr": 1e-2, "optimizer.eps": 1e-1,
    "optimizer.max_grad_norm": 0.01,
}  # fmt: skip


def test_every_knob_is_accounted_for():
    numbers = {k.path for k in knobs(Finetune) if not k.options}
    assert numbers == set(INERT) | set(CHANGED)
    assert not set(INERT) & set(CHANGED)


def trace(*overrides: str) -> tuple[list[float], list[torch.Tensor]]:
    """What three iterations do to metrics and parameters."""
    learner = agent(*overrides)
    metrics = [learner.prepare(), *(learner.iterate() for _ in range(3))]
    numbers = [v for m in metrics for k, v in m.items() if not k.startswith("time/")]
    return numbers, [p.detach().clone() for p in (*learner.policy.parameters(), *learner.critic.parameters())]


def same(a: tuple[list[float], list[torch.Tensor]], b: tuple[list[float], list[torch.Tensor]]) -> bool:
    """Whether two traces agree bit for bit."""
    return a[0] == b[0] and len(a[1]) == len(b[1]) and all(torch.equal(x, y) for x, y in zip(a[1], b[1], strict=True))


# Knobs that show only where episodes have several steps.
EPISODIC = {"gamma", "critic.n", "critic.initial.n", "critic.time_limit", "critic.ema"}
EPISODIC |= {f"advantage.{name}" for name in ("lambda_", "bootstrap", "horizon", "tolerance")}


# What else must be set for a knob to show: held-out scores that get worse, passes that a knob is about.
NEEDED = {
    "critic.extra_batch_size": ["critic.extra_epochs=2"],
    "critic.extra_lr": ["critic.extra_epochs=2"],
    "critic.select": ["critic=iql", "critic.lr=0.3"],
    "critic.patience": ["critic=iql", "critic.lr=0.3", "critic.select=td_loss"],
}


@pytest.mark.parametrize(
    "knob", [k for k in knobs(Finetune) if k.path in CHANGED], ids=lambda k: f"{k.choice or 'root'}:{k.path}"
)
def test_no_dead_knobs(knob):
    base, changed = list(QUICK), f"{knob.path}={CHANGED[knob.path]}"
    if knob.path == "task.reward":
        base = []
    elif knob.path in EPISODIC:
        base = ["task=probe", "task.name=time-limit"]  # episodes of several steps that end by a time limit
    base += NEEDED.get(knob.path, [])
    if knob.choice.startswith("critic.data"):
        base.append("critic=iql")
    if knob.choice:
        base.append(knob.choice)
    if "task=maniskill" in base and not find_spec("mani_skill"):
        pytest.skip("mani_skill is not installed: pip install 'bellmark[maniskill]'")
    if "data=offline" in base:
        base.append("update=awr")
    if knob.choice.startswith("advantage.beyond") or knob.choice == "critic=continued":
        base = ["task.reward=dense", "advantage=branch", "critic=continued", "critic.starts=6", "critic.steps=3"]
        base.append("advantage.beyond=bootstrap" if knob.choice == "critic=continued" else knob.choice)
    elif knob.choice.startswith("advantage.allocation"):
        base = ["task.reward=dense", "advantage=branch", knob.choice, "advantage.n_q=6", "advantage.n_v=6"]
    if "critic=iql" in base:
        base += ["advantage=q_minus_v", "critic.epochs=6"]
    elif "critic=returns" in base or "advantage=q_minus_v" in base:
        base += ["critic=returns", "advantage=q_minus_v"]
    assert not same(trace(*base), trace(*base, changed))


@pytest.mark.parametrize(
    "method",
    [
        ("advantage=gae",),
        ("advantage=branch",),
        ("advantage=branch", "data=once", "update=awr"),
        ("data=replay", "critic=td"),
        ("data=once", "critic=iql", "advantage=q_minus_v", "update=awr"),
    ],
    ids=" ".join,
)
def test_same_seed_same_run_and_resuming_changes_nothing(method):
    overrides = ["task.reward=dense", *method]
    whole, first = agent(*overrides), agent(*overrides)
    expected = [whole.iterate() for _ in range(4)]
    got = [first.iterate() for _ in range(2)]
    saved = first.state_dict()
    second = agent(*overrides)
    second.load_state_dict(saved)
    got += [second.iterate() for _ in range(2)]
    for a, b in zip(expected, got, strict=True):
        assert {k: v for k, v in a.items() if "time/" not in k} == {k: v for k, v in b.items() if "time/" not in k}
    for a, b in zip(whole.policy.parameters(), second.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_stored_start_loads_policy_and_critic_and_caps_the_spread():
    donor = agent(*QUICK, "seed=5")
    assert isinstance(donor.critic, Critic)
    weights = stored(donor.policy, donor.critic)
    learner = agent(*QUICK, "start=stored", "start.max_log_std=-1.5", "critic.initial=stored", weights=weights)
    assert torch.equal(learner.policy.mean[0].weight, donor.policy.mean[0].weight)
    assert torch.equal(learner.critic.value[0].weight, donor.critic.value[0].weight)
    assert (learner.policy.log_std == -1.5).all()
    fresh = agent(*QUICK, "start=stored", weights=weights)
    assert not torch.equal(fresh.critic.value[0].weight, donor.critic.value[0].weight)
    assert torch.equal(fresh.policy.log_std, donor.policy.log_std)


def test_kl_limit_ends_the_update():
    metrics = agent(*QUICK, "update.target_kl=1e-9", "update.epochs=50").iterate()
    assert metrics["update/gradient_steps"] < 5


SOLVE = (
    "task=probe", "collect.envs=32", "collect.steps=8", "steps=256", "optimizer.lr=1e-2", "gamma=0.5", "seed=3",
    "update.epochs=8", "update.minibatches=4", "update.target_kl=10",
)  # fmt: skip


@pytest.mark.parametrize("name", ["constant", "from-obs", "discount", "terminal", "time-limit"])
def test_value_probes_are_solved(name):
    from bellmark.envs.probe import PROBES

    # lambda 0 so that values come from bootstrapping alone; the truth is the probe's own.
    learner = agent(*SOLVE, f"task.name={name}", "advantage.lambda_=0")
    for _ in range(40):
        learner.iterate()
    xs = torch.tensor(sorted({*PROBES[name].starts, *([1.0] if name == "discount" else [])}))
    expected = torch.as_tensor(PROBES[name].value(xs.numpy(), 0.5), dtype=torch.float32)
    seen = torch.as_tensor(PROBES[name].seen(xs.numpy()), dtype=torch.float32)
    torch.testing.assert_close(learner.critic(seen).detach(), expected, atol=0.08, rtol=0.0)


@pytest.mark.parametrize("name", ["policy", "policy-from-obs"])
@pytest.mark.parametrize(
    "method",
    [
        ("advantage=gae", "update=ppo"),
        ("advantage=gae", "update=awr", "update.beta=0.5"),
        ("advantage=branch", "update=ppo", "advantage.n_q=2", "advantage.n_v=2"),
        ("advantage=branch", "update=awr", "update.beta=0.5", "critic=none", "advantage.n_q=2", "advantage.n_v=2"),
    ],
    ids=lambda m: "-".join(x.split("=")[1] for x in m[:2]),
)
def test_policy_probes_are_solved(name, method):
    from bellmark.envs.probe import PROBES

    solve = [o for o in SOLVE if not o.startswith("update.target_kl")]
    continuation = ["advantage.continuation=current"] if "advantage=branch" in method else []
    learner = agent(*solve, *method, *continuation, f"task.name={name}", "update.target_kl=10")
    for _ in range(40):
        learner.iterate()
    best = PROBES[name].best
    assert best is not None
    xs = torch.tensor(PROBES[name].starts)
    with torch.no_grad():
        mean = learner.policy.mean(xs[:, None]).squeeze(-1)
    torch.testing.assert_close(mean, torch.as_tensor(best(xs.numpy()), dtype=torch.float32), atol=0.12, rtol=0.0)


def test_impossible_budgets_are_refused():
    with pytest.raises(UserError, match="less than one iteration"):
        config("steps=10")
    with pytest.raises(UserError, match=r"critic.initial=stored needs start=stored"):
        config("critic.initial=stored")


def test_the_types_name_every_choice():
    field = Finetune.model_fields["update"]
    assert [kind_of(t) for t in branches(field)] == [t.model_fields["kind"].default for t in get_args(field.annotation)]


def test_gradient_norms_of_the_parts_make_up_the_whole() -> None:
    learner = agent(*QUICK, "optimizer.max_grad_norm=0.01")  # cut: the norms are of before
    metrics = learner.iterate()
    whole = math.hypot(metrics["grad/policy"], metrics["grad/critic"])
    assert whole == pytest.approx(metrics["grad/norm"], rel=1e-3)
    assert metrics["grad/policy"] > 0 and metrics["grad/critic"] > 0


def test_start_values_are_in_the_tasks_own_rewards() -> None:
    learner, scaled = agent(*QUICK), agent(*QUICK, "reward_scale=0.5")
    obs = torch.ones(2, 1)
    scaled.critic.load_state_dict(learner.critic.state_dict())
    torch.testing.assert_close(scaled.start_values(obs), 2 * learner.start_values(obs))
