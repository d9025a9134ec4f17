"""Which of IQL's epochs should be kept? Held-out scores of every epoch beside what re-rollouts say is true.

    python benchmarks/iql_selection.py          # seven minutes of one core; writes results and docs/img
    python benchmarks/iql_selection.py --seed 4 # another seed beside those in the result file
    python benchmarks/iql_selection.py --seed 1 --epochs 3 --states 24 --truth 8 --iterations 2 --no-save

The data and the settings are those of the `iql_awr` recipe: episodes of three stored policies on the sparse PickCube,
gamma 0.8, expectile 0.7. After every epoch the held-out scores are taken (the TD loss that the user's scripts stop by;
the rank correlation of Q with the returns seen in held-out rows), and the networks are compared with the truth: values
and advantages of states that the start policy (`pickcube_medium`) sees, by `--truth` re-rollouts each, continued by the
optimal policy and by the start policy itself. At the end the networks of the epochs that each criterion picks give
advantages to AWR on one rollout of the start policy, whose success says what the choice was worth.
"""

from __future__ import annotations

import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import provenance
import torch
from advantage_accuracy import CUT, Ground, Variant, ask
from torch import Tensor

from bellmark.agents.finetune.advantages import QMinusV
from bellmark.agents.finetune.agent import FinetuneAgent
from bellmark.agents.finetune.config import Finetune
from bellmark.agents.finetune.critics import Iql
from bellmark.agents.finetune.iql import SCORE, learn, parts, rank_correlation
from bellmark.agents.finetune.networks import ActionValues
from bellmark.cli.families import resolve
from bellmark.train.evaluate import play
from bellmark.train.families import load_start

CONTINUATIONS: dict[str, dict[str, Any]] = {
    "optimal": {"kind": "frozen", "checkpoint": "pickcube_optimal"},
    "own": {"kind": "current"},
}
CRITERIA = ("td_loss", "return_correlation", "last")
FIGURE = Path(__file__).parents[1] / "docs" / "img" / "iql_selection.svg"
SHOWN = ("critic/td_loss", "critic/return_correlation", "v_optimal", "q_optimal", "advantage_optimal", "advantage_own")


@dataclass(frozen=True)
class Truth:
    """Judged states, what was done in them, and what re-rollouts say."""

    obs_BO: Tensor
    action_BA: Tensor
    value: dict[str, Tensor]
    advantage: dict[str, Tensor]

    @torch.no_grad()
    def compared(self, critic: ActionValues) -> dict[str, float]:
        """Rank correlations of V, Q and Q - V with the truth, and how far Q - V reaches."""
        v, q = critic.v(self.obs_BO), critic.action_value(self.obs_BO, self.action_BA)
        found = {"advantage_std": float((q - v).std()), "value_mean": float(v.mean())}
        for name, value in self.value.items():
            true = {"v": (v, value), "q": (q, value + self.advantage[name]), "advantage": (q - v, self.advantage[name])}
            found |= {f"{part}_{name}": float(rank_correlation(*pair)) for part, pair in true.items()}
        return found


def learner(seed: int, worlds: int, epochs: int) -> FinetuneAgent:
    """An agent of the recipe whose rollouts keep what re-rollouts need."""
    changes = ["advantage=branch", f"seed={seed}", f"collect.envs={worlds}", f"critic.epochs={epochs}"]
    config = resolve("iql_awr", changes).config
    assert isinstance(config, Finetune)
    return FinetuneAgent(config, load_start(config))


