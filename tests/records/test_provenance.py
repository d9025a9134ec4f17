from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bellmark.records import collect_provenance


def _git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *settings, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    _git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("x = 1\n")
    (tmp_path / ".gitignore").write_text("runs/\n")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "--no-verify", "-m", "first")
    return tmp_path


def test_a_clean_repository(repository: Path) -> None:
    (repository / "runs").mkdir()
    (repository / "runs" / "ignored").write_text("x")
    found = collect_provenance(repository)
    assert found.commit == _git(repository, "rev-parse", "HEAD")
    assert not found.dirty and found.dirty_diff == ""


def test_uncommitted_changes_are_kept_as_a_diff_that_applies(repository: Path) -> None:
    (repository / "code.py").write_text("x = 2\n")
    found = collect_provenance(repository)
    assert found.dirty and "-x = 1\n+x = 2\n" in found.dirty_diff
    _git(repository, "checkout", "-q", "code.py")
    (repository / "d.diff").write_text(found.dirty_diff)
    _git(repository, "apply", "d.diff")
    assert (repository / "code.py").read_text() == "x = 2\n"


def test_untracked_files_are_named_but_not_copied(repository: Path) -> None:
    (repository / "key.env").write_text("SECRET=1")
    found = collect_provenance(repository)
    assert found.dirty and found.dirty_diff.startswith("# untracked sha256:") and "key.env" in found.dirty_diff
    assert "SECRET" not in found.dirty_diff


def test_no_repository_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert collect_provenance(tmp_path).commit is None and not collect_provenance(tmp_path).dirty
    monkeypatch.setenv("PATH", "")
    assert collect_provenance(tmp_path).commit is None


def test_versions_and_command() -> None:
    found = collect_provenance()
    assert found.versions["bellmark"] and found.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found.command and "/" not in found.command[0] and found.host


def test_records_never_import_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import bellmark.records as r; r.collect_provenance()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
