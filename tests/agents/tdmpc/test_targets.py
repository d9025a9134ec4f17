"""What targets are made of where a single constant would not tell: latents, ends, draws, other discounts, explorers."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tdmpc_small import agent, practice
from torch import Tensor
from traced import shaken

from bellmark.agents.tdmpc import losses
from bellmark.agents.tdmpc.auxiliary import LEARN_FROM, Transition
from bellmark.agents.tdmpc.heads import Heads
from bellmark.agents.tdmpc.improvement import Optimist
from bellmark.agents.tdmpc.policies import Practice, climb, imitate, model_value, q_value, trust_loss
from bellmark.agents.tdmpc.targets import acting

pytestmark = pytest.mark.usefixtures("tiny")
STATE = ("model.critic=state", "target=imagined", "discount=fixed", "discount.gamma=0.9")


def seeded(on: Practice, seed: int = 0) -> Practice:
    """The same with its random numbers from the beginning, and scales of its own."""
    generator = torch.Generator().manual_seed(seed)
    return replace(on, generator=generator, scales={name: scale.clone() for name, scale in on.scales.items()})


def test_replayed_targets_value_drawn_actions() -> None:
    made = shaken(agent("target.members=0"))  # no other chance than the actions'
    data = practice(made).data
    one, other = (made.config.target.of(made.nets, data, 0.9, torch.Generator().manual_seed(s)) for s in (0, 1))
    assert not torch.allclose(one.value_NPB, other.value_NPB)


def test_replayed_targets_bootstrap_from_encoded_observations() -> None:
    made = shaken(agent())
    data = practice(made).data
    elsewhere = data._replace(z_TBL=data.z_TBL.flip(1))
    values = [made.config.target.of(made.nets, d, 0.9, torch.Generator().manual_seed(0)).value_NPB for d in
              (data, elsewhere, data._replace(encoded_TBL=data.encoded_TBL.flip(1)))]  # fmt: skip
    assert torch.equal(values[0], values[1]) and not torch.equal(values[0], values[2])


@pytest.mark.parametrize(
    ("goes_on", "counted"),
    [
        ((1.0, 1.0), "r0 + 0.9 r1 + 0.81 v"),
        ((0.0, 1.0), "r0"),  # what is over stays over
        ((1.0, 0.0), "r0 + 0.9 r1"),
    ],
)
def test_nothing_counts_after_an_imagined_end(goes_on: tuple[float, ...], counted: str, monkeypatch: Any) -> None:
    made = agent(*STATE, "target.horizon=2")
    answers = iter(goes_on)
    monkeypatch.setattr(made.nets.world.termination, "forward", lambda z: torch.full(z.shape[:-1], next(answers)))
    numbers = {"r0": 1.0, "r1": 1.0, "v": 5.0}
    monkeypatch.setattr(made.nets.world.reward, "forward", lambda z, a: torch.full((1, *z.shape[:-1]), 1.0))
    monkeypatch.setattr(made.nets.slow_critic, "forward", lambda z, chosen: torch.full((3, *z.shape[:-1]), 5.0))
    found = made.config.target.of(made.nets, practice(made).data, 0.9, made.generator).value_NPB
    terms = [term.split() for term in counted.split(" + ")]
    expected = sum((float(term[0]) if len(term) > 1 else 1.0) * numbers[term[-1]] for term in terms)
    assert torch.allclose(found, torch.tensor(expected))


def test_every_rollout_draws_its_own_actions() -> None:
    made = shaken(agent(*STATE, "target.rollouts=3"))
    next_HNPBL = made.config.target.of(made.nets, practice(made).data, 0.9, made.generator).next_HNPBL
    assert all(not torch.allclose(next_HNPBL[:, i], next_HNPBL[:, j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_whose_actions_are_valued() -> None:
    nets = agent().nets
    assert acting(nets, "slow") is nets.slow_policy and acting(nets, "online") is nets.world.policy


def test_two_members_drawn_anew_are_climbed() -> None:
    made = agent(
        "model.critic.heads=3", "policy.improvement.heads.members=2"
    )  # of members that say symexp(0), symexp(2) and symexp(4) everywhere
    with torch.no_grad():
        for member, place in enumerate((50, 60, 70)):
            made.nets.world.critic.heads.stacks[-1].bias[member, place] = 1000.0
    z, action = torch.rand(4, 16), torch.rand(1, 4, 2)
    heads = made.config.policy.improvement.heads
    found = {round(q_value(made.nets.world, heads, z, action, 0.9, made.generator)[0, 0].item(), 2) for _ in range(30)}
    says = [math.exp(symlog) - 1 for symlog in (0, 2, 4)]
    assert found == {round((says[i] + says[j]) / 2, 2) for i, j in ((0, 1), (0, 2), (1, 2))}


def test_imitation_earns_an_entropy_bonus() -> None:
    on = practice(shaken(agent(base="bmpc")))
    knobs, policy = on.config.improvement, on.nets.world.policy
    losses_TB = [imitate(seeded(replace(on, entropy=e)), policy, knobs).states for e in (0.0, 0.3)]
    draw = seeded(on).draw(policy, on.data.z_TBL[:-1], 1)
    torch.testing.assert_close(losses_TB[0] - losses_TB[1], 0.3 * draw.entropy, rtol=1e-4, atol=1e-5)


def test_every_imagined_step_draws_its_action(monkeypatch: pytest.MonkeyPatch) -> None:
    made, drawn = agent(*STATE, "target.horizon=3"), []
    right = made.nets.world.policy.act

    def act(z: Tensor, noise: Tensor) -> Tensor:
        drawn.append(noise)
        return right(z, noise)

    monkeypatch.setattr(made.nets.world.policy, "act", act)
    made.config.target.of(made.nets, practice(made).data, 0.9, made.generator)
    assert len(drawn) == 3 and all(abs(float(noise.std()) - 1) < 0.5 for noise in drawn)


def test_what_is_climbed_ends_with_the_task() -> None:
    made = shaken(agent(*STATE, "model.episodic=true"))
    world, z, action = made.nets.world, torch.rand(4, 16), torch.rand(1, 4, 2)
    asked = (world, Heads(), z, action, 0.9, made.generator)
    with torch.no_grad():
        world.termination.layers[-1].weight.zero_()
        for bias, goes_on in ((-1e3, 1.0), (1e3, 0.0)):
            world.termination.layers[-1].bias.fill_(bias)
            value = world.critic(world.dynamics(z, action)).mean((0, 1))
            torch.testing.assert_close(model_value(*asked), world.reward(z, action).mean(0) + 0.9 * goes_on * value)


def test_the_trust_region_is_the_divergence_of_the_slow_policy_from_the_new() -> None:
    made = agent("model.policy=clipped")
    for policy, raw in ((made.nets.world.policy, 0.0), (made.nets.slow_policy, -100.0)):
        with torch.no_grad():
            policy.network.stacks[-1].weight.zero_()
            policy.network.stacks[-1].bias[:, 2:] = raw  # means 0; deviations e^-1 and, at tanh(-100), e^-3
    on = practice(made)
    # KL(N(0, e^-3) || N(0, e^-1)) = ln(e^-1 / e^-3) + e^-6 / (2 e^-2) - 1/2 of each of two actions
    one = 2 + math.exp(-4) / 2 - 0.5
    loss = trust_loss(on, made.nets.world.policy(on.data.z_TBL))
    assert loss.item() * on.scales["trust"].item() == pytest.approx(2 * one, rel=1e-4)


@pytest.mark.parametrize("learn_from", ["replay", "rollout"])
def test_auxiliary_values_of_replay_are_learned_at_a_step_from_the_next(learn_from: str) -> None:
    data = practice(shaken(agent())).data
    latents = {"replay": data.encoded_TBL, "rollout": data.z_TBL}[learn_from]
    seen = LEARN_FROM[learn_from](data, data.z_TBL, None)  # type: ignore[arg-type]  # the target is not read
    assert torch.equal(seen.at_PBL, latents[:-1]) and torch.equal(seen.next_HNPBL[0, 0], latents[1:])
    assert torch.equal(seen.reward_NPB[0], data.reward_TB) and torch.equal(seen.keep_HNPB[0, 0], data.keep_TB)


def test_auxiliary_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """y_g = r + gamma_g mean_h keep_h V_g(z'_h) of the slow copy: r = 1 and (1 x 4 + 0 x 8) / 2 = 2."""
    seen = Transition(
        at_PBL=torch.zeros(1, 1, 3),
        reward_NPB=torch.ones(1, 1, 1),
        keep_HNPB=torch.tensor([1.0, 0.0]).view(2, 1, 1, 1),
        next_HNPBL=torch.zeros(2, 1, 1, 1, 3),
    )
    value_GHNPB = torch.tensor([4.0, 8.0]).view(1, 2, 1, 1, 1).expand(2, -1, -1, -1, -1)
    gammas = (0.5, 0.9)
    learned: Any = SimpleNamespace(
        gammas=gammas,
        gamma_G111=torch.tensor(gammas).view(2, 1, 1, 1),
        logits=lambda z: torch.full((2, *z.shape[:-1]), 99.0),
    )
    slow: Any = SimpleNamespace(logits=lambda z: value_GHNPB)
    bins: Any = SimpleNamespace(decode=lambda x: x)
    targets: list[Tensor] = []
    monkeypatch.setattr(losses, "value_loss", lambda bins, logits, target, weight: targets.append(target))
    losses.auxiliary_loss(learned, slow, bins, seen, torch.ones(1))
    assert targets[0].flatten().tolist() == pytest.approx([1 + 0.5 * 2, 1 + 0.9 * 2])


class TestOptimist:
    """The policy that explores climbs its own opinion of the heads, and its entropy counts more."""

    def on(self, *overrides: str) -> Practice:
        return practice(shaken(agent(*STATE, "policy.explorer=optimist", "model.reward.heads=2", *overrides)))

    def test_it_climbs_with_its_own_heads(self) -> None:
        on, heads = self.on(), Heads(coef=0.7)
        found = Optimist(heads=heads, entropy=1).loss(seeded(on), on.nets.explorer)
        climbed = climb(seeded(on), on.nets.explorer, heads, samples=1, positions="all", move=False)
        assert torch.equal(found, climbed.loss)
        plain = climb(seeded(on), on.nets.explorer, Heads(), samples=1, positions="all", move=False)
        assert not torch.equal(found, plain.loss)

    def test_its_entropy_is_a_multiple_of_the_policys(self) -> None:
        on = self.on()
        bonus = [Optimist(entropy=e).loss(seeded(on), on.nets.explorer) for e in (0.0, 30.0)]
        draw = seeded(on).draw(on.nets.explorer, on.data.z_TBL, 1)
        expected = 30 * on.entropy * on.over_states(draw.entropy)
        torch.testing.assert_close(bonus[0] - bonus[1], expected, rtol=1e-4, atol=1e-5)

    def test_it_moves_the_scale_only_where_the_policy_does_not(self) -> None:
        for improvement, moves in (("gradient", False), ("distillation", True)):
            more = ("model.policy=clipped",) if moves else ()
            on = seeded(self.on(f"policy.improvement={improvement}", *more))
            on.scales["value"].fill_(0.001)
            before = on.scales["value"].clone()
            Optimist().loss(on, on.nets.explorer)
            assert (not torch.equal(on.scales["value"], before)) == moves
