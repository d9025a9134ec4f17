"""DreamerV3 in a dozen lines, with free bits of one's own beside the shipped ones, and a look at what it dreams.

    python examples/dreamer.py [STEPS]

Trains on CartPole from its four numbers, once as the recipe says and once with free bits that fade instead of ending at
once, prints what is learned, and how far the model's predictions are off by the number of steps dreamed. In 400 steps,
the default, that is little; 20,000 steps (some twenty minutes of one core each) balance the pole.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from bellmark.agents.dreamer.agent import DreamerAgent
from bellmark.agents.dreamer.config import Dreamer
from bellmark.agents.dreamer.dreams import Episode, errors, open_loop
from bellmark.agents.dreamer.learning import Divergence, Hard, Learning, StraightThrough
from bellmark.cli.families import load_recipe
from bellmark.config import Choice, build, knob, option, part
from bellmark.train.online import Online
from bellmark.train.worlds import spec_of

SHOWN = ("train/return", "loss/rec", "model/kl_dyn", "value/mean", "policy/entropy")


class Soft(Choice):
    """A smooth max(KL, nats): its gradient fades as the divergence falls below the free bits."""

    kind: Literal["soft"] = "soft"
    nats: float = knob(1.0, "KL around which the gradient is halved", unit="nats", ge=0)

    def of(self, kl: Tensor) -> Tensor:
        """nats + softplus(KL - nats)."""
        return self.nats + torch.nn.functional.softplus(kl - self.nats)


class WiderDivergence(Divergence):
    """The divergence's settings with one more option."""

    free: Hard | StraightThrough | Soft = option(Hard(), "the free bits")  # type: ignore[assignment]  # widened: the point


class WiderLearning(Learning):
    """The losses' settings with it."""

    divergence: WiderDivergence = part(WiderDivergence(), "posterior against prior")


class WithSoft(Dreamer):
    """The family's configuration with it."""

    learning: WiderLearning = part(WiderLearning(), "how the terms are made")


def train(steps: int, *overrides: str) -> DreamerAgent:
    """Train for `steps` agent steps and print a row of the record four times."""
    row = steps // 4
    budget = (f"steps={steps}", f"collect.log_every={row}", f"evaluation.every={steps}", "optimizer.warmup=100")
    config = build(WithSoft, load_recipe("dreamer_cartpole_state").tree, [*overrides, *budget])
    worlds = config.task.make(config.collect.envs)
    learner = DreamerAgent(config, spec_of(worlds), "cpu")
    with tempfile.TemporaryDirectory() as folder:
        agent = Online(config, learner, worlds, Path(folder), "cpu")
        while agent.step < agent.total:
            metrics = agent.iterate()
            shown = [f"{name} {metrics[name]:.3f}" for name in SHOWN if name in metrics]
            if shown:
                print(f"  {agent.step:6,} steps: {', '.join(shown)}", flush=True)
    return learner


def play(learner: DreamerAgent) -> Episode:
    """An episode of the policy, as it happened."""
    world = learner.config.task.make(1)
    obs, _ = world.reset(seed=0)
    state, first, ended = learner.policy.initial(1), torch.ones(1, dtype=torch.bool), False
    rows, actions, rewards, real_end = [torch.from_numpy(obs[0]).float()], [], [0.0], False
    while not ended:
        seen = torch.from_numpy(obs).float()
        done = learner.policy.act(seen, first, state, deterministic=True, generator=learner.generator)
        state, first = done.state, torch.zeros(1, dtype=torch.bool)
        obs, reward, terminated, truncated, info = world.step(done.action.argmax(-1).numpy())
        ended, real_end = bool(terminated[0] or truncated[0]), bool(terminated[0])
        rows.append(torch.from_numpy(info["final_obs"][0]).float())
        actions.append(done.action[0])
        rewards.append(float(reward[0]))
    return Episode(torch.stack(rows), torch.stack(actions), torch.tensor(rewards), real_end)


def main(steps: int) -> None:
    """Both ways, one after the other, then the dreams of the second."""
    print("hard free bits")
    train(steps)
    print("soft free bits")
    learner = train(steps, "learning.divergence.free=soft", "learning.divergence.free.nats=0.5")
    dreams = open_loop(
        learner.nets, learner.config.learning, [play(learner)], context=5, steps=5, samples=4,
        generator=learner.generator,
    )  # fmt: skip
    for row in errors(dreams):
        print(f"  dreamed {row['steps']} steps: error {row['obs_error']:.2f}, standing still {row['still_error']:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
