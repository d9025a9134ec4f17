"""Launch a sweep file of the toy family with fake workers: `launch.py FILE RUNS WORKERS GRACE`."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from toy import resolve

from bellmark.sweeps.local import launch_local
from bellmark.sweeps.plan import plan
from bellmark.sweeps.schema import load_sweep
from bellmark.sweeps.seats import Machine, seats
from bellmark.sweeps.table import view_for

COMMAND = (sys.executable, str(Path(__file__).with_name("fake_cell.py")))


def main(file: str, root: str, workers: str, grace: str) -> int:
    found = plan(load_sweep(file), resolve, root)
    places, _ = seats(found.sweep.resources, Machine.here(), workers=int(workers))
    view = view_for(Console(width=160), "eval/success")
    outcome = launch_local(found, places, command=COMMAND, view=view, grace=float(grace))
    print(f"done {len(outcome.done)} failed {len(outcome.failed)} left {len(outcome.left)}", flush=True)
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
