"""The learner of the dreamer family: DreamerV3 (Hafner et al. 2025; danijar/dreamerv3, 2026).

`update` is the algorithm in the paper's order: follow replayed observations, dream from every state they lead to, learn
from both in one loss. The terms are written out in `losses.py`, dreams in `imagination.py`. Deviations of the defaults
from the official code: replay keeps recurrent states in half precision (theirs are bfloat16 throughout).

Axes: T steps, B slices, H steps of a dream, N = T B dreams, D recurrent state, S latents, K classes, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bellmark.agents.api import Batch, Load, Schedule, Spec, Window, Writeback
from bellmark.agents.dreamer.acting import DreamingPolicy, kept
from bellmark.agents.dreamer.config import Dreamer
from bellmark.agents.dreamer.gating import Gate
from bellmark.agents.dreamer.imagination import Worth, dream, judge
from bellmark.agents.dreamer.losses import Lesson, lesson_of, model_terms, policy_term, replayed_term, value_term
from bellmark.agents.dreamer.surprise import SurpriseMeter
from bellmark.agents.dreamer.world import Networks, features
from bellmark.nets.memory import keep_freed_memory
from bellmark.nets.optim import LaProp, Part
from bellmark.nets.rssm import States
from bellmark.nets.slow import follow
from bellmark.ops import categorical

Metrics = dict[str, Tensor]
SCALES = ("returns", "advantages")


class DreamerAgent:
    """A world model with a policy and a value that live in its dreams, their optimiser and their random state."""

    def __init__(self, config: Dreamer, spec: Spec, device: str) -> None:
        """Build for a task's sizes."""
        keep_freed_memory()
        self.config, self.spec, self.device = config, spec, torch.device(device)
        self.gamma = config.learning.discount.gamma
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self.nets = Networks(spec, config.model, torch.Generator().manual_seed(config.seed)).to(self.device)
        self.optimizer = laprop(config, self.nets)
        self.meter = SurpriseMeter(config.surprise, self.device)
        self.gate = Gate(config.gating, config.updates, self.device)
        self.scales = {name: torch.zeros((), device=self.device) for name in SCALES}
        self.updates = 0
        self.policy = DreamingPolicy(config, self.nets)

    @property
    def blank(self) -> Mapping[str, Tensor]:
        """Every row keeps the state that its observation led to: nothing where no policy acted."""
        rssm = self.nets.rssm
        return kept(torch.zeros(rssm.deter), torch.zeros(rssm.latents, rssm.classes))

    @property
    def window(self) -> Window:
        """Slices over all starts, with the row before them whose state they begin at."""
        c = self.config
        return Window(batch=c.batch, length=c.length + c.context, whole=False, fresh=c.online_queue, lead_in=c.context)

    @property
    def schedule(self) -> Schedule:
        """Updates by the train ratio, from the first step or after random ones."""
        collect = self.config.collect
        return Schedule(collect.random_steps, collect.pretrain, self.config.per_step)

    def update(self, batch: Batch, step: int) -> tuple[Metrics, Writeback | None]:
        """One minibatch: the world model on replay, policy and value on dreams and replay, all in one loss."""
        c, nets, learning = self.config, self.nets, self.config.learning
        lesson = lesson_of(batch, c.context, nets.rssm.classes)
        with torch.set_grad_enabled(c.start.world_learns):
            states = self._observe(lesson)
            model, kl = model_terms(nets, states, lesson, learning)
        reading = self.meter.observe(*components(c, model, kl))
        decision = self.gate.decide(reading)
        behaves = decision.learns and c.start.actor_critic_learns
        terms, metrics = dict(model), {**reading.metrics, **decision.metrics}
        factor = self.factor(step)
        factors: dict[str, Tensor | float] = {"model": factor} if c.start.world_learns else {}
        if behaves:
            behaviour, more = self._behaviour(states, lesson, step)
            terms.update(behaviour)
            metrics.update(more)
            factors.update(policy=decision.rate * factor, value=decision.rate * factor)
        weight = {name: getattr(c.loss, name) for name in terms}
        loss = torch.stack([weight[name] * term for name, term in terms.items() if weight[name]]).sum()
        norms = self.optimizer.step(loss, factors) if factors else {}
        self.updates += 1
        if behaves and self.updates % learning.critic.slow_every == 0:
            follow(nets.slow_value, nets.value, learning.critic.slow_rate)
        fresh = kept(states.deter_TDB.detach().mT.flatten(0, 1), states.stoch_TSKB.detach().movedim(3, 1).flatten(0, 1))
        return (
            {
                **{f"loss/{name}": term.detach() for name, term in terms.items()},
                "loss/total": loss.detach(),
                "replay/ends": lesson.terminated_TB.float().mean(),
                **{f"model/kl_{name}": value for name, value in kl.items()},
                **norms,
                **metrics,
            },
            Writeback(lesson.rows_TB.flatten(), fresh),
        )

    def _observe(self, lesson: Lesson) -> States:
        """The states that replayed observations lead to."""
        nets = self.nets
        steps, slices = shape = lesson.first_TB.shape
        uniform = categorical.uniforms((steps, nets.rssm.latents, slices), self.generator)
        tokens = nets.encoder(lesson.obs_TBO.flatten(0, 1)).unflatten(1, shape)
        action = lesson.action_TBA.permute(2, 0, 1)
        return nets.rssm.observe(lesson.deter, lesson.stoch, action, tokens, lesson.first_TB, uniform)

    def _behaviour(self, states: States, lesson: Lesson, step: int) -> tuple[Metrics, Metrics]:
        """The terms of policy and value, and what is worth knowing of the dreams."""
        nets, learning = self.nets, self.config.learning
        last = -(learning.imagination.last or len(lesson.reward_TB))
        seen = features(states.deter_TDB[last:], states.stoch_TSKB[last:])
        lesson = lesson._replace(**{name: getattr(lesson, name)[last:] for name in ROWS})
        dreamed = dream(nets, seen, learning.imagination.horizon, self.generator)
        everywhere, learned = dreamed.features_FHN.flatten(1), dreamed.action_AHN[0].numel()  # all rows but the last
        logits = nets.value.rows(everywhere[:, :learned])
        value = torch.cat(
            (nets.bins.decode(logits.detach()), nets.value.mean_bin(everywhere[:, learned:], nets.bins))
        ).view(dreamed.features_FHN.shape[1:])
        worth = judge(nets, dreamed, value, learning, learning.discount.gamma)
        advantage = self._advantage(worth)
        coef = learning.entropy.at(step / self.config.steps)
        policy, entropy = policy_term(nets, dreamed, worth, advantage, coef)
        boot = worth.target_HN[0].view_as(lesson.reward_TB)
        terms = {
            "policy": policy,
            "value": value_term(nets, logits, *worth.lessons(), learning.critic),
            "repval": replayed_term(nets, seen, lesson, boot, learning),
        }
        metrics = {
            "policy/entropy": entropy,
            "value/mean": worth.value_HN.mean(),
            "value/target": worth.target_HN.mean(),
            "value/slow": worth.slow_HN.mean(),
            "advantage/mean": advantage.mean(),
            "advantage/std": advantage.std(),
            "scale/returns": self.scales["returns"],
            "dream/reward": worth.reward[1:].mean(),
            "dream/continue": worth.alive[1:].mean(),
            "dream/weight_end": worth.weight_HN[-1].mean(),
        }
        return terms, metrics

    def _advantage(self, worth: Worth) -> Tensor:
        """(H, N): how much better than expected, over the running scales, which move first."""
        scales = self.config.learning.scales
        self.scales["returns"] = scales.returns.next(self.scales["returns"], worth.target_HN)
        raw = (worth.target_HN - worth.value_HN) / self.scales["returns"].clamp(min=scales.returns_least)
        self.scales["advantages"] = scales.advantages.next(self.scales["advantages"], raw)
        return raw / self.scales["advantages"].clamp(min=scales.advantages_least)

    def factor(self, step: int) -> float:
        """Of all learning rates at this update: the linear warm-up, times their course over the run."""
        o = self.config.optimizer
        return min(1.0, self.updates / o.warmup if o.warmup else 1.0) * o.course.at(step / self.config.steps)

    @torch.no_grad()
    def start_values(self, obs: Tensor) -> Tensor:
        """The value's mean at observations (B, *obs) in which episodes begin, latents the most likely ones, (B,)."""
        nets = self.nets
        state = self.policy.initial(len(obs))
        former = (state["deter"].t(), state["stoch"].permute(1, 2, 0), state["action"].t())
        deter, stoch = nets.rssm.follow(*former, tokens=nets.encoder(obs.to(self.device)), uniform=None)
        return nets.bins.decode(nets.value.rows(torch.cat((deter, stoch.flatten(0, 1)))))

    @property
    def acting(self) -> nn.Module:
        """The networks, for collectors in other processes."""
        return self.nets

    def begin(self, load: Load) -> str:
        """Take from a stored run what the configuration says."""
        return self.config.start.begin(self, load)

    def take(self, state: Mapping[str, Any], *, actor_critic: bool) -> None:
        """Take the world model of a saved learner and, where asked for, policy and value with their scales."""
        names = set(WORLD) | (set(BEHAVIOUR) if actor_critic else set())
        taken = {name: value for name, value in state["networks"].items() if name.partition(".")[0] in names}
        self.nets.load_state_dict(taken, strict=False)
        parts = ("model", "policy", "value") if actor_critic else ("model",)
        self.optimizer.load_state_dict(
            {key: {name: state["optimizer"][key][name] for name in parts} for key in ("moments", "steps")}
        )
        if actor_critic:
            self.scales = {name: state["scales"][name].to(self.device) for name in SCALES}

    def state_dict(self) -> dict[str, Any]:
        """Parameters, optimiser, scales, surprise, gate, counters, random state."""
        return {
            "networks": self.nets.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scales": dict(self.scales),
            "surprise": self.meter.state_dict(),
            "gate": self.gate.state_dict(),
            "updates": self.updates,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue as the learner that was saved would have."""
        self.nets.load_state_dict(state["networks"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scales = {name: state["scales"][name].to(self.device) for name in SCALES}
        self.meter.load_state_dict(state["surprise"])
        self.gate.load_state_dict(state["gate"])
        self.updates = state["updates"]
        self.generator.set_state(state["generator"].cpu())


ROWS = ("obs_TBO", "action_TBA", "reward_TB", "terminated_TB", "first_TB", "last_TB", "rows_TB")
MODEL = ("rec", "rew", "con", "dyn", "rep")
WORLD = ("encoder", "rssm", "decoder", "reward", "continuation")
BEHAVIOUR = ("policy", "value", "slow_value")


def components(config: Dreamer, terms: Metrics, kl: Metrics) -> tuple[Tensor, Metrics]:
    """The world model's weighted loss, and its parts as the surprise meter compares them: KL before the free bits."""
    total = torch.stack([getattr(config.loss, name) * terms[name].detach() for name in MODEL]).sum()
    parts = {"reconstruction": terms["rec"], "reward": terms["rew"], "continue": terms["con"]}
    return total, {**parts, "kl_dyn": kl["dyn"], "kl_rep": kl["rep"]}


def laprop(config: Dreamer, nets: Networks) -> LaProp:
    """The optimiser over the three parts."""
    o, parameters = config.optimizer, nets.parts()
    rates = {"model": o.lr, "policy": o.actor_lr or o.lr, "value": o.critic_lr or o.lr}
    return LaProp(
        [Part(name, parameters[name], rates[name]) for name in rates],
        beta1=o.beta1,
        beta2=o.beta2,
        eps=o.eps,
        clip=o.clipping.cut(),
    )
