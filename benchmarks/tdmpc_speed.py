"""What acting, updating and reanalysing cost in the tdmpc family, beside TD-MPC2 written plainly and the peak.

    python benchmarks/tdmpc_speed.py                    # every recipe, sizes 1 and 5; writes benchmarks/results/
    python benchmarks/tdmpc_speed.py --only svg_ensemble --size 5 --turns 3
    python benchmarks/tdmpc_speed.py --precision bfloat16  # ours with such factors (or half); the peer stays as it is

Batch 256, slices of 3 steps, 512 plans, 6 iterations, 24 observations, 6 actions; synthetic numbers, so that no task
is needed. FLOPs are those of matrix products as PyTorch counts them. The peak is measured in the same run: a product
of 512 x 512 matrices, in fp32, by our passes of sixteen bits, and with `torch.set_float32_matmul_precision("medium")`,
which uses bf16 units (AMX) on processors that have them. Seconds of the process are given beside those of the clock: on
a shared machine they are what can be compared. `plain` is `plain_tdmpc2.py`, which stands for the official code.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_args
from unittest.mock import patch

import click
import plain_tdmpc2
import provenance
import torch
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bellmark.agents.api import Batch, Spec
from bellmark.agents.tdmpc.agent import TdmpcAgent
from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.agents.tdmpc.model import SIZES
from bellmark.cli.families import resolve
from bellmark.ops import native, products
from bellmark.ops.products import Precision

OBSERVATIONS, ACTIONS, HORIZON, SLICES = 24, 6, 3, 256
RECIPES = ("tdmpc2", "bmpc", "svg_ensemble")
ACT_GOAL, UPDATE_GOAL, BMPC_GOAL, ENSEMBLE_GOAL = 4.0, 3.0, 3.0, 2.5


class Products(TorchDispatchMode):
    """Adds up the FLOPs of matrix products, those of backward passes too."""

    flops = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation; where it is a product, count it."""
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


@dataclass
class Timed:
    """One thing that is timed: the best turn by the clock and the best by the processor."""

    name: str
    turn: Callable[[], object]
    per_turn: int = 1  # how often the thing is done in a turn
    per_step: float = 1.0  # how often it is done in an environment step
    flops: float = 0.0
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def count(self) -> float:
        """FLOPs of one of it."""
        with Products() as counter:
            self.turn()
        return counter.flops / self.per_turn

    def go(self) -> None:
        """One turn."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.turn()
        self.wall.append((time.perf_counter() - wall) / self.per_turn)
        self.cpu.append((time.process_time() - cpu) / self.per_turn)

    def row(self, peak: float) -> dict[str, float]:
        """What is stored and printed: milliseconds, GFLOP, GFLOP/s and the share of the peak."""
        best, cpu = min(self.wall), min(self.cpu)
        return {
            "wall_ms": round(1e3 * best, 1),
            "median_ms": round(1e3 * sorted(self.wall)[len(self.wall) // 2], 1),
            "cpu_ms": round(1e3 * cpu, 1),
            "gflop": round(self.flops / 1e9, 2),
            "gflop_per_s": round(self.flops / 1e9 / best, 1),
            "of_peak": round(self.flops / 1e9 / best / peak, 3),
            "per_step": self.per_step,
        }


def batch() -> Batch:
    """A batch of random numbers in the shape of replay."""
    shape = (HORIZON + 1, SLICES)
    return Batch(
        obs=torch.randn(*shape, OBSERVATIONS),
        action=torch.rand(*shape, ACTIONS) * 2 - 1,
        reward=torch.rand(shape),
        terminated=torch.zeros(shape, dtype=torch.bool),
        first=torch.zeros(shape, dtype=torch.bool),
        extras={"expert": torch.cat((torch.zeros(*shape, ACTIONS), torch.ones(*shape, ACTIONS)), -1)},
        rows=torch.arange(HORIZON * SLICES + SLICES).view(shape),
    )


def agent_of(recipe: str, size: int, precision: Precision) -> TdmpcAgent:
    """A learner past its pretraining."""
    config = resolve(recipe, [f"model.size={size}", f"precision={precision}"]).config
    assert isinstance(config, Tdmpc)
    agent = TdmpcAgent(config, Spec((OBSERVATIONS,), False, ACTIONS, False, 500, 2), "cpu")
    agent.updates = agent.schedule.pretrain + 1
    return agent


def ours(recipe: str, size: int, states: int, precision: Precision) -> list[Timed]:
    """A recipe's act, update and, where it reanalyses, reanalysis of one state."""
    agent, data = agent_of(recipe, size, precision), batch()
    obs, first, state = torch.randn(1, OBSERVATIONS), torch.zeros(1, dtype=torch.bool), agent.policy.initial(1)
    pace = max(1, round(agent.schedule.per_step))

    def act() -> None:
        agent.policy.act(obs, first, state, deterministic=False, generator=agent.generator)

    def update(at: int) -> None:
        agent.updates = at
        agent.update(data, 1)

    name = f"{recipe} {size}M"
    timed = [Timed(f"{name} act", act)]
    for due, places in cadence(agent, pace).items():
        timed.append(Timed(f"{name} update {due}", partial(update, places[0]), per_step=len(places)))
    if agent.config.reanalysis.kind == "lazy":
        lazy = agent.config.reanalysis
        z = agent.nets.world.encode(torch.randn(states, OBSERVATIONS)).detach()

        def replan() -> None:
            with products.precision(precision):
                agent.experts.replan(z, agent.generator)

        timed.append(Timed(f"{name} replan a state", replan, states, lazy.states / lazy.interval))
    return timed


