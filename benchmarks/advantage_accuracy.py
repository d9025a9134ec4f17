"""How exact an advantage from re-rollouts is per simulator step: the user's scheme, and what makes it cheaper.

    python benchmarks/advantage_accuracy.py     # six minutes of one core; writes results and docs/img
    python benchmarks/advantage_accuracy.py --states 20 --truth 32 --pairs 16 --no-save

States are what `pickcube_weak` sees on the sparse PickCube (6 worlds, ten steps in a row of each), the continuation is
`pickcube_optimal`, gamma 0.8: the setting of the `awr_rerollout` recipe. The truth is Q - V by `--truth` replicas of
each kind, cut where gamma^k leaves a thousandth. Every variant is a `Branch` option, asked many times for the same
states. `rmse` is its error against the truth (the truth's own variance taken off), `noise` the part that differs from
time to time, `rank` Spearman's correlation with the truth over states, mean over times. Steps are simulator control
steps per state. The user's script steps all replicas until the last one is done, 50 steps wherever one fails: that is
what its row is charged; what dropping them saves is the next row.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import provenance
import torch
from torch import Tensor

from bellmark.agents.finetune.advantages import Context
from bellmark.agents.finetune.agent import FinetuneAgent
from bellmark.agents.finetune.branches import Branch
from bellmark.agents.finetune.config import Finetune
from bellmark.agents.finetune.iql import rank_correlation
from bellmark.agents.finetune.rollout import Rollout
from bellmark.cli.families import resolve
from bellmark.train.families import load_start

USER: dict[str, Any] = {"horizon": "fresh", "tolerance": 1e-6, "noise": {"kind": "independent"}}
CUT: dict[str, Any] = {"horizon": "fresh", "tolerance": 0.01, "noise": {"kind": "common"}}
EPISODE = 50
WORLDS, LATER = 6, 6  # where judged states come from, and how many steps later each world's begin than the last's
FIGURE = Path(__file__).parents[1] / "docs" / "img" / "advantage_accuracy.svg"


@dataclass(frozen=True)
class Variant:
    """A way to estimate: asked for `n_q` and `n_v` replicas at a time, judged on means of `times` of them."""

    scheme: str
    options: dict[str, Any]
    n: tuple[int, int] = (1, 1)
    times: tuple[int, ...] = (1,)
    lock_step: bool = False  # charged for every replica until the last one is done
    critic: bool = False  # needs values

    def source(self) -> Branch:
        """The advantage source."""
        return Branch.model_validate({**self.options, "n_q": self.n[0], "n_v": self.n[1], "worlds": 4096})


def variants() -> list[Variant]:
    """The user's scheme and each saving, one after the other."""
    many = (1, 2, 4, 8, 16)
    mirrored = {**CUT, "noise": {"kind": "antithetic"}}
    found = [
        Variant("user's MC", USER, times=many, lock_step=True),
        Variant("finished dropped", USER, times=many),
        Variant("horizon by gamma", {**CUT, "noise": {"kind": "independent"}}, times=many),
        Variant("common noise", CUT, times=many),
        Variant("antithetic noise", mirrored, (2, 2), (1, 2, 4, 8)),
    ]
    needed = {**CUT, "allocation": {"kind": "needed"}}
    found += [Variant("adaptive samples", needed, (n, n)) for n in (4, 8)]
    both = {**needed, "noise": mirrored["noise"]}
    found += [Variant("adaptive, antithetic", both, (n, n)) for n in (4, 8)]
    for steps in (1, 4, 8, 12):
        beyond = {**CUT, "beyond": {"kind": "bootstrap", "steps": steps}}
        n = (1, 16) if steps == 1 else (4, 4)  # the same action leads to the same state: one is enough
        found.append(Variant(f"critic after {steps}", beyond, n, (1, 4) if steps > 1 else (1,), critic=True))
    both = {**needed, "beyond": {"kind": "bootstrap", "steps": 8}}
    found += [Variant("adaptive, critic after 8", both, (n, n), critic=True) for n in (4, 8)]
    for steps in (4, 8):
        beyond = {**CUT, "beyond": {"kind": "corrected", "steps": steps, "going_on": 1}}
        found.append(Variant(f"corrected after {steps}", beyond, (4, 4), (1, 2, 4), critic=True))
    return found


