"""Our IQL beside d3rlpy's on the same data with the same settings: values, what they rank, and the policies.

    pip install --target /tmp/d3rlpy d3rlpy==2.8.0 --no-deps     # not a dependency of ours, even for tests
    pip install --target /tmp/d3rlpy --no-deps structlog colorama dataclasses-json marshmallow typing-inspect \\
        mypy-extensions scikit-learn joblib threadpoolctl narwhals gym gym-notices
    PYTHONPATH=/tmp/d3rlpy python benchmarks/iql_beside_d3rlpy.py             # ten minutes of one core
    PYTHONPATH=/tmp/d3rlpy python benchmarks/iql_beside_d3rlpy.py --seed 4    # another beside those in the file

Data: episodes of three stored policies on the sparse PickCube (`critic.data` of the `iql_awr` recipe). Both learn Q
(the smaller of two), V and a policy from it: gamma 0.8, expectile 0.7, slow Q by 0.005, Adam at 3e-4, batch 256,
3 x 256 tanh, weights exp(3 A) up to 100. For the comparison ours goes without the recipe's decay and cosine, begins
with PyTorch's layers as they come and puts its mean through a tanh, as d3rlpy does. What stays different: d3rlpy's
policy learns beside the critic, ours after it; d3rlpy cuts no gradients and draws rows with replacement.
Per seed both see the same rows and are judged on the same held-out episodes and start states, policies after
each of the last six epochs; seconds include that.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import provenance
import torch
from torch import Tensor, nn

from bellmark.agents.api import Decision, State
from bellmark.agents.finetune.agent import FinetuneAgent
from bellmark.agents.finetune.config import Finetune
from bellmark.agents.finetune.critics import Iql
from bellmark.agents.finetune.iql import learn, rank_correlation
from bellmark.agents.finetune.networks import ActionValues, GaussianPolicy, new_policy, sizes
from bellmark.agents.finetune.rollout import Rollout
from bellmark.agents.finetune.transitions import Transitions, fit, minibatches, transitions
from bellmark.cli.families import resolve
from bellmark.ops import policy_losses
from bellmark.train.evaluate import play
from bellmark.train.families import load_start
from bellmark.train.minari import episodes

WEIGHT, MOST, BATCH = 3.0, 100.0, 256
LAST = 6  # epochs after each of which policies are judged


@dataclass(frozen=True)
class Judged:
    """What a learner says of the held-out rows, and how its policy does."""

    q: Tensor
    v: Tensor
    success: list[float]  # after each of the last epochs
    seconds: float


class Theirs:
    """d3rlpy's policy under our evaluation."""

    def __init__(self, policy: Any, draw: Any) -> None:
        self._mean, self._draw = policy, draw

    def initial(self, worlds: int) -> State:
        """Nothing to carry."""
        return {}

    def act(
        self, obs: Tensor, first: Tensor, state: State, *, deterministic: bool, generator: torch.Generator
    ) -> Decision:
        """Its greedy action or its draw."""
        chosen = self._mean if deterministic else self._draw
        return Decision(torch.as_tensor(chosen(obs.numpy())), {})


def gathered(seed: int, worlds: int) -> tuple[FinetuneAgent, list[Rollout], list[Rollout]]:
    """An agent of the recipe, the rollouts to learn from and those to be judged on."""
    changes = [f"seed={seed}", f"critic.data.episodes={worlds}", "critic.twins=2", "critic.weight_decay=0"]
    config = resolve("iql_awr", changes).config
    assert isinstance(config, Finetune) and isinstance(config.critic, Iql)
    agent = FinetuneAgent(config, load_start(config))
    data, given = config.critic.data, agent.preparation()
    return agent, data.before(given), data.before(given)


def rows(parts: list[Rollout], agent: FinetuneAgent) -> Transitions:
    """One-step rows."""
    return Transitions.concatenate([transitions(part, agent.gamma, 1, "bootstrap") for part in parts])


