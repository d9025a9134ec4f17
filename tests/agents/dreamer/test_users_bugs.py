"""The eleven bugs of the earlier agent (January 2026), each with the test that would have found it.

4 (the value of the wrong state) is in tests/ops/test_lambda_return.py, 9 (LaProp) in tests/nets/test_optim.py, and the
counters of 6 in test_gating.py.
"""

from __future__ import annotations

import math

import pytest
import torch
from dreamer_small import agent, batch
from torch import Tensor
from traced import shaken

from bellmark.agents.dreamer.imagination import dream
from bellmark.agents.dreamer.learning import Hard, StraightThrough
from bellmark.agents.dreamer.losses import lesson_of
from bellmark.cli.families import list_recipes, resolve
from bellmark.nets.rssm import Imagine
from bellmark.ops import categorical
from bellmark.ops.categorical import one_hot
from bellmark.ops.two_hot import SymexpBins, symexp


@pytest.mark.parametrize("cell", ["block", "independent"])
def test_1_the_prior_predicts_and_depends_on_the_action(cell: str) -> None:
    """The prior was scored against the posterior whose draw it had been shown, and an action that was already past."""
    made = shaken(agent(f"model.cell={cell}"))
    rssm = made.nets.rssm
    deter, stoch = torch.randn(16, 2), one_hot(torch.zeros(4, 2, dtype=torch.long), 3, 1)
    left, right = torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    predictions = [rssm.prior(rssm.step(deter, stoch, action)) for action in (left, right)]
    assert (predictions[0] - predictions[1]).abs().max() > 1e-3

    lesson = lesson_of(batch(made), 1, 3)
    going = lesson.first_TB.new_zeros(lesson.first_TB.shape)
    priors = []
    for last in (0.0, 9.0):  # another observation at the last row
        obs = torch.cat((lesson.obs_TBO[:-1], lesson.obs_TBO[-1:] + last))
        states = made._observe(lesson._replace(obs_TBO=obs, first_TB=going))
        priors.append((rssm.prior(states.deter_TDB[-1]), states.probs_TSKB[-1]))
        made.generator.manual_seed(made.config.seed)
    assert torch.equal(*(prior for prior, _ in priors)), "the prior has seen the observation that it predicts"
    assert not torch.equal(*(posterior for _, posterior in priors))


def test_1_actions_come_with_the_observation_that_they_led_to() -> None:
    made = agent()
    data = batch(made)
    lesson = lesson_of(data, 1, 3)
    assert torch.equal(lesson.action_TBA, data.action[:-1])
    assert torch.equal(lesson.obs_TBO, data.obs[1:])
    assert torch.equal(lesson.reward_TB, data.reward[1:])


@pytest.mark.parametrize("cell", ["block", "independent"])
def test_2_gradients_go_back_through_time(cell: str) -> None:
    made = shaken(agent(f"model.cell={cell}"))
    rssm = made.nets.rssm
    tokens = torch.randn(rssm.posterior_hidden[0].dense.weight.shape[1] - rssm.deter, 4, 2, requires_grad=True)  # type: ignore[index, union-attr, operator]
    going = torch.zeros(4, 2, dtype=torch.bool)
    states = rssm.observe(
        torch.zeros(16, 2), torch.zeros(4, 3, 2), torch.zeros(2, 4, 2), tokens, going, torch.rand(4, 4, 2)
    )
    states.deter_TDB[-1].sum().backward()
    assert tokens.grad is not None
    assert (tokens.grad.abs().sum((0, 2))[:3] > 0).all()


def test_3_divergence_is_summed_over_latents_and_clipped_hard() -> None:
    kl = torch.tensor([0.4, 3.0], requires_grad=True)
    hard = Hard().of(kl)
    assert hard.tolist() == [1.0, 3.0]
    hard.sum().backward()
    assert kl.grad is not None
    assert kl.grad.tolist() == [0.0, 1.0]
    kl.grad = None
    through = StraightThrough().of(kl)
    assert through.tolist() == [1.0, 3.0]
    through.sum().backward()
    assert kl.grad.tolist() == [1.0, 1.0]
    assert agent().config.learning.divergence.over_latents == "sum"


