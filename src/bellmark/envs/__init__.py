"""Environments: one protocol (`api`), and the suites that implement it."""
