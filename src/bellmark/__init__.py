"""Bellmark: a workbench for reinforcement-learning research (agents, and the ledger that judges their runs)."""

__version__ = "0.1.0"
