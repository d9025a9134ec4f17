"""What the doctor says about a run, as the page shows it."""

from __future__ import annotations

from collections.abc import Mapping

from bellmark.config import flatten
from bellmark.health import Case, diagnose
from bellmark.records import Curve, Run
from bellmark.reports.findings import Finding


def examine(run: Run, curves: Mapping[str, Curve]) -> list[Finding]:
    """Every finding of the doctor's rules about a run, with the likeliest cause and what to try."""
    case = Case(run.meta.family, flatten(run.meta.config), curves, run.status.state)
    return [
        Finding(
            found.rule, found.severity, found.step, _sentence(found.sentence), _advice(found.cause, found.advice, run)
        )
        for found in diagnose(case)
    ]


def _advice(cause: str, advice: str, run: Run) -> str:
    """With commands that can be typed: what is probed is a recipe, everything else is done to the run."""
    typed = advice.replace("probe RUN", f"probe {run.meta.recipe}").replace("RUN", run.name)
    return " ".join(f"{what}: {_ended(text)}" for what, text in (("Likely cause", cause), ("Try", typed)) if text)


def _sentence(text: str) -> str:
    return _ended(text[:1].upper() + text[1:])


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
