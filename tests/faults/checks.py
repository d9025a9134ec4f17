"""What must hold of a folder of runs after anything was killed, and at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml
from toy import resolve

from bellmark.records import CheckpointStore, Index, Run, read_status
from bellmark.records.reader import folders
from bellmark.sweeps.plan import plan
from bellmark.sweeps.schema import load_sweep
from bellmark.sweeps.work import Plan

HERE = Path(__file__).parent
CHAIN = (sys.executable, str(HERE / "chain.py"))


def chain_sweep(folder: Path, *, steps: int, seeds: int = 1, pause: float = 0.0) -> Path:
    """A sweep file of chains."""
    file = folder / "chains.yaml"
    keys: dict[str, Any] = {
        "question": "?", "expect": {"metric": "eval/success"}, "base": "toy", "set": {"pause": pause}, "steps": steps,
        "seeds": list(range(1, seeds + 1)),
    }  # fmt: skip
    file.write_text(yaml.safe_dump(keys))
    return file


def planned(file: Path, root: Path) -> Plan:
    """The plan of a sweep file of chains."""
    return plan(load_sweep(file), resolve, root)


def worker(run: Path, fault: str = "") -> subprocess.Popen[bytes]:
    """A chain at work on a run folder."""
    with open(run / "log.txt", "ab") as log:
        return subprocess.Popen([*CHAIN, str(run)], stdout=log, stderr=log, env={**os.environ, "BELLMARK_FAULT": fault})


def whole(root: Path, *, torn_ends: bool = False) -> None:
    """Nothing torn, nothing unreadable, and the index built anew equals the one that was kept up.

    Args:
        torn_ends: a last line may be torn: half of it was written on purpose.
    """
    for folder in folders(root):
        lines = (folder / "metrics.jsonl").read_bytes().split(b"\n") if (folder / "metrics.jsonl").exists() else [b""]
        if not torn_ends:
            assert lines[-1].strip() == b"", f"torn last line in {folder}"
            for line in filter(bytes.strip, lines):
                json.loads(line)
            assert [p for p in Run(folder).problems() if "unreadable" in p] == []
        read_status(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a checkpoint that is skipped warns
            for saved in CheckpointStore(folder / "checkpoints").all():
                saved.read()
    assert rows(Index(root)) == rows_anew(root)


def rows(index: Index) -> list[Any]:
    """The index as it is, brought up to date."""
    return [(row.path, row.meta, row.status, row.latest) for row in index.rows()]


def rows_anew(root: Path) -> list[Any]:
    """The index built from nothing."""
    index = Index(root)
    index.rebuild()
    return rows(index)


def values(run: Path) -> dict[str, tuple[bytes, bytes]]:
    """Everything a run recorded, bit for bit."""
    return {name: (c.step.tobytes(), c.value.tobytes()) for name, c in Run(run).curves().items()}


def bearing(text: str) -> list[int]:
    """The living processes whose command names something."""
    found = psutil.process_iter(["cmdline", "status"])
    return [
        p.pid for p in found if text in " ".join(p.info["cmdline"] or ()) and p.info["status"] != psutil.STATUS_ZOMBIE
    ]


def until(what: Callable[[], object], process: subprocess.Popen[bytes]) -> bool:
    """Wait for a condition or the end of a process; whether the process lives."""
    while process.poll() is None:
        if what():
            return True
    return False
