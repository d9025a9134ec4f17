"""What can be had without learning: the scores of random actions and of each constant action."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from bellmark.agents.api import Decision, Metrics, Spec, State
from bellmark.envs.api import BatchedEnv
from bellmark.train.evaluate import play
from bellmark.train.worlds import RandomPolicy, spec_of

LEAST_EPISODES = 20  # of random actions
MOST_CHOICES = 18  # of which each is played alone


class ConstantPolicy:
    """Always the same choice."""

    def __init__(self, spec: Spec, choice: int) -> None:
        self._action = one_hot(torch.tensor(choice), spec.actions).float()

    def initial(self, worlds: int) -> State:
        """Nothing to carry."""
        return {}

    def act(
        self, obs: Tensor, first: Tensor, state: State, *, deterministic: bool, generator: torch.Generator
    ) -> Decision:
        """The choice, in every world."""
        return Decision(self._action.expand(len(obs), -1), {})


def baselines(env: BatchedEnv, seed: int) -> Metrics:
    """Returns of random actions (at least twenty episodes) and, where there are few choices, of each alone."""
    spec = spec_of(env)
    rounds = -(-LEAST_EPISODES // env.num_envs)
    played = [play(RandomPolicy(spec), env, seed + k, deterministic=False).returns for k in range(rounds)]
    returns = torch.cat([torch.as_tensor(part) for part in played])
    choices = range(spec.actions) if spec.discrete and spec.actions <= MOST_CHOICES else ()
    constant = {k: play(ConstantPolicy(spec, k), env, seed, deterministic=True).returns.mean() for k in choices}
    return {
        "baseline/random_return": float(returns.mean()),
        "baseline/random_std": float(returns.std()),
        "baseline/random_episodes": float(len(returns)),
        **{f"baseline/constant_{k}": float(mean) for k, mean in constant.items()},
    }
