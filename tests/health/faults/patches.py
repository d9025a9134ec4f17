"""How faults are planted: each a context manager that swaps one function of the real agents, and puts it back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from bellmark.agents.api import Batch, Schedule
from bellmark.agents.dreamer import agent as dreamer
from bellmark.agents.dreamer import imagination, selfchecks
from bellmark.agents.dreamer.imagination import Dream, Worth
from bellmark.agents.dreamer.losses import Lesson, Model
from bellmark.agents.dreamer.world import Networks
from bellmark.agents.finetune.agent import FinetuneAgent
from bellmark.agents.tdmpc.networks import Networks as TdmpcNetworks
from bellmark.nets.rssm import Rssm
from bellmark.ops import categorical
from bellmark.train.online import Online

Planted = Iterator[None]
SPARE_CHANCE = 100  # collected rows per row that should have been
SLOWED = 4.0  # times its own length that an update waits for a crowded host
SWING = 0.5  # nats by which log_std is thrown to and fro


@contextmanager
def value_of_the_state_itself() -> Planted:
    """The lambda return bootstraps from V(s_t) where V(s_t+1) belongs."""
    right = imagination.lambda_return

    def wrong(reward: Tensor, discount: Tensor, trace: Any, value: Tensor) -> Tensor:
        return right(reward, discount, trace, torch.cat((value[:1], value[:-1])))

    with patch.object(imagination, "lambda_return", wrong):
        yield


@contextmanager
def targets_with_gradient() -> Planted:
    """The critic's gradient also moves what it regresses to."""
    right, right_term = dreamer.judge, dreamer.value_term

    def judge(nets: Any, dreamed: Dream, value: Tensor, learning: Any, gamma: float) -> Worth:
        seen = dreamed.features_FHN.flatten(1)
        attached = nets.bins.decode(nets.value.rows(seen)).view_as(value)
        return right.__wrapped__(nets, dreamed, attached, learning, gamma)  # type: ignore[attr-defined,no-any-return]

    def term(nets: Any, logits: Tensor, target: Tensor, slow: Tensor, weight: Tensor, chosen: Any) -> Tensor:
        value = nets.bins.decode(logits)  # the pull of a squared error on both of its sides
        own = (weight.detach() * (value - target).square()).mean() if target.requires_grad else logits.new_zeros(())
        return right_term(nets, logits, target.detach(), slow.detach(), weight.detach(), chosen) + own

    with (
        patch.object(dreamer, "judge", judge),
        patch.object(selfchecks, "judge", judge),  # wherever it is imported
        patch.object(dreamer, "value_term", term),
    ):
        yield


@contextmanager
def prior_scored_on_its_own_answer() -> Planted:
    """The prior reads the posterior's draw of the same step and the action that is already past."""
    right = dreamer.model_terms

    def terms(nets: Any, states: Any, lesson: Lesson, learning: Any) -> Model:
        right_prior = Rssm.prior

        def prior(rssm: Rssm, deter: Tensor) -> Tensor:
            stoch = states.stoch_TSKB.detach().movedim(0, 2).flatten(2)
            action = lesson.action_TBA.permute(2, 0, 1).flatten(1)
            return right_prior(rssm, rssm.step(deter, stoch, action))

        with patch.object(Rssm, "prior", prior):
            return right(nets, states, lesson, learning)

    with patch.object(dreamer, "model_terms", terms), patch.object(selfchecks, "model_terms", terms):
        yield


@contextmanager
def state_detached() -> Planted:
    """No gradient goes back through time."""
    right_step = Rssm.step

    def observe(
        rssm: Rssm, deter: Tensor, stoch: Tensor, action: Tensor, tokens: Tensor, first: Tensor, uniform: Tensor
    ) -> Any:
        from bellmark.nets.rssm import States

        rows = []
        for t, going in enumerate((~first).to(deter.dtype)):
            before = (deter.detach() * going, stoch.detach() * going, action[:, t] * going)
            deter = right_step(rssm, *before)
            probs = rssm.posterior(deter, tokens[:, t])
            stoch = categorical.straight_through(categorical.draw(probs, uniform[t], 1), probs)
            rows.append((deter, stoch, probs))
        return States(*(torch.stack(column) for column in zip(*rows, strict=True)))

    with patch.object(Rssm, "observe", observe):
        yield


