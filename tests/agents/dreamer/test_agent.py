"""The learner's data path, what dreams are worth, determinism and continuation."""

from __future__ import annotations

import pytest
import torch
from dreamer_small import BASES, CONTINUOUS, SPEC, agent, batch, trace
from traced import shaken

from bellmark.agents.dreamer.losses import lesson_of, replayed_term
from bellmark.agents.dreamer.world import features
from bellmark.errors import UserError


@pytest.mark.parametrize("base", BASES)
def test_the_same_seed_gives_the_same_numbers(base: str) -> None:
    assert trace(agent(base=base)) == trace(agent(base=base))


def test_another_seed_gives_others() -> None:
    assert trace(agent()) != trace(agent("seed=2"))


@pytest.mark.parametrize("base", BASES)
def test_a_saved_learner_goes_on_bit_for_bit(base: str) -> None:
    through, first = agent(base=base), agent(base=base)
    for count in range(3):
        through.update(batch(through, count), count)
        first.update(batch(first, count), count)
    again = agent("seed=9", base=base)
    again.load_state_dict(first.state_dict())
    assert trace(again) == trace(through)


def test_sequences_begin_at_stored_states_and_fresh_ones_go_back() -> None:
    made = shaken(agent())
    data = batch(made)
    data.first[:2] = False
    lesson = lesson_of(data, 1, 3)
    assert torch.equal(lesson.deter, data.extras["deter"][0].float().t())
    assert torch.equal(lesson.stoch.argmax(1), data.extras["stoch"][0].long().t())
    uniform_state = made.generator.get_state()
    states = made._observe(lesson)
    made.generator.set_state(uniform_state)
    _, writeback = made.update(data, 0)
    assert writeback is not None
    assert torch.equal(writeback.rows, data.rows[1:].flatten())
    assert torch.equal(writeback.values["deter"].view(5, 3, -1), states.deter_TDB.mT.half())
    stored = states.stoch_TSKB.argmax(2).movedim(2, 1)
    assert torch.equal(writeback.values["stoch"].view(5, 3, -1).long(), stored)


def test_without_context_sequences_begin_at_nothing() -> None:
    made = agent("context=0")
    assert made.window.length == made.config.length
    lesson = lesson_of(batch(made), 0, 3)
    assert not lesson.deter.any()
    assert not lesson.stoch.any()
    assert not lesson.action_TBA[0].any()


def test_collecting_keeps_the_state_that_the_next_update_begins_at() -> None:
    made = shaken(agent())
    generator = torch.Generator().manual_seed(0)
    state = made.policy.initial(2)
    decision = made.policy.act(
        torch.randn(2, 4), torch.ones(2, dtype=torch.bool), state, deterministic=False, generator=generator
    )
    assert {k: v.shape[1:] for k, v in decision.extras.items()} == {k: v.shape for k, v in made.blank.items()}
    assert {k: v.dtype for k, v in decision.extras.items()} == {k: v.dtype for k, v in made.blank.items()}
    assert torch.equal(decision.extras["deter"], decision.state["deter"].half())
    assert torch.equal(decision.action.sum(-1), torch.ones(2))


def test_an_episodes_beginning_forgets_the_past() -> None:
    made = shaken(agent())
    obs = torch.randn(1, 4)
    found = []
    for past in (0.0, 1.0):
        state = {k: v + past for k, v in made.policy.initial(1).items()}
        generator = torch.Generator().manual_seed(0)
        first = torch.ones(1, dtype=torch.bool)
        decision = made.policy.act(obs, first, state, deterministic=True, generator=generator)
        found.append(decision.state["deter"])
    assert torch.equal(*found)


def test_replayed_returns_stop_at_ends_and_bootstrap_at_cuts() -> None:
    made = shaken(agent("learning.critic.slow_weight=0"))
    nets, learning = made.nets, made.config.learning
    lesson = lesson_of(batch(made), 1, 3)
    states = made._observe(lesson)
    seen = features(states.deter_TDB, states.stoch_TSKB).detach()
    logits = nets.value.rows(seen[:, :-3]).log_softmax(-1).view(4, 3, -1)
    boot = torch.randn(5, 3)
    gamma, expected = made.gamma, 0.0
    for b in range(3):
        following = float(boot[-1, b])
        for t in reversed(range(4)):
            reward, end, cut = (float(x[t + 1, b]) for x in (lesson.reward_TB, lesson.terminated_TB, lesson.last_TB))
            trace_ = 0.0 if cut else 0.95
            rest = (1 - trace_) * float(boot[t + 1, b]) + trace_ * following
            following = reward + gamma * (0.0 if end else 1.0) * rest
            if not lesson.last_TB[t, b]:
                place = nets.bins.place(torch.tensor(following))
                weights = torch.zeros(255)
                weights[place.below], weights[place.below + 1] = 1 - place.upper, place.upper
                expected -= float((weights * logits[t, b]).detach().sum())
    assert float(replayed_term(nets, seen, lesson, boot, learning)) == pytest.approx(expected / 12, rel=1e-4)


def test_the_return_scale_follows_percentiles_from_zero() -> None:
    scales = agent().config.learning.scales
    # 0 .. 100: the distance between the 5th and the 95th percentile is 90, of which 1 % is taken up
    found = scales.returns.next(torch.zeros(()), torch.arange(101.0))
    assert float(found) == pytest.approx(0.9)
    assert float(scales.returns.next(found, torch.arange(101.0))) == pytest.approx(0.99 * 0.9 + 0.9)


def test_pictures_that_do_not_halve_are_refused() -> None:
    with pytest.raises(UserError, match="multiples of 16"):
        agent(spec=SPEC._replace(obs_shape=(20, 16, 3), pixels=True))


def test_values_that_are_not_finite_are_named() -> None:
    made = agent(spec=CONTINUOUS)
    obs = torch.tensor([[0.0] * 4, [float("nan")] * 4])
    with pytest.raises(UserError, match="world 1 is not finite"):
        made.policy.act(
            obs,
            torch.ones(2, dtype=torch.bool),
            made.policy.initial(2),
            deterministic=True,
            generator=torch.Generator(),
        )
