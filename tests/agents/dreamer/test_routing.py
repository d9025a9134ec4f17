"""Who learns from which term: each row names the parts that a term's gradient reaches, and all others it must not."""

from __future__ import annotations

import pytest
import torch
from dreamer_small import agent, batch
from torch import Tensor
from traced import shaken

from bellmark.agents.dreamer.agent import DreamerAgent
from bellmark.agents.dreamer.imagination import dream, judge
from bellmark.agents.dreamer.losses import lesson_of, model_terms, policy_term, replayed_term, value_term
from bellmark.agents.dreamer.world import features

PRIOR = {"rssm.prior_hidden", "rssm.prior_logits"}
POSTERIOR = {"rssm.posterior_hidden", "rssm.posterior_logits"}
STATE = {"encoder", "rssm.cell", *POSTERIOR}  # what the states of a sequence are made by
REACHES = {
    "rec": STATE | {"decoder"},
    "rew": STATE | {"reward"},
    "con": STATE | {"continuation"},
    "dyn": STATE | PRIOR,  # through the recurrent state that the prior reads
    "rep": STATE,
    "policy": {"policy"},
    "value": {"value"},
    "repval": STATE | {"value"},
}


def terms(made: DreamerAgent) -> dict[str, Tensor]:
    """Every term of the loss on a made-up batch."""
    nets, learning = made.nets, made.config.learning
    lesson = lesson_of(batch(made), made.config.context, nets.rssm.classes)
    states = made._observe(lesson)
    model, _ = model_terms(nets, states, lesson, learning)
    seen = features(states.deter_TDB, states.stoch_TSKB)
    dreamed = dream(nets, seen, learning.imagination.horizon, made.generator)
    logits = nets.value.rows(dreamed.features_FHN.flatten(1))
    value = nets.bins.decode(logits.detach()).view(dreamed.features_FHN.shape[1:])
    worth = judge(nets, dreamed, value, learning, made.gamma)
    boot = worth.target_HN[0].view_as(lesson.reward_TB)
    return {
        **model,
        "policy": policy_term(nets, dreamed, worth, worth.target_HN - worth.value_HN, 0.1)[0],
        "value": value_term(nets, logits[: worth.target_HN.numel()], *worth.lessons(), learning.critic),
        "repval": replayed_term(nets, seen, lesson, boot, learning),
    }


def reached(made: DreamerAgent, term: Tensor) -> set[str]:
    made.nets.zero_grad()
    term.backward()
    found = set()
    for name, p in made.nets.named_parameters():
        if p.grad is not None and p.grad.abs().sum() > 0:
            head, _, rest = name.partition(".")
            found.add(f"rssm.{rest.partition('.')[0]}" if head == "rssm" else head)
    return found


@pytest.mark.parametrize("name", REACHES)
@pytest.mark.parametrize("cell", ["block", "independent"])
def test_gradients_reach(name: str, cell: str) -> None:
    made = shaken(agent(f"model.cell={cell}", "learning.divergence.free.nats=0"))
    assert reached(made, terms(made)[name]) == REACHES[name]


def test_the_replayed_value_can_be_kept_out_of_the_model() -> None:
    made = shaken(agent("learning.critic.into_model=false"))
    assert reached(made, terms(made)["repval"]) == {"value"}


def test_dyn_does_not_move_the_posterior_and_rep_not_the_prior() -> None:
    """At one state, without what came before it."""
    made = agent()
    posterior = torch.rand(4, 3, 2).softmax(1).requires_grad_()
    prior = torch.rand(4, 3, 2).softmax(1).requires_grad_()
    from bellmark.agents.dreamer.losses import divergences

    kl = divergences(posterior, prior, made.config.learning.divergence)
    kl["dyn"].sum().backward()
    assert posterior.grad is None
    assert prior.grad is not None
    prior.grad = None
    divergences(posterior, prior, made.config.learning.divergence)["rep"].sum().backward()
    assert posterior.grad is not None
    assert prior.grad is None


def test_dreams_and_their_worth_carry_no_graph() -> None:
    made = shaken(agent())
    states = torch.randn(16 + 12, 6)
    dreamed = dream(made.nets, states.requires_grad_(), 4, made.generator)
    assert not any(x.requires_grad for x in dreamed)
    value = torch.zeros(5, 6)
    assert not any(x.requires_grad for x in judge(made.nets, dreamed, value, made.config.learning, 0.9))
