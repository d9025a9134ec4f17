"""The doctor: rules that name what is wrong with a run from its record, and with a configuration before it runs."""

from bellmark.health.case import Case, Finding, Rule, case_of
from bellmark.health.diagnose import RULES, diagnose, lint, unseen

__all__ = ["RULES", "Case", "Finding", "Rule", "case_of", "diagnose", "lint", "unseen"]
