"""The bring-your-own example runs, and says what its guide says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_example_runs_and_is_short() -> None:
    script = ROOT / "examples" / "own_env.py"
    assert len(script.read_text().splitlines()) <= 150
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "restored worlds are bitwise" in done.stdout and "64 futures" in done.stdout
