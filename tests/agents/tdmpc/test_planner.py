"""MPPI on a problem with a known optimum, and against plain loops for every option."""

from __future__ import annotations

import dataclasses

import pytest
import slow_planner
import torch
from linear_quadratic import LinearQuadratic

from bellmark.agents.tdmpc import planner, reanalyse
from bellmark.agents.tdmpc.model import ActionValue, Clipped, Dynamics, Model, Reward, StateValue
from bellmark.agents.tdmpc.planner import Search
from bellmark.agents.tdmpc.planning import Lazy, Planner
from bellmark.agents.tdmpc.world import World
from bellmark.nets.ensemble import Ensemble

GAMMA = 0.9
SMALL = Planner(samples=9, policy_plans=3, elites=5, iterations=2, horizon=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_finds_the_optimal_plan():
    # Sharp weights and a shrinking distribution converge to the Riccati solution -K z, for two states at once.
    problem = LinearQuadratic(GAMMA)
    z = torch.tensor([[0.5, 0.0], [-0.3, 0.4]]).double()
    search = planner.judging(
        Planner(temperature=20, iterations=25, min_std=0.0, samples=1024, members=0, horizon=4), 1, GAMMA
    )
    plan = planner.plan(problem, search, z, torch.zeros(2, 4, 1).double(), generator())
    for p in range(2):
        optimal = problem.optimal(z[p], 4)
        assert optimal.abs().max() < 1  # inside the box, else the recursion does not hold
        torch.testing.assert_close(plan.mean[p], optimal, rtol=0, atol=0.02)
        # the score is the negative cost-to-go z'Pz of the problem without end
        assert float(plan.value[p]) == pytest.approx(-float(z[p] @ problem.p @ z[p]), abs=1e-3)


def test_a_longer_horizon_with_the_true_value_finds_the_same():
    problem, z = LinearQuadratic(GAMMA), torch.tensor([[0.5, -0.1]]).double()
    settings = Planner(temperature=20, iterations=25, min_std=0.0, samples=1024, members=0)
    first = [
        planner.plan(
            problem,
            planner.judging(settings.model_copy(update={"horizon": steps}), 1, GAMMA),
            z,
            torch.zeros(1, steps, 1).double(),
            generator(),
        ).mean[0, 0]
        for steps in (1, 5)
    ]
    torch.testing.assert_close(first[0], first[1], rtol=0, atol=0.02)


def world(critic: ActionValue | StateValue, *, heads: int = 3, episodic: bool = False) -> World:
    """A small model whose every parameter is random, so that rewards, values and ends differ between heads."""
    config = Model(
        size=1,
        dynamics=Dynamics(heads=heads, prior_scale=0.1),
        reward=Reward(heads=2, prior_scale=0.1),
        critic=critic,
        policy=Clipped(),
        episodic=episodic,
    )
    net = World(3, 2, config, generator())
    g = generator(1)
    for p in net.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=g)
    return net.double()


BASE = planner.collecting(SMALL, 2, GAMMA)
# What differs from the official planner, and on which kind of critic it is tried.
CASES = {
    "official": {},
    "judging": dataclasses.asdict(planner.judging(SMALL, 2, GAMMA)),
    "beside": {"samples": 9},
    "no_policy_plans": {"policy_plans": 0},
    "policy_noise": {"policy_noise": 5.0, "elites": 99, "sharpness": 1e-6},
    "divide": {"sharpness": 5.0},
    "undiscounted": {"discount": 1.0},
    "probable_ends": {"ends": "probable"},
    "all_members": {"members": 0},
    "least_value": {"values": "min"},
    "greatest_reward": {"rewards": "max"},
    "best_head": {"dynamics": "max"},
    "worst_head": {"dynamics": "min"},
    "optimism": {"optimism": 0.3, "dynamics": "max"},
    "pessimism": {"optimism": -1.0, "dynamics": "min"},
    "first_head": {"first_head": True},
    "every_depth": {"every_depth": True, "optimism": 0.5},
    "disagreement": {"disagreement": 100.0},
    "greedy": {"best": True},
    "fixed_noise": {"noise": 0.0, "fixed_noise": 0.3},
    "both_noises": {"noise": 1.0, "fixed_noise": 0.3},
    "no_noise": {"noise": 0.0},
    "narrow": {"min_std": 0.4, "max_std": 0.5},
    "one_step": {"horizon": 1},
    "three_steps": {"horizon": 3},
}
# Values of actions take another path to the same scores: that path alone need not be tried with everything.
WITH_ACTIONS = ("official", "judging", "optimism", "every_depth", "all_members", "first_head", "three_steps")
NETS = {
    "q": lambda: world(ActionValue(heads=3)),
    "v_episodic": lambda: world(StateValue(heads=3), episodic=True),
}


