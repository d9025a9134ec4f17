"""What an update costs in the dreamer family beside SheepRL's DreamerV3, which others wrote and keep fast.

    python -m venv /tmp/sheeprl       # not a dependency of ours; it may see what is installed here
    python -c "import site; print(site.getsitepackages()[0])" > $(echo /tmp/sheeprl/lib/python3*/site-packages)/base.pth
    /tmp/sheeprl/bin/pip install sheeprl==0.8.4
    /tmp/sheeprl/bin/python benchmarks/dreamer_beside_sheeprl.py              # a minute or two

SheepRL's `dreamer_v3_5` with its `1M` model is the definition of Hafner et al. 2025, as ours is: 637,381 parameters on
CartPole's four numbers, block GRU, LaProp, adaptive clipping, latents written back. Both get random rows of the same
shapes in turns; the best turn counts, in seconds of the process. Its slow critic's step is not counted, its losses are
not compiled: on two cores the smallest shape alone was not through `torch.compile` after two and a half minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import dreamer_speed
import gymnasium
import hydra
import numpy as np
import provenance
import torch
from lightning.fabric import Fabric
from sheeprl.algos.dreamer_v3.utils import Moments
from sheeprl.algos.dreamer_v3_5.agent import build_agent
from sheeprl.algos.dreamer_v3_5.dreamer_v3_5 import train
from sheeprl.utils.utils import dotdict

from bellmark.nets.rms import size_of

SIZES = ((8, 16), (16, 32), (16, 64))
SPACE = gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)})


def config() -> Any:
    """SheepRL's own configuration of size 1M for a vector of observations."""
    overrides = ["exp=dreamer_v3_5", "algo=dreamer_v3_5_1M", "env=gym", "env.id=CartPole-v1", "env.num_envs=1",
                 "algo.mlp_keys.encoder=[vector]", "algo.cnn_keys.encoder=[]", "buffer.size=1000",
                 "algo.compile.enabled=False", "fabric.accelerator=cpu"]  # fmt: skip
    with hydra.initialize_config_module("sheeprl.configs", version_base="1.3"):
        return dotdict(hydra.compose("config", overrides))


def sheeprl() -> tuple[Callable[[int, int], Callable[[], object]], int]:
    """What makes an update of so many slices and rows, and how much is learned."""
    cfg = config()
    fabric = Fabric(accelerator="cpu", devices=1)
    world, actor, critic, slow, _ = build_agent(fabric, [2], False, cfg, SPACE)
    learned = [*world.parameters(), *actor.parameters(), *critic.parameters()]
    optimizer = fabric.setup_optimizers(hydra.utils.instantiate(cfg.algo.optimizer, params=learned, _convert_="all"))
    share = cfg.algo.actor.moments
    moments = Moments(share.decay, share.max, share.percentile.low, share.percentile.high)
    generator = torch.Generator().manual_seed(0)

    def of(slices: int, rows: int) -> Callable[[], object]:
        shape = (rows + cfg.algo.replay_context, slices)
        first = (torch.rand(*shape, 1, generator=generator) < 0.02).float()
        data = {
            "vector": torch.randn(*shape, 4, generator=generator),
            "actions": torch.nn.functional.one_hot(torch.randint(2, shape, generator=generator), 2).float(),
            "rewards": torch.ones(*shape, 1),
            "terminated": (torch.rand(*shape, 1, generator=generator) < 0.01).float(),
            "truncated": torch.zeros(*shape, 1),
            "is_first": first,
            "deter": torch.zeros(*shape, cfg.algo.world_model.recurrent_model.recurrent_state_size).half(),
            "stoch": torch.zeros(*shape, cfg.algo.world_model.stochastic_size, dtype=torch.uint8),
        }

        def update() -> None:
            train(fabric, cfg, world, actor, critic, slow, optimizer, moments, dict(data), None, [2])

        return update

    return of, sum(p.numel() for p in learned)


@click.command()
@click.option("--turns", default=8, show_default=True, help="Turns of each; they alternate, and the best counts.")
@click.option("--threads", default=1, show_default=True, help="Threads of PyTorch.")
@click.option("--save/--no-save", default=True, show_default=True, help="Write the result file.")
def main(turns: int, threads: int, save: bool) -> None:
    """Measure an update beside SheepRL's."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    of, parameters = sheeprl()
    contenders: list[dreamer_speed.Timed] = []
    for size in SIZES:
        made = dreamer_speed.learner("dreamer_cartpole_state", *size)
        data, name = dreamer_speed.batch(made), f"{size[0]} x {size[1]}"
        contenders += [
            dreamer_speed.Timed(f"{name} ours", partial(made.update, data, 1)),
            dreamer_speed.Timed(f"{name} sheeprl", of(*size)),
        ]
    own = size_of(made.nets) - size_of(made.nets.slow_value)
    for timed in contenders:
        began = time.perf_counter()
        timed.turn()
        print(f"{timed.name}: first {time.perf_counter() - began:.1f} s")
    tops = []
    for _ in range(turns):
        tops.append(dreamer_speed.peak(1))
        for timed in contenders:
            timed.go()
    rows = {timed.name: timed.row(max(tops)) for timed in contenders}
    print(f"parameters: ours {own:,}, sheeprl {parameters:,}")
    said = []
    for ours, theirs in zip(contenders[::2], contenders[1::2], strict=True):
        a, b = rows[ours.name], rows[theirs.name]
        ratio, clock = b["cpu_ms"] / a["cpu_ms"], b["wall_ms"] / a["wall_ms"]
        said.append(
            f"{ours.name.removesuffix(' ours')}: {a['cpu_ms']:.0f} ms against {b['cpu_ms']:.0f}, {ratio:.2f} times as "
            f"fast ({clock:.2f} by the clock)"
        )
    print("\n".join(said))
    if save:
        made_of = {"threads": threads, "turns": turns, "parameters": [own, parameters]}
        print(f"wrote {provenance.save('dreamer_beside_sheeprl', {**made_of, 'rows': rows, 'said': said})}")


if __name__ == "__main__":
    main()