def ours(agent: FinetuneAgent, data: Transitions, held: Transitions, epochs: int) -> Judged:
    """IQL, then the policy on its advantages, at a constant learning rate."""
    began = time.process_time()
    critic, option = agent.critic, agent.config.critic
    assert isinstance(critic, ActionValues) and isinstance(option, Iql)
    as_pytorch(critic)
    critic.slow_q.load_state_dict(critic.q.state_dict())
    steady = option.model_copy(update={"epochs": 100 * epochs})  # only the first, flat part of the cosine
    scores = learn(steady, critic, data, held.take(torch.arange(500)), agent.generator)
    for _ in range(epochs):
        next(scores)
    policy = new_policy(agent.config.policy, agent.env, 0.0, agent.generator)
    as_pytorch(policy)
    policy.mean = nn.Sequential(policy.mean, nn.Tanh())  # type: ignore[assignment]
    with torch.no_grad():
        advantage = critic.action_value(data.obs_BO, data.action_BA) - critic.v(data.obs_BO)
    weight = policy_losses.awr_weights(advantage, 1 / WEIGHT, MOST)
    clipped = data.action_BA.clamp(-1, 1)

    def loss(at: Tensor) -> Tensor:
        return policy_losses.weighted_likelihood(policy.log_prob(data.obs_BO[at], clipped[at]), weight[at])

    found: list[float] = []

    def passes() -> Iterator[Tensor]:
        for epoch in range(1, epochs + 1):
            yield from minibatches(len(data), BATCH, 1, agent.generator)
            if epoch > epochs - LAST:
                found.append(success(policy, agent))

    fit(loss, list(policy.parameters()), passes(), 3e-4, 1e9)
    seconds = time.process_time() - began
    with torch.no_grad():
        q, v = critic.action_value(held.obs_BO, held.action_BA), critic.v(held.obs_BO)
    return Judged(q, v, found, seconds)