@contextmanager
def padding_counts_as_ends() -> Planted:
    """What follows an episode's end in a slice is filled with zeros that count as ends of the task."""
    right = dreamer.lesson_of

    def wrong(batch: Batch, context: int, classes: int) -> Lesson:
        lesson = right(batch, context, classes)
        padded = lesson.first_TB.cumsum(0) > 0
        padded[0] = False
        return lesson._replace(
            obs_TBO=lesson.obs_TBO.masked_fill(padded[..., None], 0),
            reward_TB=lesson.reward_TB.masked_fill(padded, 0),
            terminated_TB=lesson.terminated_TB | padded,
            first_TB=lesson.first_TB & ~padded,
        )

    with patch.object(dreamer, "lesson_of", wrong):
        yield


@contextmanager
def collector_runs_ahead() -> Planted:
    """Far fewer updates are paid than the configuration owes."""
    right = dreamer.DreamerAgent.schedule.fget
    assert right is not None

    def schedule(agent: Any) -> Schedule:
        asked = right(agent)
        return asked._replace(per_step=asked.per_step / SPARE_CHANCE * 8)

    with patch.object(dreamer.DreamerAgent, "schedule", property(schedule)):
        yield


@contextmanager
def host_is_crowded() -> Planted:
    """From the middle of the run on, somebody else takes most of the machine's time."""
    right: Callable[[Online], bool] = Online._update

    def slow(loop: Online) -> bool:
        began = time.perf_counter()
        done = right(loop)
        if loop.step > loop.total / 2:
            time.sleep(SLOWED * (time.perf_counter() - began))
        return done

    with patch.object(Online, "_update", slow):
        yield


@contextmanager
def spread_thrown_to_and_fro() -> Planted:
    """Every update overshoots the policy's spread, to one side and then to the other."""
    right = FinetuneAgent.update

    def wrong(agent: FinetuneAgent, *rest: Any) -> Any:
        metrics = right(agent, *rest)
        iteration = agent.step // (agent.config.collect.envs * agent.config.collect.steps)
        agent.policy.log_std.data += SWING if iteration % 2 else -SWING
        return metrics

    with patch.object(FinetuneAgent, "update", wrong):
        yield


@contextmanager
def heads_begin_equal() -> Planted:
    """All members of the value ensemble start as one function, and learn from the same data and targets."""
    right = TdmpcNetworks.__init__

    def wrong(nets: TdmpcNetworks, *rest: Any) -> None:
        right(nets, *rest)
        for critic in (nets.world.critic, nets.slow_critic):
            for parameter in critic.heads.parameters():
                parameter.data[:] = parameter.data[:1].clone()

    with patch.object(TdmpcNetworks, "__init__", wrong):
        yield


@contextmanager
def resumed_from_nothing() -> Planted:
    """Half-way, what a resume does that restores the world model alone: a fresh actor and critic, counters at 0."""
    right: Callable[[Online], bool] = Online._update

    def wrong(loop: Online) -> bool:
        learner: Any = loop.learner
        if loop.step > loop.total / 2 and not getattr(loop, "forgot", False):
            fresh = Networks(learner.spec, learner.config.model, torch.Generator().manual_seed(learner.config.seed))
            for part in ("policy", "value"):
                getattr(learner.nets, part).load_state_dict(getattr(fresh, part).state_dict())
            loop.updates = learner.updates = 0
            loop._pace.mark(loop.step, 0)
            loop.forgot = True  # type: ignore[attr-defined]
        return right(loop)

    with patch.object(Online, "_update", wrong):
        yield
