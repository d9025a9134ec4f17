"""Launch a sweep file of chains on two seats of this machine: `launch_chains.py FILE RUNS`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "sweeps"))  # this folder is there already: the script's own


def main(file: str, root: str) -> int:
    from checks import CHAIN, planned

    from bellmark.errors import UserError
    from bellmark.sweeps.local import launch_local
    from bellmark.sweeps.seats import Seat

    seats = [Seat(gpus=(), cpus=(), threads=1)] * 2
    try:
        outcome = launch_local(planned(Path(file), Path(root)), seats, command=CHAIN, grace=5.0)
    except UserError as error:
        print(f"bellmark: error: {error}", file=sys.stderr)
        return 2
    for name, why in outcome.failed.items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