def as_pytorch(network: nn.Module) -> None:
    """Weights as PyTorch's layers begin, where d3rlpy leaves them."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()


def success(policy: GaussianPolicy | Theirs, agent: FinetuneAgent) -> float:
    """Of deterministic actions."""
    return float(play(policy, agent.config.task.make(256), 777, deterministic=True).success.mean())


def theirs(agent: FinetuneAgent, parts: list[Rollout], held: Transitions, epochs: int, seed: int) -> Judged:
    """d3rlpy's IQL on the same episodes."""
    import d3rlpy
    from d3rlpy.models.encoders import VectorEncoderFactory

    d3rlpy.seed(seed)
    found = [piece for part in parts for piece in episodes(part)]
    column = {name: np.concatenate([cut(piece, name) for piece in found]) for name in KEPT}
    ends = column["terminations"].astype(np.float32), column["truncations"].astype(np.float32)
    data = d3rlpy.dataset.MDPDataset(
        column["observations"], column["actions"], column["rewards"][:, None].astype(np.float32), *ends,
        action_space=d3rlpy.ActionSpace.CONTINUOUS, action_size=sizes(agent.env)[1],
    )  # fmt: skip
    net = VectorEncoderFactory([256, 256, 256], activation="tanh")
    began = time.process_time()
    learner = d3rlpy.algos.IQLConfig(
        gamma=agent.gamma, expectile=0.7, tau=0.005, weight_temp=WEIGHT, max_weight=MOST, batch_size=BATCH,
        actor_learning_rate=3e-4, critic_learning_rate=3e-4,
        actor_encoder_factory=net, critic_encoder_factory=net, value_encoder_factory=net,
    ).create(device="cpu:0")  # fmt: skip
    steps = -(-len(column["rewards"]) // BATCH)
    quiet = d3rlpy.logging.NoopAdapterFactory()
    policy, reached = Theirs(learner.predict, learner.sample_action), list[float]()

    def judge(_: Any, epoch: int, __: int) -> None:
        if epoch > epochs - LAST:
            reached.append(success(policy, agent))

    learner.fit(data, epochs * steps, steps, logger_adapter=quiet, show_progress=False, epoch_callback=judge)
    seconds = time.process_time() - began
    value: nn.Module = learner.impl.modules.value_func
    with torch.no_grad():
        acted = held.action_BA.clamp(-1, 1)
        q = torch.stack([f(held.obs_BO, acted).q_value[:, 0] for f in learner.impl.modules.targ_q_funcs]).amin(0)
        v = value(held.obs_BO)[:, 0]
    return Judged(q, v, reached, seconds)


KEPT = ("observations", "actions", "rewards", "terminations", "truncations")


def cut(piece: dict[str, Any], name: str) -> Any:
    """A column of an episode, whose last observation d3rlpy leaves out: it gives no row to a truncated last step."""
    return piece[name][: len(piece["rewards"])]


def judged(said: Judged, true: Tensor) -> dict[str, float]:
    """Beside the returns of the held-out rows."""
    scores = {
        "q_mean": said.q.mean(),
        "v_mean": said.v.mean(),
        "q_error": (said.q - true).square().mean().sqrt(),
        "q_rank": rank_correlation(said.q, true),
        "v_rank": rank_correlation(said.v, true),
        "advantage_std": (said.q - said.v).std(),
    }
    return {**{k: round(float(x), 4) for k, x in scores.items()}, "success": round(float(np.mean(said.success)), 4),
            "success_least": min(said.success), "success_most": max(said.success),
            "seconds": round(said.seconds, 1)}  # fmt: skip


def study(seed: int, worlds: int, epochs: int) -> dict[str, Any]:
    """Both learners on one seed's data."""
    torch.manual_seed(seed)
    agent, parts, other = gathered(seed, worlds)
    data, held = rows(parts, agent), rows(other, agent)
    mine = ours(agent, data, held, epochs)
    other_one = theirs(agent, parts, held, epochs, seed)
    pairs = {
        "v": (mine.v, other_one.v),
        "q": (mine.q, other_one.q),
        "advantage": (mine.q - mine.v, other_one.q - other_one.v),
    }
    agree = {name: round(float(rank_correlation(*pair)), 4) for name, pair in pairs.items()}
    found = {"bellmark": judged(mine, held.return_B), "d3rlpy": judged(other_one, held.return_B)}
    for name, scores in found.items():
        print(seed, f"{name:<10}", " ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)
    print(seed, "ranks of one beside the other's", agree, flush=True)
    return {"seed": seed, "rows": len(data), "return_mean": float(held.return_B.mean()), **found, "agreement": agree}


@click.command()
@click.option("--seed", "seeds", default=(1, 2, 3), show_default=True, multiple=True)
@click.option("--worlds", default=200, show_default=True, help="Per stored policy, for 50 steps.")
@click.option("--epochs", default=24, show_default=True, help="Passes over the data.")
@click.option("--save/--no-save", default=True, show_default=True, help="Write the result file.")
def main(seeds: tuple[int, ...], worlds: int, epochs: int, save: bool) -> None:
    """Compare two implementations of IQL."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    settings = {"worlds": worlds, "epochs": epochs}
    for seed in seeds:
        found = study(seed, worlds, epochs)
        if save:
            studies = sorted([*former(settings, seed), found], key=lambda s: s["seed"])
            print(f"wrote {provenance.save('iql_beside_d3rlpy', {**settings, 'studies': studies})}")


def former(settings: dict[str, int], seed: int) -> list[dict[str, Any]]:
    """The other seeds in the result file, if it is of the same settings."""
    path: Path = provenance.RESULTS / "iql_beside_d3rlpy.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    return [s for s in known.get("studies", []) if s["seed"] != seed and settings.items() <= known.items()]


if __name__ == "__main__":
    main()
