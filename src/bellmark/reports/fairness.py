"""What makes a comparison unfair: differences between an arm and its baseline that nobody declared.

Checked are configuration, budget, evaluation protocol, start checkpoint, code and simulator. Each finding is one line
that names the key or the run; one is enough to make a verdict invalid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from bellmark.config import diff
from bellmark.reports.code import same_code
from bellmark.reports.dossier import ArmRecord, RunRecord
from bellmark.sweeps.design import PROTECTED
from bellmark.sweeps.names import value_text

PER_RUN = ("seed", "task")
SIMULATORS = ("mujoco", "dm-control", "gymnasium")
NUMERICS = ("torch", "numpy", "scipy", "python")


def arm_problems(arm: ArmRecord) -> list[str]:
    """Undeclared differences of configuration: one line per part of the protocol, one for all the rest."""
    parts: dict[str, list[str]] = {}
    for key in arm.undeclared:
        there, here = (_shown(value) for value in arm.differs[key])
        parts.setdefault(PROTECTED.get(key.split(".")[0], "config"), []).append(f"{key} is {here}, not {there}")
    return [f"undeclared {what}: {', '.join(keys)}" for what, keys in parts.items()]


def run_problems(run: RunRecord, reference: Sequence[RunRecord]) -> list[str]:
    """How one run differs from the baseline's runs in what should be the same for all.

    `reference` are the baseline's recorded runs on the same task; a run is compared with what most of them have, so
    that one odd run of the baseline is found out, not all others.
    """
    if run.meta is None or not reference:
        return []
    lines = []
    code = _usual(code for r in reference for code in r.codes)
    if not all(same_code(own, code) for own in run.codes):
        lines.append(f"undeclared code: {run.name} ran on {run.code}, the baseline on {code}")
    for library in SIMULATORS:
        here = dict.fromkeys(maker.versions.get(library, "none") for maker in run.makers)
        there = _usual(maker.versions.get(library, "none") for r in reference for maker in r.makers)
        if [*here] != [there]:
            lines.append(
                f"undeclared code: {run.name} ran with {library} {' then '.join(here)}, the baseline with {there}"
            )
    episodes, usual = _episodes(run), _usual(e for r in reference for e in [_episodes(r)] if e)
    if episodes and usual and episodes != usual:
        lines.append(
            f"undeclared evaluation protocol: {run.name} has {episodes} episodes per evaluation, the baseline {usual}"
        )
    return lines


def within_arm(runs: Sequence[RunRecord]) -> list[str]:
    """Runs of one arm whose configurations differ in more than seed and task: they are not the same experiment."""
    recorded = [run for run in runs if run.meta]
    lines = []
    for run in recorded[1:]:
        first = recorded[0]
        own = [k for k in diff(first.config, run.config) if k.split(".")[0] not in PER_RUN]
        if own:
            lines.append(f"undeclared config: {run.name} and {first.name} differ in {', '.join(own)}")
    return lines


def cautions(runs: Sequence[RunRecord]) -> list[str]:
    """Differences between machines and libraries that seldom change a result, but may change its cost."""
    makers = [maker for run in runs for maker in run.makers]
    lines = []
    for library in NUMERICS:
        found = sorted({maker.versions[library] for maker in makers if library in maker.versions})
        if len(found) > 1:
            lines.append(f"runs were made with different versions of {library}: {', '.join(found)}")
    for what, values in (("devices", {m.device for m in makers}), ("machines", {m.host for m in makers if m.host})):
        if len(values) > 1:
            lines.append(f"runs were made on different {what} ({', '.join(sorted(values))}): compare no wall times")
    commits = sorted({code for run in runs for code in run.codes})
    if len(commits) > 1:
        lines.append(f"runs were made from more than one state of the repository: {', '.join(commits)}")
    if commits == ["unknown"]:
        lines.append("the runs record no commit: that they ran the same code cannot be checked")
    return lines


def _episodes(run: RunRecord) -> str:
    known = run.trace.episodes[np.isfinite(run.trace.episodes)]
    return " and ".join(sorted(f"{e:.0f}" for e in np.unique(known)))


def _usual(values: Any) -> str:
    counted = Counter(values).most_common(1)
    return counted[0][0] if counted else ""


def _shown(value: Any) -> str:
    return "absent" if value is None else value_text(value)
