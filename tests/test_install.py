"""The make targets and the installer: cheap checks; the real thing is `.ci/run` in a clean clone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bellmark.cli import EXTRA_OF

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
TARGETS = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_planned(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_lists_every_target() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"demo", "test", "lint", "format", "types", "docs", "bench", "clean", "help"} <= set(TARGETS)
    assert all(f"make {target} " in shown for target in TARGETS)


@pytest.mark.parametrize("script", ["scripts/install.sh", ".ci/run"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)


def test_every_direct_dependency_is_pinned_once() -> None:
    names = [*PROJECT["dependencies"], *(d for group in PROJECT["optional-dependencies"].values() for d in group)]
    direct = {normal(re.split(r"[<>=\[]", name)[0]) for name in names} - {"bellmark"}
    pinned = [normal(name) for name in PINS]
    assert sorted(set(pinned)) == sorted(pinned)
    assert direct <= set(pinned)


def test_missing_modules_point_to_extras_that_exist() -> None:
    assert set(EXTRA_OF.values()) <= set(PROJECT["optional-dependencies"])


# -- the installer, with everything it calls replaced ----------------------------------------------------------------

FAKE_PYTHON = """#!/bin/bash
case "$*" in
    *ensurepip*) exit ${NO_VENV:-0} ;;
    *version_info*) exit ${WRONG_VERSION:-0} ;;
    *python_version*) echo 3.12.3 ;;
    "-m venv"*)
        rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo "VIRTUAL_ENV=$PWD/.venv" >.venv/bin/activate ;;
    "-m pip --version") exit 0 ;;
    "-m pip install"*) echo "$*" >>pip.calls; echo "${PIP_SAYS:-}"; exit ${PIP_FAILS:-0} ;;
esac
"""


@pytest.fixture
def install(tmp_path):
    """Runs the installer in a copy of its surroundings with a fake interpreter; returns (exit code, output)."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "install.sh", tmp_path / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    fake = tmp_path / "fake-python"
    fake.write_text(FAKE_PYTHON)
    fake.chmod(0o755)

    def run(profile: str = "run", **environment: str) -> tuple[int, str]:
        env = {"PATH": os.environ["PATH"], "PYTHON": str(fake), **environment}
        script = str(tmp_path / "scripts" / "install.sh")
        done = subprocess.run([script, profile], env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    run.folder = tmp_path
    return run


def calls(install) -> list[str]:
    log = install.folder / "pip.calls"
    return log.read_text().splitlines() if log.exists() else []


def test_it_installs_once_and_then_says_nothing(install) -> None:
    code, output = install()
    assert code == 0
    assert "creating .venv with Python 3.12.3" in output
    assert all("-c constraints.txt" in call for call in calls(install))
    assert any("-e .[train,plots,video]" in call for call in calls(install))
    before = calls(install)
    assert install() == (0, "")
    assert calls(install) == before


def test_what_the_tests_need_serves_the_demo_too(install) -> None:
    install("dev")
    before = calls(install)
    assert install("run") == (0, "")
    assert calls(install) == before


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt", "scripts/install.sh"])
def test_a_change_of_pins_installs_again(changed: str, install) -> None:
    install()
    with (install.folder / changed).open("a") as file:
        file.write("# changed\n")
    code, output = install()
    assert code == 0
    assert "installed" in output
    assert "creating" not in output


def test_a_broken_off_installation_is_done_again(install) -> None:
    code, output = install(PIP_FAILS="1", PIP_SAYS="no space left")
    assert code == 1
    assert "no space left" in output
    assert "the whole log is .venv/install.log" in output
    assert install()[0] == 0
    assert install() == (0, "")


def test_an_environment_that_works_is_kept_with_all_that_is_in_it(install) -> None:
    install()
    (install.folder / ".venv" / ".installed-run").unlink()
    (install.folder / ".venv" / "own").touch()
    assert "creating" not in install("dev")[1]
    assert (install.folder / ".venv" / "own").exists()


def test_an_environment_that_does_not_work_is_made_anew(install) -> None:
    install()
    (install.folder / ".venv" / "bin" / "python").unlink()
    assert "creating" in install()[1]
    assert install() == (0, "")


def test_an_environment_of_another_python_is_not_touched(install) -> None:
    install()
    code, output = install("dev", WRONG_VERSION="1")
    assert code == 1
    assert "holds another Python than 3.11 or 3.12; remove or rename it" in output


def test_a_moved_folder_gets_an_environment_of_its_own(install, tmp_path_factory) -> None:
    install()
    moved = tmp_path_factory.mktemp("moved") / "here"
    shutil.copytree(install.folder, moved, symlinks=True)
    env = {"PATH": os.environ["PATH"], "PYTHON": str(moved / "fake-python")}
    script = str(moved / "scripts" / "install.sh")
    done = subprocess.run([script, "run"], env=env, capture_output=True, text=True, check=True)
    assert "creating .venv" in done.stdout


def test_torch_can_come_from_another_index(install) -> None:
    install(TORCH_INDEX_URL="https://example.invalid/cpu")
    torch = [call for call in calls(install) if "torch==" in call]
    assert len(torch) == 1
    assert "--index-url https://example.invalid/cpu" in torch[0]


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"WRONG_VERSION": "1"}, "is not Python 3.11 or 3.12"),
        ({"WRONG_VERSION": "1"}, "sudo apt install python3 python3-venv"),
        ({"NO_VENV": "1"}, "sudo apt install python3.12-venv"),
        (
            {"PIP_FAILS": "1", "PIP_SAYS": "Temporary failure in name resolution"},
            "the first installation needs the network",
        ),
    ],
)
def test_what_is_missing_is_said(environment: dict[str, str], says: str, install) -> None:
    code, output = install(**environment)
    assert code == 1
    assert "bellmark: error: " in output
    assert says in output


def test_it_finds_a_python_by_itself(install) -> None:
    bin_ = install.folder / "bin"
    bin_.mkdir()
    shutil.copy(install.folder / "fake-python", bin_ / "python3.12")
    (bin_ / "python3.11").write_text("#!/bin/sh\nexit 127\n")  # a version manager's shim without the version
    (bin_ / "python3.11").chmod(0o755)
    code, output = install(PYTHON="", PATH=f"{bin_}:/usr/bin:/bin")
    assert code == 0, output
    assert "Python 3.12.3" in output


def test_the_running_python_is_supported() -> None:
    assert sys.version_info[:2] in ((3, 11), (3, 12))