def test_5_values_of_whole_episodes_fit_on_the_bins() -> None:
    """His top bin was symexp(5) = 147.41; 500 rewards of 1 at a discount of 0.997 are worth 259."""
    worth = (1 - 0.997**500) / (1 - 0.997)
    assert worth == pytest.approx(259, abs=1)
    assert float(symexp(torch.tensor(5.0))) == pytest.approx(147.41, abs=0.01)
    for recipe in list_recipes():
        if recipe.family == "dreamer":
            assert math.expm1(resolve(recipe).tree["model"]["bin_limit"]) > 10 * worth
    bins = SymexpBins()
    place = bins.place(torch.tensor(worth))
    assert 0 < place.below < bins.count - 2


def test_6_the_gate_is_asked_once_per_update_and_whole_updates_rest() -> None:
    made = agent("gating=gated", "gating.ratio.every=4")
    policies = []
    for count in range(8):
        former = [p.clone() for p in made.nets.policy.parameters()]
        metrics, _ = made.update(batch(made, count), 50)
        moved = any(not torch.equal(a, b) for a, b in zip(former, made.nets.policy.parameters(), strict=True))
        policies.append(moved)
        assert ("loss/policy" in metrics) == moved
    assert policies == [False, False, False, True] * 2


def test_7_a_frozen_world_model_stays() -> None:
    """Is in tests/agents/dreamer/test_start.py with stored runs; here: no term may reach it."""
    made = agent("start=stored", "start.checkpoint=anything", "start.world=frozen")
    world = (made.nets.encoder, made.nets.rssm, made.nets.decoder, made.nets.reward, made.nets.continuation)
    former = [p.clone() for module in world for p in module.parameters()]
    policy = [p.clone() for p in made.nets.policy.parameters()]
    for count in range(4):
        made.update(batch(made, count), 50)
    now = [p for module in world for p in module.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(former, now, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(policy, made.nets.policy.parameters(), strict=True))


def test_8_what_follows_a_reset_is_learned_from_and_nothing_is_padded() -> None:
    """Short episodes were filled up with rows of zeros that counted as ends."""
    made = agent()
    data = batch(made)
    data.first[3] = True
    lesson = lesson_of(data, 1, 3)
    assert lesson.obs_TBO.shape[0] == made.config.length
    assert lesson.first_TB[2].all()
    assert lesson.last_TB[1].all()  # the row before it ends its episode, whether or not the task did
    assert torch.equal(lesson.terminated_TB, data.terminated[1:])

    states = []
    for noise in (0.0, 5.0):  # what was before a reset does not matter after it
        changed = data._replace(obs=torch.cat((data.obs[:3] + noise, data.obs[3:])))
        made.generator.manual_seed(0)
        states.append(made._observe(lesson_of(changed, 1, 3)).deter_TDB[2:])
    assert torch.equal(*states)


def test_10_nothing_asks_for_cuda_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("torch.cuda.synchronize was called")

    monkeypatch.setattr(torch.cuda, "synchronize", refuse)
    made = agent()
    made.update(batch(made), 0)


def test_11_dreams_from_all_states_are_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """One rollout per replayed row made 480 cell calls of 15."""
    made = agent()
    rssm, calls = made.nets.rssm, []
    original = rssm.imagination

    def counted(count: int) -> Imagine:
        step = original(count)

        def go(*x: Tensor) -> None:
            calls.append(x[0].shape[1])
            step(*x)

        return go

    monkeypatch.setattr(rssm, "imagination", counted)
    for states in (2, 64):
        calls.clear()
        dream(made.nets, torch.randn(16 + 12, states), 4, made.generator)
        assert calls == [states] * 4  # one call per step, whatever the number of dreams


def test_later_uniform_is_mixed_in_once() -> None:
    made = agent("model.unimix=0.2")
    with torch.no_grad():
        made.nets.rssm.prior_logits.weight.zero_()
        made.nets.rssm.prior_logits.bias.copy_(torch.tensor([100.0, 0.0, 0.0]).repeat(4))
    prior = made.nets.rssm.prior(torch.randn(16, 1))
    assert prior[0, :, 0].tolist() == pytest.approx([0.8 + 0.2 / 3, 0.2 / 3, 0.2 / 3])
    assert torch.equal(categorical.mode(prior, 1)[:, 0], torch.ones(4, 1))