@pytest.mark.parametrize(
    ("net", "case"), [*(("v_episodic", case) for case in CASES), *(("q", case) for case in WITH_ACTIONS)]
)
def test_equals_plain_loops(net, case):
    model, search = NETS[net](), dataclasses.replace(BASE, **CASES[case])
    z = model.encode(torch.randn(2, 3, generator=generator(2)).double()).detach()
    mean = 0.3 * torch.randn(2, search.horizon, 2, generator=generator(3)).double()
    ours = planner.plan(model, search, z, mean, generator(4))
    with torch.no_grad():
        slow = slow_planner.plan(model, search, z, mean, generator(4))
    for name, a, b in zip(ours._fields, ours, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")


def test_the_cases_try_every_setting():
    tried = {name for case in CASES.values() for name, value in case.items() if getattr(BASE, name) != value}
    assert {f.name for f in dataclasses.fields(Search)} - tried == {"iterations"}


@pytest.mark.parametrize(("setting", "value"), [("iterations", 1), ("elites", 2), ("elites", 99)])
def test_numbers_of_the_search(setting, value):
    model, search = NETS["q"](), dataclasses.replace(BASE, **{setting: value})
    z = model.encode(torch.randn(1, 3).double()).detach()
    ours = planner.plan(model, search, z, torch.zeros(1, 2, 2).double(), generator(4))
    with torch.no_grad():
        slow = slow_planner.plan(model, search, z, torch.zeros(1, 2, 2).double(), generator(4))
    torch.testing.assert_close(ours.mean, slow[2], rtol=1e-7, atol=1e-7)


def test_ends_hide_what_comes_after_them():
    # A world that ends at once is worth its first reward and nothing more.
    model = world(StateValue(heads=3), episodic=True)
    model.termination.layers[-1].bias.data.fill_(1e3)
    search = dataclasses.replace(BASE, rewards="mean")
    z = model.encode(torch.randn(1, 3).double()).detach()
    plan = planner.plan(model, search, z, torch.zeros(1, 2, 2).double(), generator())
    with torch.no_grad():
        torch.testing.assert_close(plan.value, model.reward(z, plan.chosen).mean(0))


def test_scores_that_are_no_numbers_count_as_zero():
    model = world(StateValue(heads=3))
    model.reward.heads.stacks[-1].bias.data.fill_(torch.nan)
    plan = planner.plan(model, BASE, torch.rand(1, 128).double(), torch.zeros(1, 2, 2).double(), generator())
    assert plan.action.isfinite().all() and float(plan.value) == 0


def test_another_critic_and_another_policy():
    model, other = world(StateValue(heads=3)), world(StateValue(heads=3))
    for p in other.parameters():
        p.data += 0.1
    z, mean = torch.rand(1, 128).double(), torch.zeros(1, 2, 2).double()
    ours = planner.plan(model, BASE, z, mean, generator(), critic=other.critic, seeds=other.policy.act)
    with torch.no_grad():
        slow = slow_planner.plan(model, BASE, z, mean, generator(), critic=other.critic, act=other.policy.act)
    torch.testing.assert_close(ours.mean, slow[2], rtol=1e-7, atol=1e-7)


def test_one_generator_one_plan():
    model, z, mean = world(ActionValue(heads=3)), torch.rand(2, 128).double(), torch.zeros(2, 2, 2).double()
    one, same, other = (planner.plan(model, BASE, z, mean, generator(seed)).action for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_warm_start_shifts_and_forgets():
    mean = torch.arange(12.0).view(2, 3, 2)
    started = planner.warm_start(mean, torch.tensor([False, True]))
    assert started[0].tolist() == [[2, 3], [4, 5], [0, 0]]
    assert started[1].abs().max() == 0


def test_official_settings():
    # 512 candidates with the policy's 24 among them; two more iterations from 20 action dimensions on.
    search = planner.collecting(Planner(), 6, 0.99)
    assert (search.samples, search.policy_plans, search.iterations, search.sharpness) == (488, 24, 6, 0.5)
    assert planner.collecting(Planner(), 20, 0.99).iterations == 8 and search.discount == 0.99
    user = Planner(policy_plans_are="beside", weighting="divide", discount="none", extra_from=15)
    search = planner.collecting(user, 15, 0.99)
    assert (search.samples, search.iterations, search.sharpness, search.discount) == (512, 8, 2.0, 1.0)


def test_purposes():
    p = Planner(optimism_train=0.3, optimism_eval=-1, disagreement=2, choose_eval="best", fixed_noise=0.1)
    collecting, judging = planner.collecting(p, 6, 0.99), planner.judging(p, 6, 0.99)
    assert (collecting.optimism, collecting.dynamics, collecting.disagreement) == (0.3, "max", 2)
    assert (judging.optimism, judging.dynamics, judging.disagreement) == (-1, "min", 0)
    assert (judging.noise, judging.fixed_noise, judging.best) == (0, 0, True)
    first = planner.judging(p.model_copy(update={"eval_heads": "first"}), 6, 0.99)
    assert first.first_head and first.optimism == 0 and first.dynamics == "mean"


def test_reanalysis_inherits_what_it_does_not_set():
    p = Planner(optimism_train=0.3, temperature=0.7)
    same = planner.reanalysing(p, Lazy(), 20, 0.99)
    assert (same.horizon, same.iterations, same.samples, same.sharpness, same.optimism) == (3, 8, 488, 0.7, 0)
    assert (same.noise, same.fixed_noise) == (0, 0)
    lazy = Lazy(horizon=2, iterations=4, samples=100, elites=10, policy_plans=0, temperature=2, optimism=0.5)
    own = planner.reanalysing(p, lazy, 20, 0.99)
    assert (own.horizon, own.iterations, own.samples, own.policy_plans, own.elites) == (2, 4, 100, 0, 10)
    assert (own.sharpness, own.optimism, own.dynamics) == (2, 0.5, "max")


def test_replanning_takes_problems_in_portions(monkeypatch):
    model = world(StateValue(heads=3))
    z, search = torch.rand(5, 128).double(), planner.reanalysing(SMALL, Lazy(), 2, GAMMA)
    monkeypatch.setitem(reanalyse.CANDIDATES, "cpu", 2 * 9)  # two problems at a time
    g = generator()
    plan = reanalyse.replan(model, search, z, g)
    assert plan.mean.shape == (5, 2, 2) and torch.equal(plan.action, plan.chosen)
    g = generator()
    act = model.policy.act_for_reanalysis
    with torch.no_grad():
        slow = [slow_planner.plan(model, search, x, x.new_zeros(len(x), 2, 2), g, act=act) for x in z.split(2)]
    torch.testing.assert_close(plan.mean, torch.cat([s[2] for s in slow]), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("net", NETS)
def test_ensembles_evaluated_together_plan_the_same(net, monkeypatch):
    # What an accelerator does instead of one member after the other, tried on the processor.
    model, search = NETS[net](), dataclasses.replace(BASE, optimism=0.3, members=2)
    z, mean = torch.rand(2, 128).double(), torch.zeros(2, 2, 2).double()
    one_by_one = planner.plan(model, search, z, mean, generator())
    monkeypatch.setattr(Ensemble, "_one_by_one", Ensemble._together)
    together = planner.plan(model, search, z, mean, generator())
    for a, b in zip(one_by_one, together, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
