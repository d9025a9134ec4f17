"""Where commands print their tables."""

from __future__ import annotations

import sys

from rich.console import Console

PIPED_WIDTH = 160  # columns where there is no terminal to ask: a table should not be folded at rich's default of 80


def console(*, stderr: bool = False) -> Console:
    """Standard output (or error) as a rich console; text is printed as it is, square brackets included."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(width=width, stderr=stderr, markup=False, highlight=False)
