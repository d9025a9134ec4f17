"""The `--threads` and `--device` options of every command that computes."""

from __future__ import annotations

import os
import re

import click

threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=lambda: os.environ.get("BELLMARK_THREADS", "1"),
    show_default="$BELLMARK_THREADS, else 1",
    help="Threads for simulation and tensors. More than the idle cores makes everything slower.",
)


def _device(context: click.Context, option: click.Parameter, value: str) -> str:
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", value)
    if not found:
        raise click.BadParameter(f"{value!r} is neither cpu nor cuda nor cuda:N")
    if value != "cpu":
        import torch

        visible = torch.cuda.device_count()
        if int(found[1] or 0) >= visible:
            raise click.BadParameter(f"{value!r}: PyTorch sees {visible or 'no'} GPU{'s' * (visible > 1)} here")
    return value


device_option = click.option(
    "--device",
    metavar="cpu|cuda|cuda:N",
    callback=_device,
    default=lambda: os.environ.get("BELLMARK_DEVICE", "cpu"),
    show_default="$BELLMARK_DEVICE, else cpu",
    help="Where tdmpc and dreamer learn; worlds are always simulated on the host.",
)
