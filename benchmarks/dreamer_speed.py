"""What updating and acting cost in the dreamer family, beside plain programs and the processor's peak.

    python benchmarks/dreamer_speed.py                   # all; writes benchmarks/results/dreamer_speed.json
    python benchmarks/dreamer_speed.py --turns 3 --no-save

The model of 637,381 parameters (size 1m on CartPole) at 8 x 16, 16 x 32 and 16 x 64 slices x rows, and the one that
sees pictures at 8 x 16, beside itself with doubled pictures drawn, in planes, before they are convolved; synthetic
batches, so that no task is needed, but for the data path, which steps CartPole, acts and draws from replay.
Contenders take turns; the best turn counts, by the process's own seconds: on a shared machine they are what can be
compared. FLOPs are those of matrix products as PyTorch counts them in the same update without the fused passes; the
peak is a product of 512 x 512 matrices in the same run. `plain` is `plain_dreamer.PlainDreamer`, operation for
operation what an eager port of the official code computes; `users` restates the users' earlier update, beside ours of
`dreamer_protocol` with his eleven bins, which is his model, and with the recipe's 255.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import click
import plain_dreamer
import provenance
import torch
import torch.nn.functional as F
from tdmpc_speed import Products

from bellmark.agents.api import Batch, Spec
from bellmark.agents.dreamer.agent import DreamerAgent
from bellmark.agents.dreamer.config import Dreamer
from bellmark.cli.families import resolve
from bellmark.nets.convolution import Convolution
from bellmark.ops import native
from bellmark.train.online import Online
from bellmark.train.worlds import spec_of

SIZES = ((8, 16), (16, 32), (16, 64))
CARTPOLE = Spec((4,), False, 2, True, 500, 1)
PICTURES = Spec((64, 64, 3), True, 2, True, 500, 1)
OPEN = ("gating.warmup=0",)  # the protocol's agent past its warm-up
ELEVEN = ("model.bins=11", "model.bin_limit=5")  # as the users' earlier agent had
ACTS = 200
GOAL_UPDATES, GOAL_ACTS, GOAL_PEER, GOAL_USERS = 5.0, 2000.0, 2.0, 10.0


@dataclass
class Timed:
    """One thing that is timed: seconds of the process and of the clock, each turn's."""

    name: str
    turn: Callable[[], object]
    per_turn: int = 1  # how often the thing is done in a turn
    gflop: float = 0.0
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def go(self) -> None:
        """One turn."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.turn()
        self.cpu.append((time.process_time() - cpu) / self.per_turn)
        self.wall.append((time.perf_counter() - wall) / self.per_turn)

    def row(self, peak: float) -> dict[str, float]:
        """What is stored and printed."""
        best, ordered = min(self.cpu), sorted(self.cpu)
        return {
            "cpu_ms": round(1e3 * best, 3),
            "median_cpu_ms": round(1e3 * ordered[len(ordered) // 2], 3),
            "wall_ms": round(1e3 * min(self.wall), 3),
            "per_cpu_second": round(1 / best, 2),
            "gflop": round(self.gflop, 2),
            "of_peak": round(self.gflop / best / peak, 3),
        }


def learner(recipe: str, slices: int, rows: int, *overrides: str, spec: Spec = CARTPOLE) -> DreamerAgent:
    """A learner past its warm-up."""
    config = resolve(recipe, [f"batch={slices}", f"length={rows}", *overrides]).config
    assert isinstance(config, Dreamer)
    made = DreamerAgent(config, spec, "cpu")
    made.updates = 10_000
    return made


def batch(made: DreamerAgent) -> Batch:
    """Random rows in the shape of replay."""
    generator = torch.Generator().manual_seed(0)
    shape = (made.window.length, made.window.batch)
    if made.spec.pixels:
        obs = torch.randint(256, (*shape, *made.spec.obs_shape), generator=generator, dtype=torch.uint8)
    else:
        obs = torch.randn(*shape, *made.spec.obs_shape, generator=generator)
    return Batch(
        obs=obs,
        action=torch.nn.functional.one_hot(torch.randint(2, shape, generator=generator), 2).float(),
        reward=torch.ones(shape),
        terminated=torch.rand(shape, generator=generator) < 0.01,
        first=torch.rand(shape, generator=generator) < 0.02,
        extras={name: value.expand(*shape, *value.shape) for name, value in made.blank.items()},
        rows=torch.arange(shape[0] * shape[1]).view(shape),
    )


@contextmanager
def unfused() -> Iterator[None]:
    """PyTorch's own operations, whose products can be counted."""
    with mock.patch.object(native, "library", return_value=None):
        yield


