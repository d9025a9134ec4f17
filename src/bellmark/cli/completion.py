"""`bellmark completion`: click's own completion scripts, printed to be sourced or saved."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell's completion script.

    It completes commands, options, recipe names and the knobs of the recipe that was named.

    \b
    Examples:
      eval "$(bellmark completion bash)"                       this shell only
      bellmark completion zsh > ~/.bellmark-completion.zsh     then source it in ~/.zshrc
      bellmark completion fish > ~/.config/fish/completions/bellmark.fish
    """
    from bellmark.cli import cli

    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(cli, {}, "bellmark", "_BELLMARK_COMPLETE").source())
