"""`bellmark run-cell`: the idempotent runner that every launcher starts."""

from __future__ import annotations

from pathlib import Path

import click

from bellmark.cli.hardware import device_option, threads_option
from bellmark.cli.track import track_option


@click.command("run-cell")
@click.argument("folder", type=click.Path(path_type=Path))
@device_option
@threads_option
@track_option
def run_cell(folder: Path, device: str, threads: int, track: tuple[str, ...]) -> int:
    """Run or continue one planned run (what launchers call).

    FOLDER is a run folder. The run goes on from its last checkpoint. The exit code is 0 when the run is done (also
    when it already was), 75 when SIGTERM, SIGUSR2 or SIGINT asked it to save itself and leave (call again to go on), 2
    on bad input and 1 on a crash.

    \b
    Examples:
      bellmark run-cell runs/quickstart/gae_ppo_finetune-s1-3fa2c1
      bellmark run-cell runs/quickstart/gae_ppo_finetune-s1-3fa2c1 --threads 2
    """
    from bellmark.trackers.live import following
    from bellmark.train.run import execute

    with following(folder, track):
        return execute(folder, threads=threads, device=device)
