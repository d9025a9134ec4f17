"""Whether two runs were made by the same code: commits and uncommitted changes, leaving aside what cannot matter."""

from __future__ import annotations

import hashlib
import re
import subprocess
from functools import lru_cache
from pathlib import Path, PurePosixPath

from bellmark.records import Run, standing

# Changes here leave every result as it is; whatever else changed counts as other code.
HARMLESS_FOLDERS = ("docs", "tests", "reports", "sweeps", "benchmarks", "examples", ".ci", ".github")
HARMLESS_SUFFIXES = (".md", ".rst", ".txt", ".png", ".svg")
_FILE = re.compile(r"^diff --git a/(.*?) b/.*$|^# untracked \S+ (.*)$", re.MULTILINE)
_GIT_SECONDS = 20.0


def matters(path: str) -> bool:
    """Whether a change of this file of the repository could change a result."""
    parts = PurePosixPath(path).parts
    return not (parts and parts[0] in HARMLESS_FOLDERS) and not path.endswith(HARMLESS_SUFFIXES)


def changes_that_matter(dirty_diff: str) -> str:
    """The parts of an uncommitted diff that could change a result; "" when there are none."""
    starts = [*_FILE.finditer(dirty_diff)]
    if not starts:
        return dirty_diff.strip()
    ends = [match.start() for match in starts[1:]] + [len(dirty_diff)]
    files = zip(starts, ends, strict=True)
    return "".join(dirty_diff[m.start() : end] for m, end in files if matters(m[1] or m[2]))


def code_of(commit: str | None, dirty_diff: str) -> str:
    """A name for the code of a run: `d53c0cc1b2a3`, `d53c0cc1b2a3+9f31c2` with uncommitted changes, or "unknown"."""
    changes = changes_that_matter(dirty_diff)
    mark = f"+{hashlib.sha256(changes.encode()).hexdigest()[:6]}" if changes else ""
    return (commit[:12] if commit else "unknown") + mark


def codes_of(run: Run) -> tuple[str, ...]:
    """Names of the code that did the work of a run, each once, in order of first use; that of its plan until it begins.

    A run that was carried on by other code than began it has several. An attempt that knew no commit (a node without
    git) counts as made by the code of the plan.
    """
    planned = code_of(run.meta.commit, run.dirty_diff())
    attempts = standing(run.attempts())
    found = [
        code_of(attempt.commit, run.dirty_diff(attempt.changes) if attempt.changes else "")
        if attempt.commit
        else planned
        for attempt in attempts
    ]
    if not attempts or attempts[0].resumed_from is not None:  # begun before attempts were signed
        found.insert(0, planned)
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=256)
def same_code(one: str, other: str) -> bool:
    """Whether two names of code stand for code that gives the same results.

    Two clean commits are looked up in the repository of the working directory; commits it does not hold count as
    different.
    """
    if one == other:
        return True
    if "+" in one + other or "unknown" in (one, other):
        return False
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(Path.cwd()), "diff", "--name-only", "-z", one, other, "--"],
            capture_output=True, timeout=_GIT_SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
    return not any(matters(name) for name in done.stdout.decode("utf-8", errors="replace").split("\0") if name)
