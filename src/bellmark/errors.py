"""What the user is told: the one kind of error that is theirs to mend, and what was skipped."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Bad input. The command line prints the message as one line and exits with code 2; anything else is a bug."""


class Skipped(UserWarning):
    """Something damaged was left out and the rest goes on; the command line prints the message as one line."""


def nearest(word: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """The known words closest to `word`, best first; empty when none is close."""
    return get_close_matches(word, list(known), n=most, cutoff=0.5)


def unknown(what: str, word: str, known: Iterable[str]) -> UserError:
    """An error for a `word` that names nothing: says the nearest right ones, or all of them when few."""
    names = sorted(known)
    close = nearest(word, names)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif names and len(names) <= 12:
        hint = f"known: {', '.join(names)}"
    else:
        hint = f"{len(names)} are known" if names else "none is known"
    return UserError(f"unknown {what} {word!r}; {hint}")
