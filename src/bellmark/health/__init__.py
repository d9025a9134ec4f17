"""The doctor: rules that name what is wrong with a run from its record, and with a configuration before it runs."""

from bellmark.health.case import Case, Finding, Rule, case_of
from bellmark.health.design import Design, lint_design
from bellmark.health.diagnose import RULES, SETUP_IDS, diagnose, lint, unseen
from bellmark.health.experiments import Subject, command

__all__ = [
    "RULES",
    "SETUP_IDS",
    "Case",
    "Design",
    "Finding",
    "Rule",
    "Subject",
    "case_of",
    "command",
    "diagnose",
    "lint",
    "lint_design",
    "unseen",
]