def cadence(agent: TdmpcAgent, pace: int) -> dict[str, list[int]]:
    """What learns in the updates of a step, none of which reanalyses: parts -> numbers of such updates."""
    due = agent.config.cadence.due
    start = agent.updates + pace - agent.updates % pace
    found: dict[str, list[int]] = {}
    for at in range(start, start + pace):
        parts = [part for part in ("world", "value", "policy") if due(part, at)]
        found.setdefault("+".join(parts), []).append(at)
    return found


def plain(size: int) -> list[Timed]:
    """The peer's act and update."""
    peer = plain_tdmpc2.PlainTdmpc2(OBSERVATIONS, ACTIONS, SIZES[size])
    data, obs = batch(), torch.randn(1, OBSERVATIONS)
    update = (data.obs, data.action[:-1], data.reward[1:, :, None])
    return [
        Timed(f"plain {size}M act", lambda: peer.act(obs)),
        Timed(f"plain {size}M update world+value+policy", lambda: peer.update(*update)),
    ]


def peaks(turns: int) -> dict[str, float]:
    """GFLOP/s of a 512 x 512 product: fp32 as it is, fp32 at medium precision, bf16 tensors, ours of sixteen bits."""
    found = {}
    kinds: tuple[tuple[str, str, torch.dtype, Precision], ...] = (
        ("fp32", "highest", torch.float32, "single"),
        ("medium", "medium", torch.float32, "single"),
        ("bf16", "highest", torch.bfloat16, "single"),
        ("half", "highest", torch.float32, "half"),
        ("bfloat16", "highest", torch.float32, "bfloat16"),
    )
    for name, level, dtype, ours in kinds:
        if not products.available(ours):
            continue
        torch.set_float32_matmul_precision(level)
        a, b = torch.randn(512, 512).to(dtype), torch.randn(512, 512).to(dtype)
        best = float("inf")
        with products.precision(ours):
            for _ in range(20 * turns):
                began = time.perf_counter()
                products.mm(a, b)
                best = min(best, time.perf_counter() - began)
        found[name] = round(2 * 512**3 / best / 1e9, 1)
    torch.set_float32_matmul_precision("highest")
    return found


class Passes:
    """The compiled passes, each call of one seen by the profiler."""

    library = native.library()

    def __getattr__(self, name: str) -> Callable[..., None]:
        """A pass by its name."""

        def run(*arguments: object) -> None:
            with record_function(name):
                getattr(self.library, name)(*arguments)

        return run


def where_it_goes(timed: Timed) -> dict[str, float]:
    """Processor seconds by kind of operation: the profiler's shares of the best turn."""
    kinds = {
        "perceptrons of sixteen bits, norms and all": ("_perceptron",),
        "matrix products": ("addmm", "bmm", "mm"),  # half_sgemm and bfloat_sgemm among them
        "layer norms and Mish": ("layer_norm", "sigmoid", "addcmul", "rsub"),
        "SimNorm and readout": ("softmax", "logsumexp", "simnorm", "mean_bin"),
        "optimiser and slow copies": ("_fused_adam", "_foreach", "lerp"),
        "dropout": ("bernoulli", "index_fill", "randint"),
    }
    with patch.object(native, "library", Passes), profile(activities=[ProfilerActivity.CPU]) as recorded:
        timed.turn()
    spent = dict.fromkeys([*kinds, "all else"], 0.0)
    for event in recorded.key_averages():
        kind = next((k for k, words in kinds.items() if any(word in event.key for word in words)), "all else")
        spent[kind] += event.self_cpu_time_total
    scale = min(timed.cpu) / sum(spent.values())
    return {kind: round(scale * time, 4) for kind, time in spent.items()}