def truth(agent: FinetuneAgent, states: int, samples: int) -> Truth:
    """Of states spread over a rollout of the start policy."""
    rollout = agent.collect()
    steps, worlds = rollout.reward_TN.shape
    wide = worlds // 2
    rows_TN = torch.arange(0, steps * worlds, steps * worlds // states)[: states // wide * wide].view(-1, wide)
    at = Ground(rollout, rows_TN, agent.context, 0.0)
    value, advantage = {}, {}
    for name, continuation in CONTINUATIONS.items():
        source = Variant("", {**CUT, "continuation": continuation}).source()
        sampled, values, _ = ask(source, at, samples)
        value[name], advantage[name] = values.mean(0), sampled.mean(0)
    flat = rows_TN.flatten()
    return Truth(rollout.obs_TNO.flatten(0, 1)[flat], rollout.action_TNA.flatten(0, 1)[flat], value, advantage)


def success(agent: FinetuneAgent, weights: dict[str, Any], iterations: int) -> float:
    """Sampled success of AWR on a critic's advantages, mean of three evaluations at the end of its iterations."""
    config = agent.config
    again = learner(config.seed, config.collect.envs, 1)
    again.critic.load_state_dict(weights)
    rollout = again.collect()
    with torch.no_grad():
        estimate = QMinusV().estimate(rollout, again.context)
    env = config.task.make(128)
    scores = []
    for i in range(iterations):
        again.update(rollout, estimate)
        if i >= iterations - 3:
            scores.append(float(play(again.policy, env, 777, deterministic=False).success.mean()))
    return float(np.mean(scores))


def study(seed: int, worlds: int, epochs: int, states: int, samples: int, iterations: int) -> dict[str, Any]:
    """Every epoch's scores, the epochs picked, and what policies make of them."""
    agent = learner(seed, worlds, epochs)
    option, critic = agent.config.critic, agent.critic
    assert isinstance(option, Iql) and isinstance(critic, ActionValues)
    true = truth(agent, states, samples)
    given = agent.preparation()
    data, test = parts(option, option.data.before(given), given)
    rows: list[dict[str, float]] = []
    networks = []
    for scores in learn(option, critic, data, test, given.generator):
        rows.append({"epoch": len(rows) + 1, **scores, **true.compared(critic)})
        networks.append(copy.deepcopy(critic.state_dict()))
        print(seed, " ".join(f"{k} {v:.3f}" for k, v in rows[-1].items()), flush=True)
    picked = {name: int(max(rows, key=lambda r: SCORE[name](r, int(r["epoch"])))["epoch"]) for name in CRITERIA}
    picked["best"] = int(max(rows, key=lambda r: r["advantage_optimal"])["epoch"])
    reached = {epoch: success(agent, networks[epoch - 1], iterations) for epoch in sorted(set(picked.values()))}
    found = {name: {**rounded(rows[epoch - 1]), "success": reached[epoch]} for name, epoch in picked.items()}
    print(seed, {name: (row["epoch"], round(row["success"], 3)) for name, row in found.items()}, flush=True)
    start = float(play(agent.policy, agent.config.task.make(128), 777, deterministic=False).success.mean())
    known = {f"true_value_{name}": round(float(value.mean()), 4) for name, value in true.value.items()}
    return {
        "seed": seed,
        "rows": len(data),
        "success_at_start": start,
        **known,
        "picked": found,
        "epochs": [rounded(r) for r in rows],
    }


def rounded(row: dict[str, float]) -> dict[str, float]:
    """Four digits are enough."""
    return {k: float(f"{v:.4g}") for k, v in row.items()}


def draw(studies: list[dict[str, Any]]) -> None:
    """Scores and truths along training, one line per seed, and the epochs picked."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "bellmark"
    figure, grid = plt.subplots(2, 3, figsize=(11, 6), sharex=True)
    for axes, name in zip(grid.flat, SHOWN, strict=True):
        for study_ in studies:
            rows = study_["epochs"]
            axes.plot([r["epoch"] for r in rows], [r[name] for r in rows], linewidth=1)
            for criterion, marker in (("td_loss", "v"), ("return_correlation", "o")):
                row = study_["picked"][criterion]
                axes.plot(row["epoch"], row[name], marker, color="k", markersize=5, fillstyle="none")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
    figure.suptitle("triangle: least held-out TD loss; circle: best held-out return correlation", fontsize=9)
    figure.savefig(FIGURE, bbox_inches="tight", metadata={"Date": None})


@click.command()
@click.option("--seed", "seeds", default=(1, 2, 3), show_default=True, multiple=True)
@click.option("--worlds", default=100, show_default=True, help="Environments of the start policy's rollout.")
@click.option("--epochs", default=45, show_default=True, help="Of IQL.")
@click.option("--states", default=150, show_default=True, help="Judged states.")
@click.option("--truth", "samples", default=48, show_default=True, help="Re-rollouts of each kind per judged state.")
@click.option("--iterations", default=25, show_default=True, help="Of AWR, each four passes over the rollout.")
@click.option("--save/--no-save", default=True, show_default=True, help="Write the result file and the figure.")
def main(
    seeds: tuple[int, ...], worlds: int, epochs: int, states: int, samples: int, iterations: int, save: bool
) -> None:
    """Compare criteria by which IQL's networks are picked."""
    torch.set_num_threads(1)
    settings = {"worlds": worlds, "states": states, "truth_samples": samples, "awr_iterations": iterations}
    for seed in seeds:
        began = time.process_time()
        found = study(seed, worlds, epochs, states, samples, iterations)
        if save:
            found["cpu_seconds"] = round(time.process_time() - began)
            studies = sorted([*former(settings, seed), found], key=lambda s: s["seed"])
            draw(studies)
            print(f"wrote {provenance.save('iql_selection', {**settings, 'studies': studies})}")


def former(settings: dict[str, int], seed: int) -> list[dict[str, Any]]:
    """The other seeds in the result file, if it is of the same settings."""
    path = provenance.RESULTS / "iql_selection.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    return [s for s in known.get("studies", []) if s["seed"] != seed and settings.items() <= known.items()]


if __name__ == "__main__":
    main()