def updates(slices: int, rows: int) -> list[Timed]:
    """Ours, ours without the fused passes, and the plain one."""
    made, plain = learner("dreamer_cartpole_state", slices, rows), plain_dreamer.PlainDreamer(4, 2)
    data = batch(made)

    def ours() -> None:
        made.update(data, 1)

    def ours_unfused() -> None:
        with unfused():
            made.update(data, 1)

    theirs = (data.obs[1:], data.action[:-1], data.reward[1:], data.terminated[1:], data.first[1:])
    found = [Timed(f"{slices} x {rows} ours", ours)]
    with unfused(), Products() as counter:
        made.update(data, 1)
    found[0].gflop = counter.flops / 1e9
    plain.update(*theirs)
    with Products() as counter:
        plain.update(*theirs)
    return [
        *found,
        Timed(f"{slices} x {rows} ours without C", ours_unfused, gflop=found[0].gflop),
        Timed(f"{slices} x {rows} plain", lambda: plain.update(*theirs), gflop=counter.flops / 1e9),
    ]


def in_planes(layer: Convolution, x: torch.Tensor) -> torch.Tensor:
    """The convolution as it is written down: the doubled picture is drawn, a channel is a plane."""
    if layer.doubles:
        x = F.interpolate(x, scale_factor=2, mode="nearest")
    return F.conv2d(x.contiguous(), layer.weight, layer.bias, padding=2)


def pictures(slices: int, rows: int) -> list[Timed]:
    """Ours and ours with plain convolutions."""
    made = learner("dreamer_cartpole_pixels", slices, rows, spec=PICTURES)
    data = batch(made)

    def plain() -> None:
        with mock.patch.object(Convolution, "forward", in_planes):
            made.update(data, 1)

    found = Timed(f"{slices} x {rows} pictures ours", lambda: made.update(data, 1))
    with unfused(), Products() as counter:
        made.update(data, 1)
    found.gflop = counter.flops / 1e9
    return [found, Timed(f"{slices} x {rows} pictures in planes", plain)]


def users(slices: int, rows: int) -> list[Timed]:
    """The users' model: our update of it, of the recipe with more bins, and theirs."""
    made, more = (learner("dreamer_protocol", slices, rows, *OPEN, *bins) for bins in (ELEVEN, ()))
    data, theirs = batch(made), plain_dreamer.UsersUpdate(4, 2)
    given = (data.obs, data.action, data.reward, data.terminated)
    found = [
        Timed(f"{slices} x {rows} users' model ours", lambda: made.update(data, 30_000)),
        Timed(f"{slices} x {rows} protocol ours", lambda: more.update(data, 30_000)),
        Timed(f"{slices} x {rows} users", lambda: theirs.update(*given)),
    ]
    for timed, agent in zip(found, (made, more), strict=False):
        with unfused(), Products() as counter:
            agent.update(data, 30_000)
        timed.gflop = counter.flops / 1e9
    return found


def acting(worlds: int) -> list[Timed]:
    """Calls of the policy, ours and the plain one."""
    made, plain = learner("dreamer_cartpole_state", 8, 16), plain_dreamer.PlainDreamer(4, 2)
    obs, first, state = torch.randn(worlds, 4), torch.zeros(worlds, dtype=torch.bool), made.policy.initial(worlds)
    former = (torch.zeros(worlds, 512), torch.zeros(worlds, 128), torch.zeros(worlds, 2))

    def ours() -> None:
        for _ in range(ACTS):
            made.policy.act(obs, first, state, deterministic=False, generator=made.generator)

    def theirs() -> None:
        for _ in range(ACTS):
            plain.act(obs, *former)

    return [Timed(f"act in {worlds}, ours", ours, ACTS), Timed(f"act in {worlds}, plain", theirs, ACTS)]


