"""Run folders for the tests of the records."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bellmark.records import RunMeta, create_run

Maker = Callable[..., Path]


@pytest.fixture(autouse=True, scope="package")
def no_waiting_for_the_disk() -> Iterator[None]:
    """What fsync guards against is a power cut, which no test has; it takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def make_run(tmp_path: Path) -> Maker:
    """Makes a pending run below `tmp_path`; keywords replace fields of its metadata."""

    def make(name: str = "one", group: str = "single", **fields: Any) -> Path:
        known: dict[str, Any] = {
            "family": "finetune",
            "recipe": "ppo",
            "overrides": [],
            "config": {"seed": 0, "steps": 1000, "task": {"kind": "pick_cube"}},
            "fingerprint": f"{name:0<12.12}",
            "model_fingerprint": "0" * 12,
            "task": "pick_cube",
            "seed": 0,
            "steps": 1000,
        }
        meta = RunMeta(name=name, group=group, **{**known, **fields})
        return create_run(tmp_path / group / name, meta)

    return make
