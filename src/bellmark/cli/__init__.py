"""The command line: one file per command, each imported only when it is called, so that help and completion are quick.

Exit codes: 0 done, 1 a bug (with its traceback), 2 bad input (one line), 75 saved and to be called again, 130
interrupted. A command's function may return its exit code.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import click

from bellmark import __version__
from bellmark.errors import Skipped, UserError, nearest, unknown

BAD_INPUT, INTERRUPTED = 2, 130
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@dataclass(frozen=True)
class Entry:
    """Where a command lives (`module:attribute`) and its line in `bellmark --help`: the command's own short help."""

    target: str
    about: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Experiments": {
        "train": Entry("bellmark.cli.train:train", "Train one agent from a recipe."),
        "evaluate": Entry("bellmark.cli.evaluate:evaluate", "Judge a run or a checkpoint on fixed start states."),
        "sweep": Entry("bellmark.cli.sweep:sweep", "Plan, run and watch the runs that answer a question."),
        "run-cell": Entry("bellmark.cli.run_cell:run_cell", "Run or continue one planned run (what launchers call)."),
    },
    "Results": {
        "runs": Entry("bellmark.cli.runs:runs", "List, show, compare and lengthen runs."),
        "audit": Entry(
            "bellmark.cli.audit:audit", "Find what is wrong or weak in runs, sweep files and hand-kept logs."
        ),
        "export": Entry(
            "bellmark.cli.export:export",
            "Write runs to CSV, TensorBoard, W&B (offline) or MLflow, or episodes of their policies to Minari.",
        ),
        "import": Entry(
            "bellmark.cli.import_:import_group", "Import runs from other trackers, CSV files and hand-kept logs."
        ),
        "log": Entry(
            "bellmark.cli.log:log",
            "Keep EXPERIMENTS.md: every sweep and group of runs with settings, results, verdict.",
        ),
        "report": Entry("bellmark.cli.report:report", "Judge a sweep or some runs and write the report."),
        "serve": Entry("bellmark.cli.serve:serve", "Show runs and sweeps as pages that follow the records."),
        "figures": Entry("bellmark.cli.figures:figures", "Write a sweep's figures for a paper."),
    },
    "Health": {
        "doctor": Entry("bellmark.cli.doctor:doctor", "Name what is wrong with runs, from their records."),
        "probe": Entry(
            "bellmark.cli.probe:probe",
            "Train a recipe's agent on tasks with known answers, to see which ability is broken.",
        ),
        "probe-start": Entry(
            "bellmark.cli.probe_start:probe_start", "Say whether finetuning from a checkpoint can tell methods apart."
        ),
        "lint": Entry("bellmark.cli.lint:lint", "Name what is wrong with a configuration before its first step."),
    },
    "Reference": {
        "recipes": Entry("bellmark.cli.recipes:recipes", "List the recipes that can be trained."),
        "knobs": Entry("bellmark.cli.knobs:knobs", "Show every knob of a recipe with its value and meaning."),
        "envs": Entry("bellmark.cli.envs:envs", "List, describe and time environments."),
        "assets": Entry("bellmark.cli.assets:assets", "Fetch files that environments need."),
        "completion": Entry("bellmark.cli.completion:completion", "Print the shell's completion script."),
    },
}
COMMANDS: dict[str, Entry] = {name: entry for section in SECTIONS.values() for name, entry in section.items()}

# Which extra brings a module that not every installation has.
EXTRA_OF = {
    "torch": "train",
    "mujoco": "train",
    "jaxtyping": "train",
    "dm_control": "dmc",
    "mani_skill": "maniskill",
    "sapien": "maniskill",
    "imageio": "video",
    "imageio_ffmpeg": "video",
    "matplotlib": "plots",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "starlette": "serve",
    "uvicorn": "serve",
    "submitit": "slurm",
    "ray": "ray",
}


class LazyGroup(click.Group):
    """A group whose commands are named in `COMMANDS` and imported only when one of them is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself; imports its module."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown name is our own error."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            raise unknown("command", name, COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help page's lines come from the table: nothing is imported for them."""
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.about) for name, entry in entries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        """Names from the table, then this group's options."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(n, help=e.about) for n, e in COMMANDS.items() if n.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(cls=LazyGroup, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="bellmark", message="%(prog)s %(version)s")
def cli() -> None:
    """Train reinforcement-learning agents, and turn their runs into verdicts.

    \b
    Examples:
      bellmark recipes
      bellmark train ppo seed=2
      bellmark sweep run sweeps/quickstart.yaml --report reports/quickstart
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; bad input becomes one line on standard error."""
    # Before torch is loaded: idle OpenMP threads that spin make a busy machine ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_show, warnings.showwarning)
            code = cli.main(args, prog_name="bellmark", standalone_mode=False)
    except UserError as error:
        return _bad_input(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return BAD_INPUT
    except click.ClickException as error:
        return _bad_input(_explain(error))
    except ModuleNotFoundError as error:
        extra = EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _bad_input(f"this needs {error.name}, which is not installed: pip install 'bellmark[{extra}]'")
    except (PermissionError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        if error.filename is None:
            raise
        return _bad_input(f"{error.filename}: {error.strerror}")
    except (click.Abort, KeyboardInterrupt):
        print("bellmark: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _show(usual: Callable[..., None], message: Warning | str, category: type[Warning], *place: Any) -> None:
    """Show what was skipped as one line of ours, every other warning as Python does."""
    if issubclass(category, Skipped):
        print(f"bellmark: warning: {' '.join(str(message).split())}", file=sys.stderr)
    else:
        usual(message, category, *place)


def _bad_input(message: str) -> int:
    print(f"bellmark: error: {' '.join(message.split())}", file=sys.stderr)
    return BAD_INPUT


def _explain(error: click.ClickException) -> str:
    """Click's message as one line of ours: what is wrong, the nearest right one, where the help is."""
    message = error.message.rstrip(".")
    ctx: Any = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoSuchCommand):
        names = ctx.command.list_commands(ctx) if ctx else ()
        message = str(unknown(f"{ctx.command_path} command" if ctx else "command", error.command_name, names))
    elif isinstance(error, click.NoSuchOption):
        options = [o for p in ctx.command.get_params(ctx) for o in p.opts if o.startswith("--")] if ctx else []
        close = nearest(error.option_name, options, most=2)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(options)}"
        message = f"unknown option {error.option_name!r}; {hint}"
    elif isinstance(error, click.UsageError):
        message = error.format_message().rstrip(".")
        if ctx:
            message += f" (see {ctx.command_path} --help)"
    else:
        message = error.format_message()
    return message[:1].lower() + message[1:]
