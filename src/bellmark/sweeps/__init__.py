"""Sweeps: from one question to cells and runs, and the launchers that carry them out."""
