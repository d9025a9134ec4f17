"""What a user meets: every command explains itself, shipped files load, generated pages are fresh, README is true."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bellmark.cli import COMMANDS, cli, main
from bellmark.cli.families import FAMILIES, config_class, list_recipes, load_recipe, recipe_names, resolve
from bellmark.config import Choice, Config, branches, knobs
from bellmark.records import Run
from bellmark.shipped import recipes_dir
from bellmark.sweeps.plan import plan
from bellmark.sweeps.schema import load_sweep

ROOT = Path(__file__).parents[1]
SWEEPS = sorted((ROOT / "sweeps").rglob("*.yaml"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND_PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(group: click.Group, ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        below = click.Context(command, parent=ctx, info_name=name)
        yield below.command_path, command
        if isinstance(command, click.Group):
            yield from commands(command, below)


EVERY_COMMAND = dict(commands(cli, click.Context(cli, info_name="bellmark")))


# -- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_on_the_help_page_is_the_commands_own(name: str) -> None:
    own = EVERY_COMMAND[f"bellmark {name}"].get_short_help_str(limit=200)
    assert COMMANDS[name].about.rstrip(".") == own.rstrip(".")


@pytest.mark.parametrize("path", EVERY_COMMAND)
def test_every_command_has_help_with_an_example_of_itself(path: str) -> None:
    text = EVERY_COMMAND[path].help or ""
    assert "Example" in text
    assert path in text.partition("Example")[2]


@pytest.mark.parametrize("path", EVERY_COMMAND)
def test_every_option_is_explained(path: str) -> None:
    options = [p for p in EVERY_COMMAND[path].params if isinstance(p, click.Option)]
    assert not [option.name for option in options if not option.help]


def examples(text: str) -> list[list[str]]:
    """Command lines of `bellmark` in a text, without redirections, pipes and remarks."""
    lines = (line.strip().removeprefix("$ ") for line in text.splitlines())
    shown = [re.split(r"\s[|>#]|\s{2,}", line)[0] for line in lines if line.startswith("bellmark ")]
    return [line.split()[1:] for line in shown]


@pytest.mark.parametrize("path", [Path("the help texts"), *PAGES], ids=lambda p: p.name)
def test_examples_name_commands_and_options_that_exist(path: Path) -> None:
    text = "\n".join(c.help or "" for c in EVERY_COMMAND.values()) if not path.is_file() else path.read_text("utf-8")
    for words in examples(text):
        command: click.Command = cli
        rest = list(words)
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            name = rest.pop(0)
            ctx = click.Context(command, info_name="bellmark")
            assert name in command.list_commands(ctx), " ".join(words)
            found = command.get_command(ctx, name)
            assert found is not None
            command = found
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h", "--version"}
        assert not [w for w in rest if w.startswith("-") and w.partition("=")[0] not in known], " ".join(words)


# -- shipped files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_resolves_and_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.about
    assert recipe.source
    resolved = resolve(recipe)
    assert resolved.tree == resolve(name).tree


def test_recipes_are_different_runs() -> None:
    assert len({resolve(r).fingerprint for r in list_recipes()}) == len(recipe_names())


# Of the users' own plans and of small copies, kept as they are: few seeds; a swept value that is the baseline's.
TOLERATED = ("seeds can only show a direction", "is the baseline: its runs are run once")


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_every_sweep_file_plans_without_a_warning(path: Path, tmp_path: Path) -> None:
    planned = plan(load_sweep(path), resolve, tmp_path)
    assert planned.runs
    assert not [w for w in planned.warnings if not any(phrase in w for phrase in TOLERATED)]


def test_checkpoints_that_recipes_name_are_shipped() -> None:
    shipped = {path.stem for path in (recipes_dir() / "checkpoints").glob("*.pt")}
    named = set(re.findall(r"checkpoint: (\w+)", "\n".join(p.read_text() for p in recipes_dir().glob("*.yaml"))))
    assert named <= shipped


# -- configuration classes -------------------------------------------------------------------------------------------


def config_classes(cls: type[Config]) -> Iterator[type[Config]]:
    yield cls
    for field in cls.model_fields.values():
        for below in branches(field):
            yield from config_classes(below)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_knob_is_explained_and_says_its_scope(family: str) -> None:
    assert not [knob.path for knob in knobs(config_class(family)) if not knob.about]


@pytest.mark.parametrize("family", FAMILIES)
def test_defaults_of_parts_and_options_are_the_plain_classes(family: str) -> None:
    # a default with arguments of its own would be lost as soon as an override names one knob below it
    for cls in config_classes(config_class(family)):
        for name, field in cls.model_fields.items():
            if branches(field):
                assert field.default == type(field.default)(), f"{cls.__name__}.{name}"


@pytest.mark.parametrize("family", FAMILIES)
def test_kinds_are_unique_and_documented(family: str) -> None:
    for cls in config_classes(config_class(family)):
        assert cls.__doc__
        if issubclass(cls, Choice):
            assert cls.model_fields["kind"].default, cls.__name__


# -- pages -----------------------------------------------------------------------------------------------------------


def test_generated_pages_are_fresh() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]  # click keeps help options once used here
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_page_shows_every_command() -> None:
    assert set(re.findall(r"^## (.+)$", COMMAND_PAGE, re.MULTILINE)) == {"bellmark", *EVERY_COMMAND}


def test_the_command_page_shows_every_environment_variable() -> None:
    between_processes = {"BELLMARK_LAUNCH"}
    read = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(r'"(BELLMARK_[A-Z_]+)"', path.read_text(encoding="utf-8"))
    }
    assert set(re.findall(r"^\| `(BELLMARK_\w+)`", COMMAND_PAGE, re.MULTILINE)) == read - between_processes


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_links_and_pictures_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert not [t for t in targets if "://" not in t and not (path.parent / t).exists()]


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [p.relative_to(ROOT / "docs") for p in (ROOT / "docs").glob("*.md") if p.name != "index.md"]
    assert not [str(p) for p in pages if f"({p})" not in index]


def test_the_readmes_tree_is_the_tree() -> None:
    block = README.partition("<!-- tree -->")[2].partition("```")[2].partition("```")[0]
    lines = re.findall(r"^( *)([\w.]+)/ +\S", block, re.MULTILINE)
    top = {name for indent, name in lines if not indent}
    packages = {name for indent, name in lines if indent}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not tracked:
        pytest.skip("not a git checkout")
    folders = {line.partition("/")[0] for line in tracked.splitlines() if "/" in line}
    assert top - {"src"} == folders - {"src", ".ci"}
    assert packages == {p.parent.name for p in (ROOT / "src" / "bellmark").glob("*/__init__.py")}


@pytest.mark.parametrize("overrides", [[], ["update=awr", "advantage=branch", "advantage.continuation=current"]])
def test_every_metric_a_run_logs_is_in_the_vocabulary(overrides: list[str], tmp_path: Path) -> None:
    small = [
        "task=probe",
        "collect.envs=8",
        "collect.steps=4",
        "steps=64",
        "evaluation.episodes=4",
        "evaluation.every=32",
    ]
    small += ["update.epochs=1", "update.minibatches=2", "policy.hidden=8", "critic.hidden=8"]
    assert main(["train", "ppo", *overrides, *small, "--runs", str(tmp_path)]) == 0
    (record,) = tmp_path.rglob("run.json")
    cells = re.findall(r"^\| (`[^|]+) \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    documented = {name for cell in cells for name in re.findall(r"`([\w/]+)`", cell)}
    logged = set(Run(record.parent).metric_names())
    assert "eval/success" in logged
    assert logged <= documented
