"""TD-MPC2 in a dozen lines, and a way of learning the policy of one's own beside the shipped ones.

    python examples/tdmpc.py [STEPS]

Trains on cartpole-swingup from nothing, once as the recipe says and once with a policy that learns the likelihood of
its planner's actions instead of climbing the value, and prints what is learned. In 500 steps, the default, that is
little; 25,000 steps (an hour or two on one core) swing the pole up.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import ClassVar, Literal

from bellmark.agents.tdmpc.agent import TdmpcAgent
from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.agents.tdmpc.improvement import Both, Distillation, DistillationKnobs, Gradient, PolicyLearning
from bellmark.agents.tdmpc.policies import Improvement, Practice
from bellmark.agents.tdmpc.world import Policy
from bellmark.cli.families import load_recipe
from bellmark.config import Choice, build, option, part
from bellmark.ops import gaussian
from bellmark.train.online import Online
from bellmark.train.worlds import spec_of

SETTINGS = ("model.size=1", "task.task=cartpole-swingup", "collect.insert_every=1", "planner.samples=128",
            "planner.elites=16", "slices.size=64")  # fmt: skip
SHOWN = ("train/return", "loss/consistency", "loss/reward", "value/mean", "loss/policy")


class Likelihood(DistillationKnobs, Choice):
    """Make the mean of the plan that was acted on likely: imitation that asks for no deviation."""

    kind: Literal["likelihood"] = "likelihood"
    climbs: ClassVar[bool] = False

    def improve(self, on: Practice, policy: Policy) -> Improvement:
        """-log N(plan; mean, std) - entropy, over the steps of the slices."""
        draw = on.draw(policy, on.data.z_TBL[:-1], samples=1)
        plan_TBA, _ = on.data.expert_TBA.chunk(2, -1)
        mean, log_std = draw.gaussian
        error = (plan_TBA - mean) * (-log_std).exp()
        nats_TB = (0.5 * error.square() + log_std + 0.5 * gaussian.LOG_2PI).mean(-1)
        loss_1TB = nats_TB[None] - on.entropy * draw.entropy
        return Improvement(on.over_states(loss_1TB), loss_1TB, draw)


class Learning(PolicyLearning):
    """The policy's settings with one more option."""

    improvement: Gradient | Distillation | Both | Likelihood = option(  # type: ignore[assignment]  # widened: the point
        Gradient(), "what makes it better"
    )


class WithLikelihood(Tdmpc):
    """The family's configuration with it."""

    policy: Learning = part(Learning(), "how the policy learns")


def train(steps: int, *overrides: str) -> None:
    """Train for `steps` agent steps and print a row of the record four times."""
    random, row = min(1000, steps // 2), steps // 4
    budget = (f"steps={steps}", f"collect.random_steps={random}", f"collect.pretrain={random}",
              f"collect.log_every={row}", f"evaluation.every={steps}")  # fmt: skip
    config = build(WithLikelihood, load_recipe("tdmpc2").tree, [*SETTINGS, *overrides, *budget])
    worlds = config.task.make(config.collect.envs)
    with tempfile.TemporaryDirectory() as folder:
        agent = Online(config, TdmpcAgent(config, spec_of(worlds), "cpu"), worlds, Path(folder), "cpu")
        metrics: dict[str, float] = {}
        while agent.step < agent.total or not metrics:  # a row comes with the last step too
            metrics = agent.iterate()
            shown = [f"{name} {metrics[name]:.3f}" for name in SHOWN if name in metrics]
            if metrics:
                print(f"  {agent.step:6,} steps: {', '.join(shown)}", flush=True)


def main(steps: int) -> None:
    """Both ways, one after the other."""
    print("climbing the value")
    train(steps)
    print("imitating plans by likelihood")
    train(steps, "model.policy=clipped", "policy.improvement=likelihood")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
