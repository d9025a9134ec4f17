"""The family's example runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "examples" / "dreamer.py"


def test_the_example_runs_and_is_short() -> None:
    assert len(SCRIPT.read_text().splitlines()) <= 150
    command = [sys.executable, "-W", "error::UserWarning", str(SCRIPT), "40"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("loss/rec") >= 2
    assert done.stdout.count("standing still") >= 2