def collecting(folder: Path) -> Timed:
    """The data path of `dreamer_cartpole_state`: step the world, act, store, draw a batch; updates do nothing."""
    config = resolve("dreamer_cartpole_state", []).config
    assert isinstance(config, Dreamer)
    worlds = config.task.make(config.collect.envs)
    made = DreamerAgent(config, spec_of(worlds), "cpu")
    online = Online(config, made, worlds, folder, "cpu")

    def steps() -> None:
        with mock.patch.object(made, "update", return_value=({}, None)):
            while not online.iterate():  # to the next row of the record
                pass

    return Timed("a step of CartPole with its share of replay", steps, config.collect.log_every)


def peak(turns: int) -> float:
    """GFLOP per process second of a 512 x 512 product."""
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    best = float("inf")
    for _ in range(5 * turns):
        began = time.process_time()
        for _ in range(20):
            a @ b
        best = min(best, (time.process_time() - began) / 20)
    return 2 * 512**3 / best / 1e9


def shares(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """The data path's share of a run of `dreamer_cartpole_state`, whose updates per step are its own."""
    config = resolve("dreamer_cartpole_state", []).config
    assert isinstance(config, Dreamer)
    step = rows["a step of CartPole with its share of replay"]["cpu_ms"]
    update = config.per_step * rows["8 x 16 ours"]["cpu_ms"]
    return {
        "data_ms_per_step": step,
        "update_ms_per_step": round(update, 2),
        "data_share": round(step / (step + update), 3),
    }


def goals(rows: dict[str, dict[str, float]]) -> list[str]:
    """Every goal, and what came out, in process seconds of this machine."""

    def rate(name: str) -> float:
        return rows[name]["per_cpu_second"]

    said = [f"16 x 32: {rate('16 x 32 ours'):.2f} updates per cpu second (goal {GOAL_UPDATES})"]
    for slices, length in SIZES:
        ratio = rate(f"{slices} x {length} ours") / rate(f"{slices} x {length} plain")
        said.append(f"{slices} x {length}: {ratio:.2f} times the plain program (goal {GOAL_PEER} times the best peer)")
    ratio, more = (rate(f"16 x 32 {name} ours") / rate("16 x 32 users") for name in ("users' model", "protocol"))
    said.append(f"users' model: {ratio:.1f} times their update (goal {GOAL_USERS}); with 255 bins {more:.1f} times")
    ratio = rate("8 x 16 pictures ours") / rate("8 x 16 pictures in planes")
    said.append(f"pictures: {ratio:.2f} times what plain convolutions make")
    return [*said, f"acting in one world: {rate('act in 1, ours'):,.0f} calls per cpu second (goal {GOAL_ACTS:,.0f})"]


@click.command()
@click.option("--turns", default=8, show_default=True, help="Turns of each; they alternate, and the best counts.")
@click.option("--threads", default=1, show_default=True, help="Threads of PyTorch.")
@click.option("--save/--no-save", default=True, show_default=True, help="Write the result file.")
def main(turns: int, threads: int, save: bool) -> None:
    """Measure the dreamer family's speed."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        contenders = [timed for size in SIZES for timed in updates(*size)]
        contenders += [*pictures(8, 16), *users(16, 32), *acting(1), *acting(8), collecting(Path(folder))]
        for timed in contenders:
            timed.turn()
        tops = []
        for _ in range(turns):
            tops.append(peak(1))
            for timed in contenders:
                timed.go()
    top = max(tops)
    rows = {timed.name: timed.row(top) for timed in contenders}
    print(f"peak {top:.0f} GFLOP per cpu second, {os.getloadavg()[0]:.1f} processes waiting")
    print(f"{'':<46}{'cpu ms':>10}{'median':>10}{'clock ms':>10}{'per s':>10}{'GFLOP':>8}{'of peak':>9}")
    for name, row in rows.items():
        figures = (
            f"{row['cpu_ms']:>10.2f}{row['median_cpu_ms']:>10.2f}{row['wall_ms']:>10.2f}{row['per_cpu_second']:>10,.1f}"
        )
        print(f"{name:<46}{figures}{row['gflop']:>8.2f}{row['of_peak']:>9.0%}")
    data, said = shares(rows), goals(rows)
    print(f"data path: {data['data_share']:.0%} of a step with its updates\n" + "\n".join(said))
    if save:
        result = {
            "threads": threads,
            "turns": turns,
            "fused": native.library() is not None,
            "peak_gflop_per_s": round(top, 1),
        }
        print(f"wrote {provenance.save('dreamer_speed', {**result, 'rows': rows, 'data': data, 'goals': said})}")


if __name__ == "__main__":
    main()
