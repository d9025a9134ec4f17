"""IQL: targets by hand, who learns from which loss, what the expectile and the held-out scores choose."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from finetune_small import agent

from bellmark.agents.finetune.critics import Iql, Lesson
from bellmark.agents.finetune.iql import judge, losses, rank_correlation
from bellmark.agents.finetune.networks import ActionValues
from bellmark.agents.finetune.rollout import Rollout
from bellmark.agents.finetune.transitions import Transitions, transitions


def rollout(reward: list[float], terminated: list[bool], done: list[bool], seed: int = 0) -> Rollout:
    """One environment; observations are 0, 1, 2, ... and each leads to the next."""
    steps = len(reward)
    obs = torch.arange(steps, dtype=torch.float32).view(steps, 1, 1)
    action = torch.randn((steps, 1, 1), generator=torch.Generator().manual_seed(seed))
    column = torch.tensor
    return Rollout(
        obs, action, torch.zeros(steps, 1), column(reward)[:, None], obs + 1, column(terminated)[:, None],
        column(done)[:, None], torch.zeros(steps, 1), [], [], [], steps,
    )  # fmt: skip


def critic(twins: int = 1) -> ActionValues:
    return ActionValues((1, 1), 16, 1, twins, torch.Generator().manual_seed(0))


def lesson(data: Rollout) -> Lesson:
    return Lesson(
        gather=lambda *_: data, horizon=data.horizon, gamma=0.5, generator=torch.Generator().manual_seed(0),
        rollout=data, first=True, targets=lambda: torch.zeros(()),
    )  # fmt: skip


def test_transitions_golden():
    # gamma 1/2, n 2. Row 0: 1 + 2/2 = 2, leads to obs 2, a time limit. Row 1: 2, the same. Row 2: 4 + 8/2 = 8, leads
    # to obs 4 and the task's end. Row 3: 8. What follows counts 1/4, 1/2 where bootstrapped, nothing at the end.
    data = rollout([1.0, 2.0, 4.0, 8.0], [False, False, False, True], [False, True, False, True])
    rows = transitions(data, 0.5, 2, "bootstrap")
    assert rows.reward_B.tolist() == [2.0, 2.0, 8.0, 8.0]
    assert rows.next_obs_BO[:, 0].tolist() == [2.0, 2.0, 4.0, 4.0]
    assert rows.discount_B.tolist() == [0.25, 0.5, 0.0, 0.0]
    assert rows.return_B.tolist() == [2.0, 2.0, 8.0, 8.0]
    assert transitions(data, 0.5, 2, "terminal").discount_B.tolist() == [0.0] * 4  # the user's scripts


def test_losses_golden():
    # V = 2, Q = 3, slow Q = 1 everywhere; reward 1, discount 1/2: target 1 + 1 = 2, half of (3 - 2)^2 = 0.5.
    # V's error is slow Q - V = -1, weighed 1 - 0.7: 0.3. Two equal Q count twice.
    for twins in (1, 2):
        net = critic(twins)
        for module, value in [(net.v, 2.0), *((q, 3.0) for q in net.q), *((q, 1.0) for q in net.slow_q)]:
            for parameter in module.parameters():
                parameter.data.zero_()
            module.value[-1].bias.data.fill_(value)
        row = torch.zeros(5, 1)
        flat = torch.ones(5)
        loss_q, loss_v = losses(net, Transitions(row, row, flat, 0.5 * flat, row, flat), 0.7)
        assert loss_q.item() == pytest.approx(0.5 * twins)
        assert loss_v.item() == pytest.approx(0.3)


@pytest.mark.parametrize(("term", "reaches"), [("q", {"q"}), ("v", {"v"})])
def test_gradient_routing(term, reaches):
    net = critic(2)
    data = transitions(rollout([1.0, 0.5, 2.0], [False] * 3, [False] * 3), 0.5, 1, "bootstrap")
    dict(zip(("q", "v"), losses(net, data, 0.7), strict=True))[term].backward()
    parts = {"q": net.q, "v": net.v, "slow_q": net.slow_q}
    got = {k for k, m in parts.items() if any(p.grad is not None and bool(p.grad.any()) for p in m.parameters())}
    assert got == reaches


def test_the_policys_minibatches_leave_the_critic_alone():
    learner = agent("task=probe", "task.name=policy-from-obs", "critic=iql", "advantage=q_minus_v", "data=once")
    learner.iterate()
    before = [p.clone() for p in learner.critic.parameters()]
    learner.iterate()
    assert all(torch.equal(a, b) for a, b in zip(before, learner.critic.parameters(), strict=True))


@pytest.mark.parametrize(("expectile", "expected"), [(0.5, 0.5), (0.9, 0.9)])
def test_v_is_the_expectile_of_what_actions_earn(expectile, expected):
    # One state, actions -1 and 1 equally often, worth 0 and 1, the episode ends: the tau-expectile of {0, 1} is tau.
    data = rollout([0.0, 1.0] * 200, [True] * 400, [True] * 400)
    alternating = torch.tensor([-1.0, 1.0] * 200).view(400, 1, 1)
    data = replace(data, obs_TNO=torch.zeros(400, 1, 1), action_TNA=alternating)
    net = critic()
    option = Iql(expectile=expectile, epochs=150, batch_size=100, lr=1e-2, weight_decay=0.0, polyak=0.1)
    option.fit(net, lesson(data))
    with torch.no_grad():
        actions = torch.tensor([[-1.0], [1.0]])
        torch.testing.assert_close(
            net.action_value(torch.zeros(2, 1), actions), torch.tensor([0.0, 1.0]), atol=0.05, rtol=0
        )
        assert net.v(torch.zeros(1, 1)).item() == pytest.approx(expected, abs=0.06)


def test_the_held_out_score_decides_which_epoch_is_kept():
    data = rollout([0.0] * 60 + [1.0], [False] * 60 + [True], [False] * 60 + [True])
    kept = {}
    for select in ("last", "td_loss", "return_correlation"):
        option = Iql(select=select, epochs=12, batch_size=20, lr=0.1, patience=5)
        kept[select] = option.fit(critic(), lesson(data))
    assert kept["last"]["critic/epoch_kept"] == 12
    assert kept["td_loss"]["critic/epoch_kept"] < 12
    best = max(row["critic/return_correlation"] for row in kept.values())
    assert kept["return_correlation"]["critic/return_correlation"] == best


def test_rank_correlation():
    a = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(a, a.exp()).item() == pytest.approx(1.0)
    assert rank_correlation(a, -a).item() == pytest.approx(-1.0)
    assert rank_correlation(a, torch.ones(4)).item() == 0.0
    # Ranks 1 2.5 2.5 4 against 1 2 3 4: covariance 4.5, norms sqrt(4.5) sqrt(5): sqrt(0.9).
    assert rank_correlation(torch.tensor([1.0, 2.0, 2.0, 3.0]), a).item() == pytest.approx(0.9**0.5)


def test_judging_changes_nothing():
    net = critic()
    data = transitions(rollout([1.0, 0.5, 2.0], [False] * 3, [False] * 3), 0.5, 1, "bootstrap")
    before = [p.clone() for p in net.parameters()]
    judge(net, data, 0.7)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
