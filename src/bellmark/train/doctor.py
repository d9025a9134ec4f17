"""The doctor beside a run in training: the same rules as `bellmark doctor`, on the rows just written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bellmark.agents.api import Doctor
from bellmark.config import flatten
from bellmark.health import Case, Finding, diagnose
from bellmark.records import Run


class Attendant:
    """Asks the rules when told to; a finding is said once, and again when it has become graver."""

    def __init__(self, folder: Path, option: Doctor, say: Callable[[str], None]) -> None:
        """`folder` is the run's; `say` takes a line for log.txt and for whoever watches."""
        self._run, self._option, self._say = Run(folder), option, say
        self._config = flatten(self._run.meta.config)
        self._said: dict[str, str] = {}  # rule -> severity at which it was said

    def examine(self) -> str:
        """Look at the record; the reason to end the run now, empty to go on."""
        found = diagnose(Case(self._run.meta.family, self._config, self._run.curves()))
        for finding in found:
            if self._said.get(finding.rule) != finding.severity:
                self._said[finding.rule] = finding.severity
                self._say(_line(finding))
        critical = next((f for f in found if f.severity == "critical"), None)
        return _line(critical) if critical is not None and self._option.on_critical == "stop" else ""


def _line(finding: Finding) -> str:
    return f"doctor: {finding.severity}: {finding.rule}: {finding.sentence} (likely: {finding.cause})"
