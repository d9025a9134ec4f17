"""Families on a GPU that is not there: tensors stay on the device, and an update asks them for nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[1] / "support"
ACTING = {  # the lines at which observations and what a host's generator drew go to the device
    "tdmpc": {'agents/tdmpc/acting.py z, first = self._encode(obs.to(state["mean"])), first.to(state["mean"].device)'},
    "dreamer": {
        "agents/dreamer/acting.py going = (~first).to(device, torch.float32)",
        "agents/dreamer/acting.py uniform = categorical.uniforms((rssm.latents, count), generator).to(device)",
        "agents/dreamer/acting.py tokens = nets.encoder(obs.to(device))",
        "agents/dreamer/acting.py action = self._collect(outputs, nets.actor.noise(1, count, generator)[0].to(device))",
    },
}


@pytest.mark.parametrize(
    ("family", "bases"),
    [("tdmpc", ("tdmpc2", "bmpc", "ensemble")), ("dreamer", ("published", "numbers", "pictures"))],
)
def test_updates_copy_nothing_and_plans_little(family: str, bases: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "pretended.py"), family, *bases],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(SUPPORT), *sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout.splitlines()
    assert said.count("updates:") == said.count("actions:") == len(bases)
    lines = {line for line in said if line not in ("updates:", "actions:")}
    assert lines == ACTING[family], "copies between host and device"
