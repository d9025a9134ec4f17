"""Audits: lints over run folders, sweep files and experiment logs kept by hand.

Each audit is one pure function from a case to findings, with a stable id; `AUDITS` lists them.
"""

from __future__ import annotations

from bellmark.audits.case import Case, Finding
from bellmark.audits.from_log import case_of as case_of_log
from bellmark.audits.from_records import case_of as case_of_records
from bellmark.audits.handlog import HandLog, read_log
from bellmark.audits.rules import AUDITS, audit

__all__ = ["AUDITS", "Case", "Finding", "HandLog", "audit", "case_of_log", "case_of_records", "read_log"]
