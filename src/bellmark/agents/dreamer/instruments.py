"""Measurements of the dreamer family on rows that nobody learns from: is the model predicting, and from the action?

`selfchecks.py` has those that compare the learner with a second computation.

Axes: T steps, B slices, N = T B states, D recurrent state, S latents, K classes, A action, F features.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bellmark.agents.api import Batch, Behaviour
from bellmark.agents.dreamer.actors import Chooser, Mover
from bellmark.agents.dreamer.agent import DreamerAgent
from bellmark.agents.dreamer.losses import Lesson, lesson_of, model_terms
from bellmark.agents.dreamer.selfchecks import divergence_mismatch, targets
from bellmark.agents.dreamer.world import features
from bellmark.nets.rssm import States
from bellmark.ops import categorical
from bellmark.ops.ranks import auc
from bellmark.ops.two_hot import symlog

SEED = 0  # of the latents' draws: the same at every evaluation, so that only the agent differs
OWN = ("obs", "action", "reward", "terminated", "first")
LED_IN = 2  # rows that are seen before the model goes on alone
LEAST_ENDS = 3  # and as many other rows, for ends to be told from them
LEAST_SPREAD = 1e-3  # of an observation's component, for there to be something to reconstruct


class DreamerInstruments:
    """Looks at a learner without touching its random state."""

    def __init__(self, learner: DreamerAgent) -> None:
        self._learner = learner

    @torch.no_grad()
    def behaviour(self, rows: Batch) -> Behaviour:
        """Probabilities, or means and deviations, at the states that the rows lead to."""
        nets = self._learner.nets
        states = self._observe(self._lesson(rows))
        outputs = nets.policy(features(states.deter_TDB, states.stoch_TSKB))
        match nets.actor:
            case Chooser() as chooser:
                probs = chooser.probs(outputs).t()
                return Behaviour(probs, probs[:, :0])
            case Mover() as mover:
                mean, std = mover.moments(outputs)
                return Behaviour(mean.t(), std.t())
            case other:
                raise TypeError(f"no behaviour of a {type(other).__name__}")

    def measure(self, rows: Batch) -> Mapping[str, Tensor]:
        """How the prior depends on the action, how well it predicts alone, how far gradients go back in time."""
        lesson = self._lesson(rows)
        with torch.no_grad():
            states = self._observe(lesson)
            held_out = model_terms(self._learner.nets, states, lesson, self._learner.config.learning).terms
            measured = {
                "model/rec_held_out": held_out["rec"],
                "model/kl_held_out": self._surprise(states),
                "model/kl_mismatch": divergence_mismatch(self._learner, states, lesson),
                "model/action_gap": self._action_gap(states, rows),
                **self._explained(states, rows),
                **self._open_loop(states, rows),
                **targets(self._learner, features(states.deter_TDB, states.stoch_TSKB), SEED),
            }
        return {
            **measured,
            **self._learner.optimizer.measure(),
            "model/memory_gradient": self._memory_gradient(lesson),
        }

    def _lesson(self, rows: Batch) -> Lesson:
        """The rows as the model learns from them, without a state before the first."""
        device = self._learner.device
        columns = {name: getattr(rows, name).to(device) for name in OWN}
        blank = {k: v.to(device).expand(*rows.first.shape, *v.shape) for k, v in self._learner.blank.items()}
        return lesson_of(rows._replace(**columns, extras=blank), 0, self._learner.nets.rssm.classes)

    def _observe(self, lesson: Lesson) -> States:
        nets, device = self._learner.nets, self._learner.device
        steps, slices = lesson.first_TB.shape
        generator = torch.Generator(device).manual_seed(SEED)
        uniform = categorical.uniforms((steps, nets.rssm.latents, slices), generator)
        return self._follow(lesson, self._tokens(lesson), uniform)

    def _tokens(self, lesson: Lesson) -> Tensor:
        tokens: Tensor = self._learner.nets.encoder(lesson.obs_TBO.flatten(0, 1))
        return tokens.unflatten(1, lesson.first_TB.shape)

    def _follow(self, lesson: Lesson, tokens: Tensor, uniform: Tensor) -> States:
        rssm = self._learner.nets.rssm
        return rssm.observe(
            lesson.deter, lesson.stoch, lesson.action_TBA.permute(2, 0, 1), tokens, lesson.first_TB, uniform
        )

    def _action_gap(self, states: States, rows: Batch) -> Tensor:
        """KL in nats, summed over latents, between the priors after the action taken and after another."""
        rssm = self._learner.nets.rssm
        deter, stoch = (x.movedim(0, -2).flatten(-2) for x in (states.deter_TDB[:-1], states.stoch_TSKB[:-1]))
        action = rows.action[:-1].to(deter).flatten(0, 1).t()
        former, other = (rssm.prior(rssm.step(deter, stoch, a)) for a in (action, swapped(action, self._discrete)))
        return categorical.kl(former, other, 1).sum(0).mean()

    def _surprise(self, states: States) -> Tensor:
        """KL in nats, summed over latents, from the posterior to the prior that dreams draw from."""
        posterior = states.probs_TSKB.movedim(0, 2).flatten(2)
        prior = self._learner.nets.rssm.prior(states.deter_TDB.movedim(0, 1).flatten(1))
        return categorical.kl(posterior, prior, 1).sum(0).mean()

    def _explained(self, states: States, rows: Batch) -> Mapping[str, Tensor]:
        """Of vectors, the component that the model redraws worst: the share of its variance that is explained.

        1 - squared error over variance, on the scale of the loss (symlog): 0 is a model that always says the mean, and
        below 0 one that knows less than that. Components that hardly vary on these rows are left out.
        """
        if self._learner.spec.pixels:
            return {}
        seen = features(states.deter_TDB, states.stoch_TSKB)
        truth = self._seen(rows.obs).flatten(0, 1)
        error = (self._seen(self._learner.nets.decoder(seen)) - truth).square().mean(0)
        variance = truth.var(0, correction=0)
        share = torch.where(variance > LEAST_SPREAD**2, 1 - error / variance.clamp(min=LEAST_SPREAD**2), torch.inf)
        least, index = share.min(0)
        return {"model/explained_least": least, "model/explained_least_index": index} if least.isfinite() else {}

    @property
    def _discrete(self) -> bool:
        return self._learner.spec.discrete

    def _open_loop(self, states: States, rows: Batch) -> Mapping[str, Tensor]:
        """What the model foresees of observations, rewards and ends with the actions taken, after two rows.

        Observations: squared error over that of "nothing changes". Rewards: mean absolute error. Ends: the probability
        that a row which ends is thought more of an end than one which does not (no number where too few end).
        """
        nets = self._learner.nets
        deter, stoch = states.deter_TDB[LED_IN - 1], states.stoch_TSKB[LED_IN - 1]
        action, error, still, missed, ends = rows.action.to(deter), [], [], [], []
        at = {k: self._seen(rows.obs[k]) for k in range(LED_IN - 1, len(rows.obs))}
        reward, ended = rows.reward[LED_IN:].to(deter), rows.terminated[LED_IN:].to(deter.device)
        for t in range(LED_IN, len(rows.obs)):
            deter = nets.rssm.step(deter, stoch, action[t - 1].t())
            stoch = categorical.mode(nets.rssm.prior(deter), 1)
            seen = torch.cat((deter, stoch.flatten(0, 1)))
            foreseen = self._seen(nets.decoder(seen))
            error.append((foreseen - at[t]).square().mean())
            still.append((at[LED_IN - 1] - at[t]).square().mean())
            missed.append((nets.reward.mean_bin(seen, nets.bins) - reward[t - LED_IN]).abs().mean())
            ends.append(-nets.continuation(seen)[0])
        measured = {
            "model/open_loop_error": torch.stack(error).mean() / torch.stack(still).mean().clamp(min=1e-8),
            "model/open_loop_reward": torch.stack(missed).mean(),
        }
        if min(int(ended.sum()), int((~ended).sum())) >= LEAST_ENDS:
            measured["model/open_loop_ends"] = auc(torch.stack(ends), ended)
        return measured

    def _seen(self, obs: Tensor) -> Tensor:
        """Observations on the scale that the model is judged on."""
        obs = obs.to(self._learner.device)
        return obs.float() / 255 if self._learner.spec.pixels else symlog(obs)

    def _memory_gradient(self, lesson: Lesson) -> Tensor:
        """Of the last recurrent state's gradient by what was seen, the share that goes further back than one step."""
        nets, device = self._learner.nets, self._learner.device
        steps, slices = lesson.first_TB.shape
        uniform = categorical.uniforms((steps, nets.rssm.latents, slices), torch.Generator(device).manual_seed(SEED))
        with torch.enable_grad():
            tokens = self._tokens(lesson).detach().requires_grad_()
            last = self._follow(lesson, tokens, uniform).deter_TDB[-1]
            (gradient,) = torch.autograd.grad(last.square().sum(), tokens, allow_unused=True)
        if gradient is None:
            return torch.zeros((), device=device)
        size = gradient.square().sum((0, 2))
        return size[:-2].sum() / size.sum().clamp(min=1e-30)


def swapped(action: Tensor, discrete: bool) -> Tensor:
    """(A, N): the next choice, or each number moved by one inside [-1, 1]: never the same, never out of range."""
    if discrete:
        return action.roll(1, 0)
    return torch.where(action > 0, action - 1, action + 1)
