"""Every formula against numbers worked out by hand, or against plain loops.

Critics and reward heads are made to answer constants: with zero last weights a head's logits are its last bias, and a
bias of 1000 at bin k reads as symexp(-10 + 0.2 k). Bins 52, 53, 55 stand for symexp(0.4, 0.6, 1.0) = 0.491825,
0.822119, 1.718282.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tdmpc_small import agent, batch, practice
from torch import Tensor
from traced import shaken

from bellmark.agents.tdmpc.heads import Heads, TargetHeads, combine
from bellmark.agents.tdmpc.losses import model_losses, roll_out, step_weights, value_loss
from bellmark.agents.tdmpc.policies import Practice, climb, imitate, trust_loss
from bellmark.agents.tdmpc.schedules import Cadence, Constant, Exponential, Heuristic, Linear, Optimizer
from bellmark.agents.tdmpc.slices import SLICES
from bellmark.agents.tdmpc.world import Scalars
from bellmark.ops.two_hot import SymlogBins

pytestmark = pytest.mark.usefixtures("tiny")
NUMBER = {52: 0.491825, 53: 0.822119, 55: 1.718282}
CPU = torch.device("cpu")


def always(heads: Scalars, *bins: int) -> None:
    """Let member e always answer the number of bin `bins[e]`."""
    last = heads.heads.stacks[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
        for member, place in enumerate(bins):
            last.bias[member, place] = 1000.0


def target(made: Any) -> Tensor:
    """(N, P, B) or (M, N, P, B)."""
    data = SLICES["single"](roll_out(made.nets.world, batch(made), later_gradient=False), batch(made))
    return made.config.target.of(made.nets, data, made.gamma, made.generator).value_NPB


def test_what_each_step_weighs():
    powers = torch.tensor([1, 0.5, 0.25])  # 0.5^t; their sum is 1.75
    for over_time, divisor in (("mean", 3), ("unit", 1.75), ("unit_mean", 5.25)):
        assert torch.allclose(step_weights(0.5, over_time, CPU, 3), powers / divisor)


def test_combining_opinions():
    reward_RHX = torch.tensor([[[1.0], [2.0]], [[3.0], [2.0]]])  # head 0: mean 2, std sqrt 2; head 1: mean 2, std 0
    value_MHX = torch.tensor(
        [[[10.0], [0.0]], [[14.0], [4.0]]]
    )  # head 0: mean 12, std sqrt 8; head 1: mean 2, std sqrt 8
    mean = combine(Heads(), reward_RHX, value_MHX)
    assert mean.item() == pytest.approx((2 + 12 + 2 + 2) / 2)
    # coef 1: head 0: 14 + sqrt 2 + sqrt 8 = 18.242641, head 1: 4 + sqrt 8 = 6.828427; optimism takes the best
    assert combine(Heads(coef=1), reward_RHX, value_MHX).item() == pytest.approx(18.242641)
    # coef -1: head 0: 14 - 4.242641, head 1: 4 - 2.828427 = 1.171573; pessimism takes the worst
    assert combine(Heads(coef=-1), reward_RHX, value_MHX).item() == pytest.approx(1.171573)
    # rewards min (1, 2), values min (10, 0), dynamics max: max(11, 2)
    picked = Heads(rewards="min", values="min", dynamics="max")
    assert combine(picked, reward_RHX, value_MHX).item() == pytest.approx(11)
    # local: member m: mean over heads of 2 + v: m=0: (12 + 2) / 2, m=1: (16 + 6) / 2
    assert combine(TargetHeads(values="local"), reward_RHX, value_MHX).flatten().tolist() == pytest.approx([7, 11])
    # local with coef 1 adds the rewards' spread alone, then the best head: 12 + sqrt 2, 16 + sqrt 2
    local = combine(TargetHeads(values="local", coef=1), reward_RHX, value_MHX)
    assert local.flatten().tolist() == pytest.approx([13.414214, 17.414214])


def test_target_from_replay():
    made = agent("target.members=0", "discount=fixed", "discount.gamma=0.9")
    always(made.nets.slow_critic, 52, 53, 55)
    seen = batch(made)
    expected = seen.reward[1:] + 0.9 * (1 - seen.terminated[1:].float()) * NUMBER[52]  # min over all members
    assert torch.allclose(target(made)[0], expected, atol=1e-5)


def test_target_from_two_members_of_three():
    made = agent("discount=fixed", "discount.gamma=0.9")
    always(made.nets.slow_critic, 52, 53, 55)
    made.generator.manual_seed(0)
    tops = {round(((target(made)[0] - batch(made).reward[1:]).max() / 0.9).item(), 4) for _ in range(20)}
    assert tops == {round(NUMBER[52], 4), round(NUMBER[53], 4)}  # {0, 1} and {0, 2} give 52, {1, 2} gives 53


STATE = ("model.critic=state", "target=imagined", "discount=fixed", "discount.gamma=0.9")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        # mean reward (0.491825 + 1.718282) / 2 = 1.105054, mean value 1.010742 (three members)
        ((), 1.105054 + 0.9 * 1.010742),
        (("target.horizon=2",), 1.105054 * 1.9 + 0.81 * 1.010742),
        # std of two rewards: 1.226457 / sqrt 2 = 0.867236; std of three values: 0.634613
        (("target.heads.coef=0.5",), 1.105054 + 0.9 * 1.010742 + 0.5 * (0.867236 + 0.9 * 0.634613)),
        (("target.heads.values=min", "target.heads.rewards=min"), 0.491825 * 1.9),
    ],
)
def test_imagined_target(overrides, expected):
    made = agent(*STATE, "model.reward.heads=2", "model.dynamics.heads=2", *overrides)
    always(made.nets.world.reward, 52, 55)
    always(made.nets.slow_critic, 52, 53, 55)
    assert torch.allclose(target(made), torch.tensor(expected), atol=2e-5)


def test_local_bootstrap_gives_every_member_its_own_target():
    made = agent(*STATE, "target.heads.values=local", "target.rollouts=2")
    always(made.nets.world.reward, 53)
    always(made.nets.slow_critic, 52, 53, 55)
    found = target(made)
    assert found.shape == (3, 2, 3, 8)  # M, N, P, B
    for member, place in enumerate((52, 53, 55)):
        assert torch.allclose(found[member], torch.tensor(NUMBER[53] + 0.9 * NUMBER[place]), atol=2e-5)


def test_an_imagined_end_cuts_the_value():
    made = agent(*STATE, "model.episodic=true")
    always(made.nets.world.reward, 53)
    always(made.nets.slow_critic, 55, 55, 55)
    with torch.no_grad():
        made.nets.world.termination.layers[-1].bias.fill_(1000.0)  # every state is an end
    assert torch.allclose(target(made), torch.tensor(NUMBER[53]), atol=2e-5)


def test_model_losses_against_loops():
    made = shaken(agent("model.dynamics.heads=2", "model.reward.heads=2", "model.episodic=true"))
    world, seen, weight = made.nets.world, batch(made), torch.tensor([1, 0.5, 0.25]) / 3
    found = model_losses(world, roll_out(world, seen, later_gradient=True), seen, weight)
    consistency = encoder = reward = end = 0.0
    bins = torch.linspace(-10, 10, 101)
    for h in range(2):
        for b in range(8):
            z = world.encode(seen.obs[0, b])
            for t in range(3):
                for r in range(2):
                    log_p = world.reward.logits(z, seen.action[t, b])[r].log_softmax(-1)
                    x = math.copysign(math.log1p(abs(seen.reward[t + 1, b])), seen.reward[t + 1, b])
                    k = int((x + 10) // 0.2)
                    share = (x - bins[k].item()) / 0.2
                    reward -= weight[t] * ((1 - share) * log_p[k] + share * log_p[k + 1]) / 32
                z = world.next(z, seen.action[t, b])[h]
                gap = (z - world.encode(seen.obs[t + 1, b])).square().mean()
                consistency += weight[t] * gap / 16
                encoder += weight[t] * gap / 16
                p = world.termination.logit(z).sigmoid()
                end -= (p if seen.terminated[t + 1, b] else 1 - p).log() / 48
    loops = {"consistency": consistency, "encoder": encoder, "reward": reward, "termination": end}
    for name, value in loops.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-4), name


def test_value_loss_against_loops_and_its_floor():
    bins, weight = SymlogBins(), torch.tensor([0.7, 0.3])
    logits_MPBK = torch.randn(2, 2, 3, 101, generator=torch.Generator().manual_seed(0))
    target_NPB = torch.tensor([[[0.0, 1, -1], [5, 0, 0]], [[0.0, 2, 3], [-5, 1, 1]]])
    log_p = logits_MPBK.log_softmax(-1)
    expected = 0.0
    for m in range(2):
        for n in range(2):
            for p in range(2):
                for b in range(3):
                    place = bins.place(target_NPB[n, p, b])
                    k, share = int(place.below), place.upper
                    one = -(1 - share) * log_p[m, p, b, k] - share * log_p[m, p, b, k + 1]
                    expected += weight[p] * one / (2 * 2 * 3)
    assert value_loss(bins, logits_MPBK, target_NPB, weight).item() == pytest.approx(expected.item(), rel=1e-5)
    # uniform logits: log 101 whatever the target
    flat = value_loss(bins, torch.zeros(2, 2, 3, 101), target_NPB, weight)
    assert flat.item() == pytest.approx(math.log(101), rel=1e-6)


def test_climbing_the_model_value():
    made = agent(*STATE, "policy.jacobian=0")
    always(made.nets.world.reward, 53)
    always(made.nets.world.critic, 52, 53, 55)
    on = practice(made)
    found = climb(on, made.nets.world.policy, Heads(), samples=1, positions="all", move=True)
    q = NUMBER[53] + 0.9 * 1.010742  # the same everywhere: range 0, so the scale stays lerp(1, max(0, 1), 0.01) = 1
    assert made.scales["value"].item() == pytest.approx(1.0)
    states = -q - 0.1 * found.draw.entropy
    assert torch.allclose(found.states, states, atol=1e-5)
    weight = torch.tensor([1, 0.5, 0.25, 0.125]) / 4  # T + 1 states
    assert found.loss.item() == pytest.approx((weight * states[0].mean(1)).sum().item(), rel=1e-5)


def test_a_clipped_policy_has_no_jacobian():
    # log N(0; s = 1) = -ln(2 pi) / 2 for each of two actions; clipping has no density to correct (BMPC, section 2)
    made = agent("model.policy=clipped", "policy.jacobian=1")
    on = practice(made)
    drawn = on.draw(made.nets.world.policy, on.data.z_TBL, 1)
    noise = (drawn.action - drawn.gaussian.mean) / drawn.gaussian.log_std.exp()
    inside = (drawn.action.abs() < 1).all(-1)
    log_prob = -(noise.square() / 2 + drawn.gaussian.log_std + math.log(2 * math.pi) / 2).sum(-1)
    assert inside.any()
    torch.testing.assert_close(drawn.entropy[inside], -2 * log_prob[inside], rtol=1e-4, atol=1e-4)


def test_entropy_bonus_is_that_of_the_official_code():
    made = agent()
    drawn = practice(made).draw(made.nets.world.policy, torch.zeros(1, 16), 1)
    noise = (drawn.action.atanh() - drawn.gaussian.mean) / drawn.gaussian.log_std.exp()
    log_density = (-0.5 * noise.square() - drawn.gaussian.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)
    assert torch.allclose(drawn.entropy, -2 * log_density, atol=1e-3)  # times the two actions, no Jacobian


def test_imitating_a_plan():
    imitation = (
        "policy.improvement=distillation",
        "policy.improvement.std_scale=0.5",
        "policy.improvement.min_std=0.8",
    )
    made = agent("model.policy=clipped", *imitation)
    last = made.nets.world.policy.network.stacks[-1]
    with torch.no_grad():
        last.weight.zero_()  # mean tanh(0) = 0, log std at the middle of [-3, 1]: -1
    on = practice(made)
    expert = torch.cat((torch.full((3, 8, 2), 0.5), torch.full((3, 8, 2), 2.0)), -1)
    on = Practice(**{**vars(on), "data": on.data._replace(expert_TBA=expert), "entropy": 0.0})
    s, e = math.exp(-1), 1.0  # the plan's 2.0 halved, above the floor
    kl = math.log(e / s) + (s * s + 0.25) / (2 * e * e) - 0.5
    found = imitate(on, made.nets.world.policy, made.config.policy.improvement)
    assert torch.allclose(found.states, torch.tensor(kl), atol=1e-5)
    wide = made.config.policy.improvement.model_copy(update={"std_scale": 5.0})  # 10, cut at the planner's 2
    kl_wide = math.log(2 / s) + (s * s + 0.25) / (2 * 4) - 0.5
    assert torch.allclose(imitate(on, made.nets.world.policy, wide).states, torch.tensor(kl_wide), atol=1e-5)
    other = made.config.policy.improvement.model_copy(update={"order": "expert_policy"})
    reverse = math.log(s / e) + (e * e + 0.25) / (2 * s * s) - 0.5
    assert torch.allclose(imitate(on, made.nets.world.policy, other).states, torch.tensor(reverse), atol=1e-4)


def test_trust_region():
    made = agent("model.policy=clipped")
    for policy, raw in ((made.nets.world.policy, 0.0), (made.nets.slow_policy, 0.5)):
        with torch.no_grad():
            policy.network.stacks[-1].weight.zero_()
            policy.network.stacks[-1].bias[:, :2] = raw  # means 0 and tanh(0.5), both deviations e^-1
    # two action dimensions of (tanh 0.5)^2 / (2 e^-2) = 0.788961 each; the same everywhere: scale 1
    on = practice(made)
    loss = trust_loss(on, made.nets.world.policy(on.data.z_TBL))
    assert loss.item() == pytest.approx(2 * math.tanh(0.5) ** 2 / (2 * math.exp(-2)), rel=1e-5)


def test_running_scale_follows_the_first_step():
    made = agent("policy.scale_rate=0.25")
    x_PB = torch.stack((torch.linspace(0, 10, 101), torch.linspace(0, 1000, 101)))
    # p95 - p5 of 0..10 is 9: 1 + 0.25 (9 - 1) = 3
    assert torch.allclose(practice(made).scaled("value", x_PB, 1.0), x_PB / 3)
    assert made.scales["value"].item() == pytest.approx(3.0)


def test_schedules():
    assert Constant(coef=2).at(0.3) == 2
    line = Linear(start=1, end=0.2, begins=0.25, ends=0.75)
    assert [line.at(x) for x in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([1, 1, 0.6, 0.2, 0.2])
    decay = Exponential(start=1e-2, end=1e-6)
    assert [decay.at(x) for x in (0, 0.5, 1)] == pytest.approx([1e-2, 1e-4, 1e-6])
    assert Linear(start=1, end=0, begins=1, ends=1).at(1.0) == 1  # never begins
    assert [Heuristic().of(e) for e in (500, 1000, 5000, 10)] == pytest.approx([0.99, 0.995, 0.995, 0.95])
    rates = Optimizer(encoder=0.3, encoder_step=0.1, encoder_step_at=0.5, encoder_frozen_at=0.75)
    assert [rates.encoder_factor(x) for x in (0, 0.5, 0.75)] == pytest.approx([0.3, 0.03, 0.0])
    assert [Optimizer().encoder_factor(x) for x in (0, 1)] == pytest.approx([0.3, 0.3])


def test_cadence():
    cadence = Cadence(world=4, value=2, policy=1)
    due = {part: [cadence.due(part, n) for n in range(8)] for part in ("world", "value", "policy")}
    assert due["world"] == [True] * 8
    assert due["value"] == [True, False] * 4
    assert due["policy"] == [True, False, False, False] * 2
    assert Cadence(world=1, value=2).pace == 2 and Cadence(world=3).due("policy", 1)
