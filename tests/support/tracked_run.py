"""A run of two attempts, the second of which does some of the first's work again; with values that are not finite."""

from __future__ import annotations

import math
from pathlib import Path

from bellmark.records import RunMeta, RunWriter


def meta(name: str = "ppo-s1-3fa29c", **fields: object) -> RunMeta:
    known: dict[str, object] = {
        "family": "finetune",
        "recipe": "ppo",
        "overrides": ["update=awr"],
        "config": {"seed": 1, "steps": 400, "update": {"kind": "awr", "beta": 0.5}, "layers": [64, 64]},
        "fingerprint": "3fa29c0d41b7",
        "model_fingerprint": "0" * 12,
        "task": "pick_cube",
        "seed": 1,
        "steps": 400,
        "created": "2026-02-17T20:52:00+00:00",
    }
    return RunMeta(name=name, **{**known, **fields})


def first_attempt(folder: Path) -> None:
    with RunWriter(folder) as writer:
        for step in (0, 100, 200, 300):
            writer.log(step, {"eval/success": step / 1000, "loss/policy": 1.0 / 3.0 + step})
        writer.finish("preempted")


def second_attempt(folder: Path) -> None:
    """Goes on from step 100: what the first did at 200 and 300 no longer counts."""
    with RunWriter(folder) as writer:
        writer.resume(100)
        writer.log(200, {"eval/success": 0.7, "loss/policy": math.nan})
        writer.log(300, {"eval/success": 0.8, "policy/kl": math.inf})
        writer.log(400, {"eval/success": 0.9, "loss/policy": -1e-30})
        writer.finish("done")
