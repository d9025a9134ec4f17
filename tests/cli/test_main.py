"""The command line as a whole: what it imports, what it says when something is wrong, what it completes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import click
import pytest

from bellmark import cli
from bellmark.cli import COMMANDS, Entry, main
from bellmark.errors import UserError


def complete(line: str) -> list[str]:
    words = line.split(" ")
    env = {**os.environ, "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_BELLMARK_COMPLETE": "bash_complete"}
    done = subprocess.run([sys.executable, "-m", "bellmark.cli"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [answer.partition(",")[2] for answer in done.stdout.split()]


@pytest.fixture
def command(monkeypatch):
    """Makes a function the command `bellmark act`."""

    def make(function):
        monkeypatch.setattr(sys.modules[__name__], "act", click.command("act")(function), raising=False)
        monkeypatch.setitem(COMMANDS, "act", Entry(f"{__name__}:act", "Act."))

    return make


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["completion", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom bellmark.cli import main\ncode = main(sys.argv[1:])\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'yaml', 'rich', 'msgspec'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy), code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert "HEAVY [] 0" in done.stdout


def test_no_arguments_show_the_help(capsys) -> None:
    assert main([]) == 2
    assert "Experiments:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], "unknown command 'trian'; did you mean train"),
        (["zzz"], "unknown command 'zzz'; "),
        (["--hepl"], "unknown option '--hepl'; did you mean --help?"),
        (["recipes", "--jsn"], "unknown option '--jsn'; did you mean --json?"),
        (["recipes", "surplus"], "got unexpected extra argument"),
        (["knobs"], "missing argument 'RECIPE' (see bellmark knobs --help)"),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
        (["runs", "lst"], "unknown bellmark runs command 'lst'; did you mean list"),
        (["knobs", "nosuchrecipe"], "unknown recipe 'nosuchrecipe'"),
        (["knobs", "ppo", "sede=3"], "unknown key 'sede'; did you mean seed"),
        (["knobs", "ppo", "seed"], "'seed' is not of the form key=value"),
        (["knobs", "no/such.yaml"], "recipe file 'no/such.yaml' does not exist"),
        (["train", "ppo", "--device", "gpu"], "'gpu' is neither cpu nor cuda nor cuda:N"),
        (["train", "ppo", "--device", "cuda:99"], "'cuda:99': PyTorch sees "),
        (["train", "ppo", "--runs", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], says: str, capsys) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("bellmark: error: ")
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_threads_of_the_environment_are_checked(capsys, monkeypatch) -> None:
    monkeypatch.setenv("BELLMARK_THREADS", "many")
    assert main(["train", "ppo"]) == 2
    assert "'many' is not a valid integer" in capsys.readouterr().err


def test_a_message_of_several_lines_becomes_one(command, capsys) -> None:
    def act() -> None:
        raise UserError("one\n  two")

    command(act)
    assert main(["act"]) == 2
    assert capsys.readouterr().err == "bellmark: error: one two\n"


@pytest.mark.parametrize(
    ("module", "extra"), [("torch", "train"), ("dm_control", "dmc"), ("matplotlib.pyplot", "plots")]
)
def test_a_missing_extra_is_named_with_its_installation(module: str, extra: str, command, capsys) -> None:
    def act() -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    command(act)
    assert main(["act"]) == 2
    assert f"pip install 'bellmark[{extra}]'" in capsys.readouterr().err


@pytest.mark.parametrize("bug", [ModuleNotFoundError("x", name="bellmark.gone"), KeyError("x"), OSError("disk")])
def test_a_bug_keeps_its_traceback(bug: Exception, command) -> None:
    def act() -> None:
        raise bug

    command(act)
    with pytest.raises(type(bug)):
        main(["act"])


def test_a_bug_ends_the_process_with_code_1_and_a_traceback() -> None:
    code = (
        "import sys, bellmark.cli as c\n"
        "c.COMMANDS['recipes'] = c.Entry('bellmark.cli:NONE', '')\n"
        "sys.exit(c.main(['recipes']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_interruption_is_a_plain_line_and_130(command, capsys) -> None:
    def act() -> None:
        raise KeyboardInterrupt

    command(act)
    assert main(["act"]) == 130
    assert capsys.readouterr().err.strip() == "bellmark: interrupted"


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (75, 75), (1, 1)])
def test_a_command_may_return_its_exit_code(returned: int | None, code: int, command) -> None:
    def act() -> int | None:
        return returned

    command(act)
    assert main(["act"]) == code


def test_commands_are_imported_only_when_called() -> None:
    code = (
        "import sys, bellmark.cli as c\n"
        "c.main(['recipes', '--help'])\n"
        "print(sorted(m for m in sys.modules if 'bellmark.cli.' in m))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['bellmark.cli.recipes']"


def test_recipes_are_listed(capsys) -> None:
    assert main(["recipes"]) == 0
    table = capsys.readouterr().out
    assert main(["recipes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"ppo"} <= {r["name"] for r in listed}
    for recipe in listed:
        assert set(recipe) == {"name", "family", "about", "source"}
        assert recipe["name"] in table


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(shell: str, capsys) -> None:
    assert main(["completion", shell]) == 0
    assert "_BELLMARK_COMPLETE" in capsys.readouterr().out


def test_names_and_overrides_complete() -> None:
    assert complete("bellmark kno") == ["knobs"]
    assert "ppo" in complete("bellmark knobs p")
    assert complete("bellmark knobs ppo optimizer.l") == ["optimizer.lr="]
    assert complete("bellmark knobs ppo update=a") == ["update=awr"]
    assert complete("bellmark knobs ppo task.reward=") == ["task.reward=sparse", "task.reward=dense"]
    assert complete("bellmark train tdmpc2 task=dog-r") == ["task=dog-run"]
    assert complete("bellmark knobs nosuchrecipe opt") == []


def test_the_help_page_lists_every_command() -> None:
    page = cli.cli.get_help(click.Context(cli.cli, info_name="bellmark"))
    assert [line.split()[0] for line in page.splitlines() if line.startswith("  ") and line.split()[0] in COMMANDS] == [
        *COMMANDS
    ]