def goals(rows: dict[str, dict[str, float]]) -> list[str]:
    """Every goal that these rows can speak to, in processor seconds."""

    def cpu(*names: str) -> float:
        """Of an environment step: all rows whose names begin so."""
        return sum(row["cpu_ms"] / 1e3 * row["per_step"] for name, row in rows.items() if name.startswith(names))

    said = []
    for size in SIZES:
        mine, peer, bmpc, ensemble = (f"{who} {size}M" for who in ("tdmpc2", "plain", "bmpc", "svg_ensemble"))
        if cpu(mine) and cpu(peer):
            for what, goal in (("act", ACT_GOAL), ("update", UPDATE_GOAL)):
                ratio = cpu(f"{peer} {what}") / cpu(f"{mine} {what}")
                said.append(f"{mine} {what}: {ratio:.2f}x faster than the plain one (goal {goal} at 5M)")
        if cpu(bmpc) and cpu(mine):
            said.append(f"{bmpc} step: {cpu(bmpc):.2f} cpu s, {cpu(bmpc) / cpu(mine):.2f}x tdmpc2's (goal {BMPC_GOAL})")
        if cpu(bmpc) and cpu(peer):
            said.append(f"{bmpc} step: {cpu(bmpc) / cpu(peer):.2f}x the plain TD-MPC2's")
        if cpu(ensemble):
            said.append(f"{ensemble} step: {cpu(ensemble):.2f} cpu s (goal {ENSEMBLE_GOAL} at 5M)")
    return said


@click.command()
@click.option("--size", "sizes", type=click.Choice(["1", "5", "19"]), multiple=True, default=["1", "5"])
@click.option("--only", type=click.Choice([*RECIPES, "plain"]), multiple=True, help="These alone; else all.")
@click.option("--turns", default=10, show_default=True, help="Turns of each; they alternate, and the best counts.")
@click.option("--states", default=12, show_default=True, help="States reanalysed in a turn.")
@click.option("--threads", default=1, show_default=True, help="Threads of PyTorch.")
@click.option("--precision", type=click.Choice(get_args(Precision)), default="single", help="Of our products.")
@click.option("--medium", is_flag=True, help="Products at medium precision (bf16 units where there are any).")
@click.option("--save/--no-save", default=True, show_default=True, help="Write the result file.")
def main(
    sizes: tuple[str, ...],
    only: tuple[str, ...],
    turns: int,
    states: int,
    threads: int,
    precision: Precision,
    medium: bool,
    save: bool,
) -> None:
    """Measure the tdmpc family's speed."""
    if not products.available(precision):
        raise SystemExit(f"--precision {precision} needs a processor with {products.INSTRUCTIONS[precision]}")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    peak = peaks(turns)
    torch.set_float32_matmul_precision("medium" if medium else "highest")
    contenders: list[Timed] = []
    for size in map(int, sizes):
        for recipe in only or (*RECIPES, "plain"):
            made = plain(size) if recipe == "plain" else ours(recipe, size, states, precision)
            # Products of sixteen bits are C's, which nobody counts: those of single precision are as many.
            counted = made if recipe == "plain" or precision == "single" else ours(recipe, size, states, "single")
            for timed, twin in zip(made, counted, strict=True):
                timed.turn()
                timed.flops = twin.count()
            contenders += made
    for _ in range(turns):
        for timed in contenders:
            timed.go()
    single = "medium" if medium else "fp32"
    mine = peak[single if precision == "single" else precision]
    rows = {t.name: t.row(peak["fp32"] if t.name.startswith("plain") else mine) for t in contenders}
    split = {t.name: where_it_goes(t) for t in contenders}
    report(peak, rows, split)
    if save:
        result: dict[str, Any] = {"threads": threads, "medium": medium, "turns": turns, "peak_gflop_per_s": peak}
        name = f"tdmpc_speed{'_medium' if medium else ''}{'' if precision == 'single' else f'_{precision}'}"
        print(f"wrote {provenance.save(name, {**result, 'rows': rows, 'cpu_seconds_by_kind': split})}")


def report(peak: dict[str, float], rows: dict[str, dict[str, float]], split: dict[str, dict[str, float]]) -> None:
    """Print the tables and what they say of the goals."""
    print("peak GFLOP/s:", ", ".join(f"{name} {speed:,.0f}" for name, speed in peak.items()))
    print(f"{'':<40}{'best ms':>9}{'median':>9}{'cpu ms':>9}{'GFLOP':>8}{'GFLOP/s':>9}{'of peak':>9}")
    for name, row in rows.items():
        cells = [row["wall_ms"], row["median_ms"], row["cpu_ms"], row["gflop"], row["gflop_per_s"]]
        figures = "".join(f"{x:>9.1f}" for x in cells[:3])
        print(f"{name:<40}{figures}{cells[3]:>8.2f}{cells[4]:>9.1f}{row['of_peak']:>9.0%}")
    print("\ncpu seconds by kind of operation")
    kinds = list(next(iter(split.values())))
    print(f"{'':<40}" + "".join(f"{kind.split(' ')[0]:>11}" for kind in kinds))
    for name, spent in split.items():
        print(f"{name:<40}" + "".join(f"{spent[kind]:>11.3f}" for kind in kinds))
    print("\n" + "\n".join(goals(rows)))


if __name__ == "__main__":
    main()
