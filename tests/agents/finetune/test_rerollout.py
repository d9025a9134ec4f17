"""Re-rollouts against known values, a slow reference, and the promises of their options."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from finetune_small import agent

from bellmark.agents.finetune.branches import Common, Independent, Off
from bellmark.agents.finetune.config import PolicyNet
from bellmark.agents.finetune.networks import new_policy
from bellmark.agents.finetune.rerollout import Replicas, reroll, spread
from bellmark.envs.pick_cube import PickCube
from bellmark.envs.probe import Probe


def run(task, *, n_q=2, n_v=3, gamma=0.5, limit=5, noise=None, seed=0, worlds=64, states=6, actions=None):
    """Re-roll the start states of `task` under a fresh policy."""
    env = task.make(states)
    obs, _ = env.reset(seed=seed)
    policy = new_policy(PolicyNet(hidden=16, layers=2), env, -1.0, torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 1)
    if actions is None:
        actions = policy.sample(torch.as_tensor(obs), torch.randn((states, 1), generator=generator))
    limit_K = np.full(states, limit) if np.isscalar(limit) else np.asarray(limit)
    replicas = Replicas(n_q, n_v, policy, noise or Independent(), gamma)
    branches = reroll(task.make(worlds), env.snapshot(), actions, limit_K, replicas, generator)
    return branches, obs, policy


def test_known_value_of_the_terminal_probe():
    # Reward 1 per step, x = k/4 ends after k steps: with gamma 1/2 the value is 2 - 2^(1-k), whatever the actions.
    branches, obs, _ = run(Probe(name="terminal"))
    k = 4 * obs[:, 0]
    expected = torch.as_tensor(2 - 2 ** (1 - k), dtype=torch.float32)[:, None]
    torch.testing.assert_close(branches.q_KM, expected.expand(-1, 2))
    torch.testing.assert_close(branches.v_KM, expected.expand(-1, 3))
    assert branches.steps == int((5 * k).sum())  # every replica stops at its end and costs no more


def test_limit_cuts_with_nothing_added():
    # Never-ending reward 1, limits 1 and 3 steps: 1 and 1 + 1/2 + 1/4.
    branches, _, _ = run(Probe(name="time-limit"), states=2, limit=[1, 3])
    torch.testing.assert_close(branches.q_KM.mean(1), torch.tensor([1.0, 1.75]))
    assert branches.steps == 5 * (1 + 3)


def test_q_takes_the_given_action_and_v_the_policys():
    best = torch.full((6, 1), 0.5)
    branches, _, _ = run(Probe(name="policy"), actions=best)
    torch.testing.assert_close(branches.q_KM, torch.ones(6, 2))
    assert (branches.v_KM < 1).all()


def test_chunks_do_not_change_the_deterministic_part():
    whole, _, _ = run(Probe(name="terminal"), worlds=64)
    chunked, _, _ = run(Probe(name="terminal"), worlds=5)
    torch.testing.assert_close(whole.q_KM, chunked.q_KM)
    assert whole.steps == chunked.steps


def test_too_few_worlds_are_refused():
    with pytest.raises(ValueError, match="4 worlds cannot hold the 5 replicas"):
        run(Probe(name="terminal"), worlds=4)


def slow_reference(task, snapshot, actions, policy, n_q, n_v, gamma, limit, noise_TKMA):
    """The same estimate world by world, with plain loops and an environment of one world."""
    states, replicas = len(snapshot), n_q + n_v
    out = np.zeros((states, replicas))
    for k in range(states):
        for m in range(replicas):
            env = task.make(1)
            obs = env.restore(snapshot.take(np.array([k])))
            for t in range(limit):
                with torch.no_grad():
                    action = policy.sample(torch.as_tensor(obs), noise_TKMA[t][k, m][None])
                if t == 0 and m < n_q:
                    action = actions[k][None]
                moved = env.advance(np.array([0]), action.clamp(-1, 1).numpy())
                out[k, m] += gamma**t * moved.reward[0]
                obs = moved.obs
                if moved.terminated[0]:
                    break
    return out


def test_equals_plain_loops_on_the_simulator():
    task = PickCube(reward="dense")
    states, n_q, n_v, limit, gamma = 3, 2, 2, 4, 0.8
    env = task.make(states)
    env.reset(seed=5)
    for a in np.random.default_rng(0).uniform(-1, 1, (9, states, 8)):
        env.step(a)
    start = env.snapshot()
    policy = new_policy(PolicyNet(hidden=16, layers=2), env, -1.0, torch.Generator().manual_seed(0))
    actions = torch.randn(states, 8, generator=torch.Generator().manual_seed(1))
    replicas = Replicas(n_q, n_v, policy, Common(), gamma)
    generator = torch.Generator().manual_seed(2)
    branches = reroll(task.make(32), start, actions, np.full(states, limit), replicas, generator)
    generator = torch.Generator().manual_seed(2)
    noise = [Common().draw(states, n_q, n_v, 8, generator) for _ in range(limit)]
    expected = slow_reference(task, start, actions, policy, n_q, n_v, gamma, limit, noise)
    # Policy outputs of a batch and of a single row differ in the last float32 bit, which contact physics amplifies.
    np.testing.assert_allclose(torch.cat([branches.q_KM, branches.v_KM], 1).numpy(), expected, atol=1e-4)


def test_common_noise_pairs_replicas_and_independent_does_not():
    common = Common().draw(3, 2, 4, 5, torch.Generator().manual_seed(0))
    assert common.shape == (3, 6, 5)
    assert torch.equal(common[:, :2], common[:, 2:4])
    independent = Independent().draw(3, 2, 4, 5, torch.Generator().manual_seed(0))
    assert independent.shape == (3, 6, 5)
    assert not torch.equal(independent[:, :2], independent[:, 2:4])


def test_common_noise_lowers_the_variance_of_the_difference():
    # When the action taken is the policy's own mean and noise is small, paired replicas meet nearly the same future.
    spread_of = {}
    for noise in (Common(), Independent()):
        differences = []
        for seed in range(8):
            branches, _, _ = run(PickCube(reward="dense"), n_q=4, n_v=4, noise=noise, gamma=0.8, seed=seed, states=4)
            differences.append(branches.q_KM.mean(1) - branches.v_KM.mean(1))
        spread_of[noise.kind] = torch.cat(differences).var()
    assert spread_of["common"] < spread_of["independent"]


def test_without_noise_one_replica_is_exact():
    task = PickCube(reward="dense")
    once, _, policy = run(task, n_q=1, n_v=1, noise=Off(), gamma=0.8, states=3)
    again, _, _ = run(task, n_q=3, n_v=2, noise=Off(), gamma=0.8, states=3)
    assert torch.equal(once.q_KM.expand(-1, 3), again.q_KM)
    assert torch.equal(once.v_KM.expand(-1, 2), again.v_KM)
    # V is what the mean action earns: giving it as the first action makes Q equal to V.
    env = task.make(3)
    obs, _ = env.reset(seed=0)
    with torch.no_grad():
        mean = policy.mean(torch.as_tensor(obs))
    same, _, _ = run(task, n_q=1, n_v=1, noise=Off(), gamma=0.8, states=3, actions=mean)
    torch.testing.assert_close(same.q_KM, same.v_KM)


def test_spread_covers_evenly():
    assert spread(10, 1.0).tolist() == list(range(10))
    assert spread(100, 0.05).tolist() == [0, 25, 50, 74, 99]
    assert spread(3, 0.01).tolist() == [0]


def test_branch_uses_the_remaining_or_a_fresh_horizon():
    # Never-ending reward 1, gamma 1/2 and a cut below 0.01 (7 steps) on a five-step limit: with one step taken, four
    # remain. Value 2 - 2^(1-h) with h = 5 - elapsed for "remaining", h = 5 for "fresh".
    values = {}
    for horizon in ("remaining", "fresh"):
        learner = agent(
            "task=probe", "task.name=time-limit", "advantage=branch", "critic=none", "gamma=0.5",
            f"advantage.horizon={horizon}", "advantage.n_q=1", "advantage.n_v=1", "collect.steps=5", "steps=20",
        )  # fmt: skip
        values[horizon] = learner.iterate()["value/mean"]
    left = np.array([5, 4, 3, 2, 1])
    assert values["fresh"] == pytest.approx(2 - 2.0**-4)
    assert values["remaining"] == pytest.approx(np.mean(2 - 2.0 ** (1 - left)))
