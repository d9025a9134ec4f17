"""A policy finetuned in a dozen lines, with an advantage source of one's own beside the shipped ones.

    python examples/finetune.py [STEPS]

Starts from the shipped weak PickCube policy and compares, on the same start states, what AWR makes of it with
advantages from re-rollouts and with random ones: a control that every claim about advantages should survive.
"""

from __future__ import annotations

import sys
from typing import ClassVar, Literal

import torch

from bellmark.agents.finetune.advantages import Context, Estimate, Gae
from bellmark.agents.finetune.agent import FinetuneAgent
from bellmark.agents.finetune.branches import Branch
from bellmark.agents.finetune.config import Finetune
from bellmark.agents.finetune.rollout import Rollout
from bellmark.cli.families import load_recipe
from bellmark.config import Choice, build, option
from bellmark.train.evaluate import evaluate
from bellmark.train.families import load_start

SETTINGS = ("collect.envs=50", "update.epochs=10")
REROLLOUTS = ("advantage.n_q=4", "advantage.n_v=4", "advantage.share=0.25")


class RandomAdvantage(Choice):
    """A control: advantages that say nothing."""

    kind: Literal["random"] = "random"
    snapshots: ClassVar[bool] = False

    def estimate(self, rollout: Rollout, context: Context) -> Estimate:
        """Standard normal numbers for every row."""
        rows = torch.arange(rollout.reward_TN.numel())
        noise = torch.randn(len(rows), generator=context.generator)
        return Estimate(rows, noise, torch.zeros_like(noise), branch_steps=0, metrics={})


class WithControl(Finetune):
    """The family's configuration with one more option."""

    advantage: Gae | Branch | RandomAdvantage = option(  # type: ignore[assignment]  # widened: the point of the example
        Gae(), "what decides which actions were better than expected"
    )


def finetune(steps: int, *overrides: str) -> None:
    """Run iterations for `steps` real steps and print what they make of the policy."""
    tree = load_recipe("awr_rerollout").tree
    config = build(WithControl, tree, [*SETTINGS, *overrides, f"steps={max(steps, 2500)}"])
    agent = FinetuneAgent(config, load_start(config))
    env = config.task.make(config.evaluation.episodes)
    while True:
        success = evaluate(agent.policy, env, config.evaluation.seed)["eval/success"]
        print(f"  {agent.step:6,} real and {agent.branch_steps:8,} branch steps: success {success:.1%}", flush=True)
        if agent.step >= steps:
            return
        agent.iterate()


def main(steps: int) -> None:
    """Both sources from the same start."""
    print("re-rollouts")
    finetune(steps, *REROLLOUTS)
    print("random advantages")
    finetune(steps, "advantage=random")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 25_000)