@dataclass
class Ground:
    """The states that are judged, and what sources draw on."""

    rollout: Rollout
    rows_TN: Tensor  # the judged states
    context: Context
    critic_steps: float  # simulator steps that the critic learned from, per collected state


def ground(states: int, seed: int) -> Ground:
    """States of one iteration of the recipe, and a critic that learned from what follows on others of them."""
    config = resolve("awr_rerollout", ["critic=continued", "critic.epochs=20", f"seed={seed}"]).config
    assert isinstance(config, Finetune)
    agent = FinetuneAgent(config, load_start(config))
    rollout = agent.collect()
    config.critic.fit(agent.critic, agent.lesson(rollout))  # type: ignore[arg-type]  # built by the same option
    steps, worlds = rollout.reward_TN.shape
    times_TN = torch.arange(states // WORLDS)[:, None] + LATER * torch.arange(WORLDS)
    rows_TN = times_TN * worlds + torch.arange(0, worlds, worlds // WORLDS)[:WORLDS]
    assert int(times_TN.max()) < steps
    return Ground(rollout, rows_TN, agent.context, agent.gathered_steps / (steps * worlds))


def select(rollout: Rollout, rows_TN: Tensor) -> Rollout:
    """The indexed states as a rollout of their own."""
    columns: dict[str, Any] = {k: v.flatten(0, 1)[rows_TN] for k, v in vars(rollout).items() if isinstance(v, Tensor)}
    every = type(rollout.snapshots[0]).concatenate(rollout.snapshots)
    return replace(rollout, **columns, snapshots=[every.take(rows.numpy()) for rows in rows_TN])


def ask(source: Branch, at: Ground, times: int) -> tuple[Tensor, Tensor, float]:
    """Advantages and values (times, states), and simulator steps per state and time."""
    length, worlds = at.rows_TN.shape
    estimate = source.estimate(select(at.rollout, at.rows_TN.repeat(1, times)), at.context)
    found = [
        x.view(length, times, worlds).transpose(0, 1).flatten(1) for x in (estimate.advantage, estimate.value_target)
    ]
    return found[0], found[1], estimate.branch_steps / (times * length * worlds)


def judged(advantage: Tensor, truth: Tensor, truth_variance: float) -> dict[str, float]:
    """Errors of (times, states) estimates."""
    error = (advantage - truth).square().mean().item() - truth_variance
    ranks = [rank_correlation(a, truth).item() for a in advantage]
    return {
        "rmse": round(max(error, 0.0) ** 0.5, 5),
        "noise": round(advantage.var(0).mean().sqrt().item(), 5),
        "rank": round(float(np.mean(ranks)), 4),
    }


def measure(v: Variant, at: Ground, pairs: int, truth: Tensor, truth_variance: float) -> list[dict[str, Any]]:
    """A row for each number of times whose mean is judged."""
    asked = max(1, pairs // max(v.n))
    advantage, _, steps = ask(v.source(), at, asked)
    steps = float(EPISODE * sum(v.n)) if v.lock_step else steps
    once = at.critic_steps if v.critic else 0.0
    rows = []
    for times in v.times:
        whole = advantage[: asked // times * times].view(-1, times, advantage.shape[1]).mean(1)
        at_n = {
            "scheme": v.scheme,
            "n_q": v.n[0] * times,
            "n_v": v.n[1] * times,
            "steps": round(steps * times + once, 1),
        }
        rows.append({**at_n, **judged(whole, truth, truth_variance)})
        said = rows[-1]
        errors = "".join(f"{k:>8} {said[k]:.4f}" for k in ("rmse", "noise", "rank"))
        print(f"{v.scheme:<26}{said['n_q']:>3} + {said['n_v']:>2}{said['steps']:>9.1f} steps{errors}", flush=True)
    return rows


def cheapest(rows: list[dict[str, Any]]) -> tuple[float, list[dict[str, Any]]]:
    """The error of the user's MC16, and the steps at which each scheme is as exact, as its error falls with n^-1/2.

    What differs between the independent schemes is their cost, so the error is the mean over them all. A scheme whose
    bias alone is more has no such number of steps.
    """
    alike = [r for r in rows if r["scheme"] in ("user's MC", "finished dropped", "horizon by gamma")]
    goal = float(np.mean([r["rmse"] ** 2 * r["n_v"] for r in alike]) / 16) ** 0.5
    found = []
    for scheme in dict.fromkeys(r["scheme"] for r in rows):
        mine = [r for r in rows if r["scheme"] == scheme]
        bias2 = (
            max(0.0, float(np.mean([r["rmse"] ** 2 - r["noise"] ** 2 for r in mine]))) if "critic" in scheme else 0.0
        )
        unit = float(np.mean([(r["rmse"] ** 2 - bias2) * r["steps"] for r in mine]))
        steps = round(unit / (goal**2 - bias2), 1) if goal**2 > bias2 else None
        found.append({"scheme": scheme, "steps": steps, "bias": round(bias2**0.5, 4)})
    return goal, found


def draw(rows: list[dict[str, Any]], goal: float) -> None:
    """Error against steps, one line per scheme, logarithmic."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "bellmark"
    figure, axes = plt.subplots(figsize=(9, 5.5))
    for scheme in dict.fromkeys(r["scheme"] for r in rows):
        mine = [r for r in rows if r["scheme"] == scheme]
        axes.plot([r["steps"] for r in mine], [r["rmse"] for r in mine], "o-", label=scheme, markersize=4)
    axes.axhline(goal, color="0.6", linewidth=0.8, linestyle="--")
    axes.axvline(EPISODE * 32 / 10, color="0.6", linewidth=0.8, linestyle="--")
    axes.set(xscale="log", yscale="log", xlabel="simulator steps per state", ylabel="error of the advantage (rmse)")
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(FIGURE, bbox_inches="tight", metadata={"Date": None})


@click.command()
@click.option("--states", default=60, show_default=True, help="States judged, in sixes.")
@click.option("--truth", "samples", default=512, show_default=True, help="Replicas of each kind for the truth.")
@click.option(
    "--pairs", default=64, show_default=True, help="Replicas of each kind that a variant is asked for in all."
)
@click.option("--seed", default=1, show_default=True)
@click.option("--save/--no-save", default=True, show_default=True, help="Write the result file and the figure.")
def main(states: int, samples: int, pairs: int, seed: int, save: bool) -> None:
    """Measure how exact re-rollout advantages are."""
    torch.set_num_threads(1)
    began = time.process_time()
    at = ground(states, seed)
    sampled, values, steps = ask(Variant("", {**CUT, "tolerance": 1e-3}).source(), at, samples)
    truth, truth_variance = sampled.mean(0), (sampled.var(0) / samples).mean().item()
    wrong = at.context.critic(at.rollout.obs_TNO.flatten(0, 1)[at.rows_TN]).flatten() - values.mean(0)
    about = {
        "states": at.rows_TN.numel(),
        "truth_samples": samples,
        "truth_steps_per_state": round(steps * samples),
        "truth_noise": truth_variance**0.5,
        "advantage_std": truth.std().item(),
        "value_std": values.mean(0).std().item(),
        "critic_rmse": wrong.square().mean().sqrt().item(),
        "critic_steps_per_state": at.critic_steps,
    }
    print(", ".join(f"{k} {v:.4g}" for k, v in about.items()), flush=True)
    rows = [row for v in variants() for row in measure(v, at, pairs, truth, truth_variance)]
    goal, as_exact = cheapest(rows)
    for row in as_exact:
        print(f"as exact as MC16 ({goal:.4f}): {row['scheme']:<26} {row['steps']} steps, bias {row['bias']}")
    if save:
        draw(rows, goal)
        cpu = {"cpu_seconds": round(time.process_time() - began)}
        result = {**about, **cpu, "mc16_rmse": goal, "rows": rows, "as_exact_as_mc16": as_exact}
        print(f"wrote {provenance.save('advantage_accuracy', result)}")


if __name__ == "__main__":
    main()
