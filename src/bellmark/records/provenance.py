"""Where a result comes from: commit, uncommitted changes, machine, library versions, command."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from bellmark.records.liveness import this_host

LIBRARIES = (
    "bellmark", "torch", "numpy", "mujoco", "gymnasium", "dm-control", "pydantic", "msgspec", "scipy",
)  # fmt: skip
_GIT_SECONDS = 20.0
_DIFF_LIMIT = 2_000_000  # characters: more than that is data, not a change of code


@dataclass(frozen=True)
class Provenance:
    """What `run.json` says about the origin of a run; `dirty_diff` goes into a file beside it."""

    commit: str | None
    dirty: bool
    dirty_diff: str
    host: str
    versions: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)


def collect_provenance(folder: Path | None = None) -> Provenance:
    """The origin of what runs in this process.

    Args:
        folder: where to look for a git repository; default: that of the installed package when its source is
            tracked, else that of the working directory. Without git or repository the commit is None.
    """
    repository = _repository(folder)
    commit = _git(repository, "rev-parse", "HEAD") if repository else None
    diff = _uncommitted(repository) if repository and commit else ""
    return Provenance(
        commit=commit.strip() if commit else None,
        dirty=bool(diff),
        dirty_diff=diff,
        host=this_host(),
        versions=_versions(),
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
    )


def _versions() -> dict[str, str]:
    """Versions of the libraries that decide a result, read from their metadata: nothing is imported."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _repository(folder: Path | None) -> Path | None:
    if folder is None:
        package = Path(__file__).parent
        tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
        folder = package if tracked else Path.cwd()
    top = _git(folder, "rev-parse", "--show-toplevel")
    return Path(top.strip()) if top else None


def _uncommitted(repository: Path) -> str:
    """The diff of tracked files against HEAD, then untracked files by name and checksum (never their content)."""
    diff = _git(repository, "diff", "HEAD", "--no-color", "--no-ext-diff") or ""
    if len(diff) > _DIFF_LIMIT:
        diff = f"{diff[:_DIFF_LIMIT]}\n# cut here: the diff has {len(diff)} characters\n"
    untracked = (_git(repository, "ls-files", "--others", "--exclude-standard", "-z") or "").split("\0")
    return diff + "".join(f"# untracked {_checksum(repository / n)} {n}\n" for n in untracked if n)


def _checksum(file: Path) -> str:
    try:
        with open(file, "rb") as data:
            return f"sha256:{hashlib.file_digest(data, 'sha256').hexdigest()[:16]}"
    except OSError:
        return "unreadable"


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of a git command; None when there is no git, no repository, or it fails."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True, timeout=_GIT_SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")
