"""What a benchmark's result file says about where it was measured: processor, software, commit; no names, no paths."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, str | int | float]:
    """The processor and the software, and how busy the machine was."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or "unknown",
        "cores": os.cpu_count() or 0,
        "system": platform.system(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def commit() -> str | None:
    """The commit that was measured, with a plus when the source had uncommitted changes; None outside a repository."""
    git = ["git", "-C", str(Path(__file__).parent)]
    source = str(Path(__file__).parents[1] / "src")
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", source], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if dirty else "")


AT_START = {"commit": commit(), "machine": machine()}  # a long benchmark measures the code it was started with


def save(name: str, results: Mapping[str, Any]) -> Path:
    """Write `results/NAME.json` with the date, and commit and machine at the start, in front; returns the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    head = {"benchmark": name, "date": datetime.now(UTC).date().isoformat(), **AT_START}
    path.write_text(json.dumps({**head, **results}, indent=2) + "\n")
    return path
