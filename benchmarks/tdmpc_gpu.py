"""What acting and updating cost on a GPU in the tdmpc family, beside TD-MPC2 written plainly, by the clock.

    python benchmarks/tdmpc_gpu.py                        # sizes 1 and 5; writes benchmarks/results/tdmpc_gpu.json
    python benchmarks/tdmpc_gpu.py --compiled             # the plain program under torch.compile too, as published

Kernels launched one by one against the same ones replayed as CUDA graphs (`BELLMARK_CUDA_GRAPHS=1`), with products of
single precision, of TF32 (`precision=half`) and of bfloat16. Batch and plans as in `tdmpc_speed.py`; `plain` is
`plain_tdmpc2.py`. Contenders take turns, each turn ends when the device is done, the median counts. `--device cpu` runs
all of it without a GPU, where graphs change nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from unittest.mock import patch

import click
import plain_tdmpc2
import provenance
import torch
from tdmpc_speed import ACTIONS, OBSERVATIONS, batch, cadence
from torch.utils._pytree import tree_map

from bellmark.agents.api import Spec
from bellmark.agents.tdmpc.agent import TdmpcAgent
from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.agents.tdmpc.model import SIZES
from bellmark.cli.families import resolve

WAYS = {  # name: (precision, whether kernels are replayed)
    "one by one": ("single", False),
    "graphs": ("single", True),
    "graphs, TF32": ("half", True),
    "graphs, bfloat16": ("bfloat16", True),
}
WARM_UP = 5

Turn = Callable[[], object]


def ours(recipe: str, size: int, device: str, precision: str, graphs: bool) -> tuple[Turn, Turn]:
    """A recipe's act, and the updates of a step; none of them reanalyses."""
    config = resolve(recipe, [f"model.size={size}", f"precision={precision}"]).config
    assert isinstance(config, Tdmpc)
    with patch.dict(os.environ, {"BELLMARK_CUDA_GRAPHS": str(int(graphs))}):
        agent = TdmpcAgent(config, Spec((OBSERVATIONS,), False, ACTIONS, False, 500, 2), device)
    agent.updates = agent.schedule.pretrain + 1
    data = tree_map(lambda x: x.to(device), batch())
    places = cadence(agent, max(1, round(agent.schedule.per_step))).values()
    obs, first, state = torch.randn(1, OBSERVATIONS), torch.zeros(1, dtype=torch.bool), agent.policy.initial(1)
    host = torch.Generator().manual_seed(0)

    def act() -> None:
        agent.policy.act(obs, first, state, deterministic=False, generator=host).action.cpu()

    def update() -> None:
        for at in (at for same in places for at in same):
            agent.updates = at
            agent.update(data, 1)

    return act, update


def plain(size: int, device: str, compiled: bool) -> tuple[Turn, Turn]:
    """The peer's act and update."""
    torch.set_default_device(device)
    peer = plain_tdmpc2.PlainTdmpc2(OBSERVATIONS, ACTIONS, SIZES[size])
    data, obs = batch(), torch.randn(1, OBSERVATIONS)
    inputs = (data.obs, data.action[:-1], data.reward[1:, :, None])
    make: Callable[[Turn], Turn] = partial(torch.compile, mode="reduce-overhead") if compiled else lambda f: f
    act, update = make(lambda: peer.act(obs)), make(lambda: peer.update(*inputs))
    torch.set_default_device("cpu")

    def there(f: Turn) -> None:
        with torch.device(device):
            f()

    return partial(there, act), partial(there, update)


def seconds(turn: Turn, device: str) -> float:
    """Of one turn, to its last kernel's end."""
    began = time.perf_counter()
    turn()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


@click.command()
@click.option("--size", "sizes", type=click.Choice(["1", "5", "19", "48"]), multiple=True, default=["1", "5"])
@click.option("--recipe", "recipes", multiple=True, default=["tdmpc2", "svg_ensemble"], show_default=True)
@click.option("--device", default="cuda:0", show_default=True)
@click.option("--turns", default=30, show_default=True, help="Turns of each; they alternate, and the median counts.")
@click.option("--compiled", is_flag=True, help="The plain program under torch.compile too (minutes).")
@click.option("--save/--no-save", default=True, show_default=True, help="Write the result file.")
def main(sizes: tuple[str, ...], recipes: tuple[str, ...], device: str, turns: int, compiled: bool, save: bool) -> None:
    """Measure the tdmpc family's speed on a GPU."""
    contenders: dict[str, tuple[Turn, Turn]] = {}
    for size in map(int, sizes):
        contenders[f"plain {size}M"] = plain(size, device, False)
        if compiled:
            contenders[f"plain {size}M, compiled"] = plain(size, device, True)
        for recipe in recipes:
            for name, (precision, graphs) in WAYS.items():
                contenders[f"{recipe} {size}M, {name}"] = ours(recipe, size, device, precision, graphs)
    spent: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contenders}
    for _ in range(WARM_UP + turns):
        for name, parts in contenders.items():
            for turn, kept in zip(parts, spent[name], strict=True):
                kept.append(seconds(turn, device))
    rows = {name: [round(1e3 * median(part[WARM_UP:]), 2) for part in parts] for name, parts in spent.items()}
    print(f"{'milliseconds':<36}{'act':>9}{'update':>9}   times as fast as plain")
    for name, (act, update) in rows.items():
        peer = rows["plain " + name.split(",")[0].split(" ")[1]]
        print(f"{name:<36}{act:>9.2f}{update:>9.2f}{peer[0] / act:>10.1f}{peer[1] / update:>7.1f}")
    if save:
        gpu = torch.cuda.get_device_name(device) if device != "cpu" else "none"
        print(f"wrote {provenance.save('tdmpc_gpu', {'device': gpu, 'turns': turns, 'act_and_update_ms': rows})}")


if __name__ == "__main__":
    main()
