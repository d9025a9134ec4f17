"""Replay: rows of experience in one lane per world, and slices of them drawn uniformly."""

from bellmark.replay.storage import Replay

__all__ = ["Replay"]
