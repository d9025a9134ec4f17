from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bellmark.sweeps.schema import Sweep, load_sweep

sys.path.insert(0, str(Path(__file__).parent))  # for toy.py, which scripts started by the tests import as well

HEAD = {"question": "does it?", "expect": {"metric": "eval/success"}, "base": "toy"}


@pytest.fixture
def sweep_of(tmp_path: Path) -> Callable[..., Sweep]:
    """Write a sweep file with these keys (over a short valid head) and load it."""

    def make(file_name: str = "s", **keys: Any) -> Sweep:
        file = tmp_path / f"{file_name}.yaml"
        file.write_text(yaml.safe_dump({**HEAD, **keys}, sort_keys=False))
        return load_sweep(file)

    return make
