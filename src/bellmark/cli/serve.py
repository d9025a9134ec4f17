"""`bellmark serve`: the pages of a folder of runs, live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bellmark.cli.report import YAML, spoken
from bellmark.errors import UserError

if TYPE_CHECKING:
    from bellmark.sweeps.overrides import Resolved
    from bellmark.sweeps.work import Plan

PORT = 8420


@click.command()
@click.argument("what", nargs=-1, metavar="[RUNS_DIR] [SWEEP.yaml]...")
@click.option(
    "--sweeps",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("sweeps"),
    show_default=True,
    help="Where the files of recorded sweeps are looked for, so that their pages judge.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; there is no password.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free one.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
def serve(what: tuple[str, ...], folder: Path, host: str, port: int, open_page: bool) -> None:
    """Show runs and sweeps as pages that follow the records.

    One page for all runs below RUNS_DIR (default: runs), one per sweep as `bellmark report` writes it, one per run with
    every metric, and any two runs side by side. What changes on disk changes on the page. Nothing is ever written but
    the index in RUNS_DIR. A sweep file named here has its page before its first run.

    From a cluster, listen there and forward the port: ssh -L 8420:localhost:8420 HOST.

    \b
    Examples:
      bellmark serve
      bellmark serve runs sweeps/quickstart.yaml --open
      bellmark serve /data/runs --port 0
    """
    import starlette  # noqa: F401  a missing extra is said before anything is read
    import uvicorn  # noqa: F401

    from bellmark.reports import examine
    from bellmark.reports.serve import LOCAL, bound
    from bellmark.reports.serve import serve as run
    from bellmark.reports.site import Site

    root = _root(what)
    files = SweepFiles(root, [Path(name) for name in what if name.endswith(YAML)], folder)
    listening = bound(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listening.getsockname()[1]}/"
    click.echo(f"{root}: {url} (Ctrl-C ends)")
    if host not in LOCAL:
        click.echo(f"bellmark: warning: anybody who can reach {host} can read these runs", err=True)
    if open_page:
        click.launch(url)
    run(Site(root, files, examine), listening, local=host in LOCAL)


def _root(what: Sequence[str]) -> Path:
    folders = [name for name in what if not name.endswith(YAML)]
    if len(folders) > 1:
        raise UserError(f"one folder of runs is served at a time, got {', '.join(folders)}")
    root = Path(folders[0]) if folders else Path("runs")
    if folders and not root.is_dir():
        raise UserError(f"{root} is not a folder with runs")
    return root


@dataclass
class SweepFiles:
    """Which file declares a sweep: one that was named, else one below a folder that carries the sweep's name."""

    root: Path
    named: Sequence[Path]
    folder: Path
    _read: dict[Path, tuple[int, str]] = field(default_factory=dict)  # file -> (when it changed, the name in it)
    _resolve: Callable[..., Resolved] | None = None

    def __post_init__(self) -> None:
        from bellmark.sweeps.schema import load_sweep

        self._own = {load_sweep(file).name: file for file in self.named}

    def names(self) -> Sequence[str]:
        """The sweeps whose files were named."""
        return list(self._own)

    def stamp(self, name: str) -> object:
        """Which file it is and when it changed."""
        file = self._file(name)
        return None if file is None else (file, _changed(file))

    def plan(self, name: str) -> tuple[Plan, str] | None:
        """The plan as the file stands now.

        Raises:
            UserError: the file, or what it names, is wrong.
        """
        from bellmark.sweeps.plan import plan
        from bellmark.sweeps.schema import load_sweep

        file = self._file(name)
        if file is None:
            return None
        self._resolve = self._resolve or _remembering()
        return plan(load_sweep(file), self._resolve, self.root), spoken([str(file)], self.root)

    def _file(self, name: str) -> Path | None:
        if name in self._own:
            return self._own[name]
        files = [file for suffix in YAML for file in sorted(self.folder.rglob(f"*{suffix}"))]
        return next((file for file in files if self._name_in(file) == name), None)

    def _name_in(self, file: Path) -> str:
        """The sweep's name; "" for a file that is none, or cannot be read as one just now."""
        from bellmark.sweeps.schema import load_sweep

        changed = _changed(file)
        if self._read.get(file, (None, ""))[0] != changed:
            try:
                self._read[file] = (changed, load_sweep(file).name)
            except UserError:
                self._read[file] = (changed, "")
        return self._read[file][1]


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _remembering() -> Callable[..., Resolved]:
    """Resolves each configuration once; recipes in files of one's own are read anew, as they may have changed."""
    from bellmark.cli.families import resolve

    known: dict[tuple[str, tuple[str, ...]], Resolved] = {}

    def remembered(recipe: Any, overrides: Sequence[str] = ()) -> Resolved:
        if not isinstance(recipe, str) or "/" in recipe:
            return resolve(recipe, overrides)
        key = (recipe, tuple(overrides))
        if key not in known:
            known[key] = resolve(recipe, overrides)
        return known[key]

    return remembered
