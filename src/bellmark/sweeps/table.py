"""A launch on the screen: a live table on a terminal, plain lines everywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bellmark.sweeps.progress import AHEAD, LIVE, Board, Line, View

QUIET_SECONDS = 30.0  # between plain summaries
COLOUR = {
    "running": "cyan",
    "stopping": "yellow",
    "queued": "blue",
    "done": "green",
    "failed": "red",
    "lost": "red",
    "preempted": "yellow",
}
RANK = ("running", "stopping", "failed", "queued", "waiting", "elsewhere", "preempted", "lost", "stopped", "done")
ROOM = 8  # lines of a terminal that are not rows of the table
NEWS = 2  # headline metrics per run


def view_for(console: Console, headline: str) -> View:
    """The view that suits a console; `headline` is the metric to show first."""
    return TableView(console, headline) if console.is_terminal else PlainView(console, headline)


class TableView:
    """One row per run, redrawn in place; the last state stays on the screen."""

    def __init__(self, console: Console, headline: str) -> None:
        self._console, self._headline = console, headline
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, board: Board) -> None:
        """Redraw."""
        self._live.update(drawn(board, self._headline, self._console.height - ROOM), refresh=True)

    def say(self, text: str) -> None:
        """A line above the table."""
        self._live.console.print(text)


class PlainView:
    """A line when a run changes its state, and a summary now and then: for logs and pipes."""

    def __init__(self, console: Console, headline: str) -> None:
        self._console, self._headline = console, headline
        self._states: dict[str, str] = {}
        self._said = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, board: Board) -> None:
        """Say what has changed since the last call."""
        changed = False
        for line in board.lines:
            former = self._states.get(line.run.name, "waiting")
            self._states[line.run.name] = line.state
            if line.state != former and (self._said or line.state in LIVE):
                news = f"  {_news(line.brief, self._headline)}" if line.brief and line.state == "done" else ""
                self._console.print(f"[{clock(board.elapsed)}] {line.state:9s} {line.run.name}{news}")
                changed = True
        if changed or board.elapsed - self._said > QUIET_SECONDS:
            self._said = board.elapsed or 1e-9
            self._console.print(f"[{clock(board.elapsed)}] {summary(board)}")

    def say(self, text: str) -> None:
        """A line."""
        self._console.print(text)


def drawn(board: Board, headline: str, height: int) -> RenderableType:
    """The board as a table of at most `height` rows, the liveliest first, over a line for the whole."""
    lines = sorted(board.lines, key=lambda line: RANK.index(line.state) if line.state in RANK else len(RANK))
    shown = lines[: max(1, height)] if len(lines) > height else board.lines
    several = len({line.run.task for line in board.lines}) > 1
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in _columns(several):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for line in shown:
        table.add_row(*_row(line, headline, several))
    hidden = len(lines) - len(shown)
    more = [Text(f"... and {hidden} more", style="dim")] if hidden else []
    note = [Text(board.message, style="yellow")] if board.message else []
    total = Table.grid(padding=(0, 1))
    total.add_row(ProgressBar(total=1.0, completed=board.share, width=24), Text(summary(board)))
    return Group(table, *more, Text(), total, *note)


def _columns(several: bool) -> list[tuple[str, str]]:
    task = [("task", "left")] if several else []
    return [
        ("arm", "left"), *task, ("seed", "right"), ("state", "left"), ("progress", "left"), ("steps", "right"),
        ("steps/s", "right"), ("left", "right"), ("latest", "left"),
    ]  # fmt: skip


def _row(line: Line, headline: str, several: bool) -> list[RenderableType]:
    alive = line.state in LIVE
    return [
        Text(line.run.arm),
        *([Text(line.run.task)] if several else []),
        Text(str(line.run.seed)),
        Text(line.state, style=COLOUR.get(line.state, "dim")),
        ProgressBar(total=1.0, completed=line.share, width=16),
        Text(f"{line.step:,}/{line.total:,}"),
        Text(f"{line.speed:,.0f}" if alive and line.speed else ""),
        Text(clock(line.seconds) if alive and line.seconds is not None else ""),
        Text(line.reason if line.state == "failed" else _news(line.brief, headline)),
    ]


def _news(brief: Mapping[str, float | str], headline: str) -> str:
    """The headline metric first, then others, few of them."""
    names = sorted(brief, key=lambda name: name != headline)[:NEWS]
    return "  ".join(f"{n} {v:.3f}" if isinstance(v := brief[n], float) else f"{n} {v}" for n in names)


def summary(board: Board) -> str:
    """`4 of 12 runs done, 2 running, 1 failed; 3:10 gone, about 8:00 left`."""
    parts = [f"{board.count('done')} of {len(board.lines)} runs done"]
    parts += [f"{n} {state}" for state in RANK[:-1] if (n := board.count(state))]
    left = board.remaining()
    time = f"{clock(board.elapsed)} gone"
    if left and board.count(*LIVE, *AHEAD):
        time += f", about {clock(left)} left"
    return f"{', '.join(parts)}; {time}"


def clock(seconds: float) -> str:
    """`4:05`, or `2:04:05` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
