"""The finetune algorithm: collect -> estimate -> update, repeated.

Composed from a data schedule (`schedules.py`), a critic (`critics.py`), an advantage source (`advantages.py`,
`branches.py`) and a policy update (`updates.py`). With GAE and PPO it is ManiSkill's and CleanRL's PPO; with `branch`
and AWR it is the user's MC16 AWR; with IQL's Q - V and AWR, offline IQL. One deviation for all: time limits bootstrap
and the task's own end does not, unless an option says otherwise.

Axes: T time, N environments, B rows of the batch, b rows of a minibatch, O observation, A action.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bellmark.agents.api import Metrics, Watch, nobody
from bellmark.agents.finetune.advantages import Context, Estimate
from bellmark.agents.finetune.config import Finetune, Scratch, Stored
from bellmark.agents.finetune.critics import FromStart, Joint, Lesson, Preparation
from bellmark.agents.finetune.networks import AnyCritic, GaussianPolicy, new_policy, sizes, stored_policy
from bellmark.agents.finetune.rollout import Rollout
from bellmark.agents.finetune.rollout import collect as roll
from bellmark.agents.finetune.schedules import Source
from bellmark.envs.api import Exactness, Snapshot
from bellmark.nets.fused_adam import cut_and_step
from bellmark.nets.memory import keep_freed_memory
from bellmark.ops import policy_losses

RATIO_MOVED = 0.2  # policy/clip_share is the share of rows whose probability ratio has moved further than this

Weights = Mapping[str, Any]  # a checkpoint as loaded: "policy", "critic", ...


class FinetuneAgent:
    """A policy under improvement, with its environments, optimiser and random state."""

    def __init__(self, config: Finetune, load: Callable[[str], Weights], threads: int = 1) -> None:
        """Build the agent of a configuration; `load` returns the content of a checkpoint by name."""
        keep_freed_memory()
        self.config = config
        self.gamma = config.gamma
        per_iteration = config.collect.envs * config.collect.steps
        self.total = config.steps // per_iteration * per_iteration
        self.step = self.real_steps = self.branch_steps = self.gathered_steps = 0
        self.generator = torch.Generator().manual_seed(config.seed)
        self.env = config.task.make(config.collect.envs, threads)
        self.policy = self._start_policy(load)
        self.critic = self._start_critic(load)
        mine = list(self.policy.parameters())
        self._policy_tensors = len(mine)  # the first of the optimiser's
        trained = [*mine, *self.critic.joint_parameters()]
        self.optimizer = torch.optim.Adam(trained, lr=config.optimizer.lr, eps=config.optimizer.eps, fused=True)
        self.obs, _ = self.env.reset(seed=config.seed)
        self._running_return = np.zeros(config.collect.envs)
        self._held: list[Rollout] = []  # what is learned from
        self._estimate: Estimate | None = None  # of what is held
        self.context = Context(
            policy=self.policy,
            critic=self.critic,
            stored_policy=cache(lambda name: stored_policy(config.policy, self.env, load(name)["policy"])),
            scratch_env=cache(lambda worlds: config.task.make(worlds, threads)),
            gamma=config.gamma,
            generator=self.generator,
        )

    @torch.no_grad()
    def prepare(self, watch: Watch = nobody) -> Metrics:
        """What the critic learns of other policies' data, before the first step."""
        began = time.perf_counter()
        learned = self.config.critic.begin(self.critic, self.preparation(watch))  # type: ignore[arg-type]  # as in `fit`
        return {**learned, "time/critic": time.perf_counter() - began} if learned else {}

    def iterate(self) -> Metrics:
        """One iteration; returns its metrics. Values and advantages are learned where there is new data."""
        began = time.perf_counter()
        held = self.config.data.following(self._held, Source(self.collect, self._gather))
        new, self._held = held is not self._held, held
        rollout = Rollout.concatenate(held)
        phases = {"time/collect": time.perf_counter() - began}
        learned = self._estimate_anew(rollout) if new else {}
        assert self._estimate is not None  # the first data is new
        began = time.perf_counter()
        metrics = self.update(rollout, self._estimate)
        phases["time/update"] = time.perf_counter() - began
        self.step += self.config.collect.envs * self.config.collect.steps
        return {
            **_episode_metrics(held[-1], self.env.succeeds),
            **_advantage_metrics(self._estimate.advantage),
            **self._estimate.metrics,
            **learned,
            **metrics,
            **phases,
            **self.steps_taken(),
        }

    @torch.no_grad()
    def start_values(self, obs: Tensor) -> Tensor:
        """The critic's values of start states, in the task's own rewards; empty without a critic."""
        values: Tensor = self.critic(obs) / self.config.reward_scale
        return values if any(True for _ in self.critic.parameters()) else values[:0]

    def steps_taken(self) -> Metrics:
        """Real environment steps, simulator steps of branches, and steps of stored policies, so far."""
        counts = {"real": self.real_steps, "branch": self.branch_steps, "gathered": self.gathered_steps}
        return {f"steps/{name}": float(count) for name, count in counts.items()}

    def collect(self) -> Rollout:
        """Go on with the present policy."""
        c = self.config
        rollout, self.obs = roll(
            self.env,
            self.policy,
            self.obs,
            c.collect.steps,
            self.generator,
            self._running_return,
            reward_scale=c.reward_scale,
            snapshots=c.advantage.snapshots,
        )
        self.real_steps += c.collect.envs * c.collect.steps
        return rollout

    def _gather(self, checkpoint: str, worlds: int, steps: int, start: Snapshot | None = None) -> Rollout:
        """A rollout of a stored policy, from start states of its own or from saved ones."""
        env = self.context.scratch_env(worlds)
        obs, _ = env.reset(seed=int(torch.randint(2**31, (), generator=self.generator)))
        obs = env.restore(start) if start is not None else obs
        rollout, _ = roll(
            env,
            self.context.stored_policy(checkpoint),
            obs,
            steps,
            self.generator,
            np.zeros(worlds),
            reward_scale=self.config.reward_scale,
            snapshots=self.config.advantage.snapshots,
        )
        self.gathered_steps += worlds * steps
        return rollout

    def preparation(self, watch: Watch = nobody) -> Preparation:
        """What the critic may learn from before the first step."""
        return Preparation(
            gather=self._gather,
            horizon=self.env.horizon,
            gamma=self.config.gamma,
            generator=self.generator,
            watch=watch,
        )

    def lesson(self, rollout: Rollout) -> Lesson:
        """What the critic may learn from, beside a rollout."""
        return Lesson(
            **vars(self.preparation()),
            rollout=rollout,
            first=self._estimate is None,
            targets=lambda: self.config.advantage.estimate(rollout, self.context).value_target,
        )

    @torch.no_grad()
    def _estimate_anew(self, rollout: Rollout) -> Metrics:
        """The critic learns from new data, then advantages are estimated."""
        c, clock = self.config, [time.perf_counter()]
        fitted = c.critic.fit(self.critic, self.lesson(rollout))  # type: ignore[arg-type]  # built by the same option
        clock.append(time.perf_counter())
        estimate = c.advantage.estimate(rollout, self.context)
        clock.append(time.perf_counter())
        self._estimate = replace(estimate, advantage=c.control.apply(estimate.advantage, self.generator))
        self.branch_steps += estimate.branch_steps
        return {**fitted, "time/critic": clock[1] - clock[0], "time/estimate": clock[2] - clock[1]}

    def update(self, rollout: Rollout, estimate: Estimate) -> Metrics:
        """Epochs of minibatches over the estimate's rows; stops early once the policy has moved `target_kl`."""
        update = self.config.update
        obs_BO = rollout.obs_TNO.flatten(0, 1)[estimate.rows]
        action_BA = rollout.action_TNA.flatten(0, 1)[estimate.rows]
        old_log_prob_B = rollout.log_prob_TN.flatten()[estimate.rows]
        signal_B = update.signal(estimate.advantage)
        collect = self.config.collect
        warming_up = self.step < self.config.critic.warmup_iterations * collect.envs * collect.steps
        weight = {"policy": float(not warming_up), "value": update.value_coef, "entropy": update.entropy_coef}
        losses: dict[str, Tensor] = {}
        kl, log_ratio, norms = torch.zeros(()), torch.zeros(1), torch.zeros(1)
        taken, cut, most = 0, torch.zeros(()), self.config.optimizer.max_grad_norm
        columns = (obs_BO, action_BA, old_log_prob_B, signal_B, estimate.value_target)
        for obs_bO, action_bA, old_log_prob_b, signal_b, target_b in self._minibatches(columns):
            log_prob = self.policy.log_prob(obs_bO, action_bA)
            log_ratio = log_prob - old_log_prob_b
            with torch.no_grad():
                kl = policy_losses.kl_estimate(log_ratio)
            if kl > update.target_kl:
                break
            losses = {
                "policy": update.loss(log_prob, log_ratio, signal_b),
                "value": self.critic.joint_loss(obs_bO, target_b),
                "entropy": -self.policy.entropy(),
            }
            assert losses.keys() == weight.keys()
            sum((weight[k] * losses[k] for k in losses if weight[k]), torch.zeros(())).backward()
            norms = cut_and_step(self.optimizer, most)
            cut += norms.norm() > most
            taken += 1
        return {
            **{f"loss/{name}": float(loss.detach()) for name, loss in losses.items()},
            **update.statistics(signal_B),
            "policy/kl": float(kl),
            "policy/clip_share": float((log_ratio.detach().exp() - 1).abs().gt(RATIO_MOVED).float().mean()),
            "policy/entropy": float(self.policy.entropy().detach()),
            "policy/log_std": float(self.policy.log_std.detach().mean()),
            "grad/norm": float(norms.norm()),
            "grad/policy": float(norms[: self._policy_tensors].norm()),
            "grad/critic": float(norms[self._policy_tensors :].norm()),
            "clip_share/all": float(cut) / max(taken, 1),
            "update/gradient_steps": float(taken),
        }

    def _minibatches(self, columns: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """The rows of every gradient step of an update: `epochs` shuffled passes in `minibatches` parts."""
        for _ in range(self.config.update.epochs):
            order = torch.randperm(len(columns[0]), generator=self.generator)
            yield from zip(*(column[order].chunk(self.config.update.minibatches) for column in columns), strict=True)

    def state_dict(self) -> dict[str, Any]:
        """All that decides the future of this run."""
        return {
            "policy": self.policy.state_dict(),
            "critic": self.critic.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "env": {k: torch.as_tensor(v) for k, v in self._worlds().items()},
            "obs": torch.as_tensor(self.obs),
            "running_return": torch.as_tensor(self._running_return.copy()),
            "step": self.step,
            "steps": [self.real_steps, self.branch_steps, self.gathered_steps],
            "held": [rollout.state() for rollout in self._held] if self.config.data.keeps else [],
            "estimate": vars(self._estimate) if self._estimate is not None else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue a saved run of the same configuration, bit for bit."""
        self.policy.load_state_dict(state["policy"])
        self.critic.load_state_dict(state["critic"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        if state["env"]:  # tasks that cannot be saved begin new episodes
            self.env.restore(Snapshot.of_plain({k: v.numpy() for k, v in state["env"].items()}))
            self.obs = state["obs"].numpy()
            self._running_return = state["running_return"].numpy().copy()
        self.step = state["step"]
        self.real_steps, self.branch_steps, self.gathered_steps = state["steps"]
        self._held = [Rollout.restored(saved) for saved in state["held"]]
        self._estimate = Estimate(**state["estimate"]) if state["estimate"] is not None else None

    def _worlds(self) -> dict[str, np.ndarray]:
        """The worlds where they stand; nothing where the task cannot be saved."""
        return {} if self.env.exactness is Exactness.NONE else self.env.snapshot().plain()

    def _start_policy(self, load: Callable[[str], Weights]) -> GaussianPolicy:
        match self.config.start:
            case Scratch(log_std=log_std):
                return new_policy(self.config.policy, self.env, log_std, self.generator)
            case Stored(checkpoint=name, max_log_std=most):
                policy = stored_policy(self.config.policy, self.env, load(name)["policy"])
                policy.log_std.data.clamp_(max=most)
                return policy

    def _start_critic(self, load: Callable[[str], Weights]) -> AnyCritic:
        config = self.config
        critic = config.critic.build(sizes(self.env), self.generator)
        if isinstance(config.critic, Joint) and isinstance(config.critic.initial, FromStart):
            assert isinstance(config.start, Stored)  # the configuration saw to it
            critic.load_state_dict(load(config.start.checkpoint)["critic"])
        return critic


def _episode_metrics(rollout: Rollout, succeeds: bool) -> Metrics:
    if not rollout.episode_returns:
        return {}
    means = {
        "train/return": float(np.mean(rollout.episode_returns)),
        "train/episodes": float(len(rollout.episode_returns)),
    }
    return {**means, "train/success": float(np.mean(rollout.episode_successes))} if succeeds else means


def _advantage_metrics(advantage: Tensor) -> Metrics:
    return {
        "advantage/mean": float(advantage.mean()),
        "advantage/std": float(advantage.std()),
        "advantage/positive": float((advantage > 0).float().mean()),
    }
