"""Runs of the finetune family that take a second."""

from __future__ import annotations

from pathlib import Path

from bellmark.cli.families import resolve
from bellmark.cli.train import run_folder

TINY = (
    "task=probe", "task.name=policy-from-obs", "start=scratch", "policy.hidden=16", "policy.layers=1",
    "critic.hidden=16", "critic.layers=1", "collect.envs=8", "collect.steps=4", "steps=320", "update.epochs=2",
    "update.minibatches=2", "evaluation.every=64", "evaluation.episodes=8", "checkpoints.seconds=0.2",
)  # fmt: skip


def made(root: Path, *overrides: str) -> Path:
    return run_folder(resolve("ppo", [*TINY, *overrides]), root)
