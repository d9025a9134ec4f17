"""Other people's trackers: following a record live, exporting it, and importing runs that were recorded elsewhere.

The record stays the truth: nothing here writes into a run that Bellmark trains.
"""

from __future__ import annotations
