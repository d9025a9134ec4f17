"""Figures for papers and pull requests through matplotlib: each arm beside the baseline, all arms together, effects."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bellmark.reports.dossier import ArmRecord, Dossier, RunRecord
from bellmark.reports.effects import bare, effect_unit
from bellmark.reports.numbers import mean_curve
from bellmark.reports.words import VERDICTS, Unit, short
from bellmark.stats import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARM, BASE, INK, RULE = "#0067a8", "#77808a", "#1a1e23", "#d9dcd8"
KINDS = {"supported": "#00725b", "refuted": "#b34700", "directional": "#0067a8", "anecdote": "#74559f"}
FORMATS = ("svg", "pdf", "png")
DEFAULT_FORMATS = ("svg", "png")
# Okabe and Ito (2008), told apart by colour-blind readers; without black, the axes', and yellow, too pale on white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
PANEL, WIDTH, HANDLE = 3.4, 42, 8  # a panel in inches and in characters; characters that a line in a legend takes
STROKES = ("-", "--", "-.", ":")  # told apart in print
NO_DATE: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
MOST_TOGETHER = len(PALETTE)  # arms beside the baseline that one picture can hold
SKIPPED = "figures skipped: matplotlib is not installed (pip install 'bellmark[plots]')"
STYLE: Any = {  # Any: matplotlib types the keys one by one
    "font.family": "sans-serif", "font.size": 9, "axes.edgecolor": RULE, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": "#59626c", "ytick.color": "#59626c", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": RULE, "grid.linewidth": 0.6, "svg.fonttype": "none", "svg.hashsalt": "bellmark",
    "pdf.fonttype": 42,  # text stays text, which publishers ask for
    "legend.frameon": False, "axes.axisbelow": True, "figure.dpi": 150,
}  # fmt: skip


def write_figures(
    dossier: Dossier, verdicts: Sequence[Verdict], folder: Path, formats: Sequence[str] = DEFAULT_FORMATS
) -> tuple[list[Path], str]:
    """(files, why there are none): curves once a run was evaluated, effects once one was estimated.

    `together` has all arms in one picture, where there are several and not too many to be told apart.
    """
    try:
        import matplotlib
    except ImportError:
        return [], SKIPPED
    matplotlib.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    with matplotlib.rc_context(STYLE):
        if any(len(run.trace.step) for run in dossier.runs):
            files += _save(_curves(dossier), folder / "curves", formats)
            if 2 <= sum(any(run.finished for run in arm.runs) for arm in dossier.arms) <= MOST_TOGETHER + 1:
                files += _save(_together(dossier), folder / "together", formats)
        judged = [v for v in verdicts if v.estimate is not None]
        if judged:
            files += _save(_effects(dossier, judged), folder / "effects", formats)
    return files, ""


def _save(figure: Figure, stem: Path, formats: Sequence[str]) -> list[Path]:
    import matplotlib.pyplot as plt

    files = [stem.with_suffix(f".{kind}") for kind in formats]
    for file in files:
        # without a date the same records give the same bytes
        figure.savefig(file, bbox_inches="tight", metadata=NO_DATE.get(file.suffix))
    plt.close(figure)
    return files


def _together(dossier: Dossier) -> Figure:
    """A panel per task with the mean and band of every arm; the baseline grey, below the others."""
    import matplotlib.pyplot as plt

    tasks, unit = dossier.tasks, Unit(dossier.metric)
    columns = min(len(tasks), 3)
    rows = -(-len(tasks) // columns)
    size = (PANEL * columns + 0.6, 2.5 * rows + 0.5)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axes in grid.flat[len(tasks) :]:
        axes.set_visible(False)
    for axes, task in zip(grid.flat, tasks, strict=False):
        for i, arm in enumerate(sorted(dossier.arms, key=lambda arm: not arm.is_baseline)):
            number = i - (dossier.baseline is not None)
            colour = BASE if arm.is_baseline else PALETTE[number % len(PALETTE)]
            stroke = "-" if arm.is_baseline else STROKES[number % len(STROKES)]
            _mean_and_band(axes, arm, task, colour, unit, stroke)
        if len(tasks) > 1:
            axes.set_title(_plain(task), loc="left", fontsize=9)
        _dress(axes, unit, [run for arm in dossier.arms for run in arm.on(task)])
        axes.set_xlabel("real environment steps")
    grid[0, 0].set_ylabel(_plain(dossier.metric))
    handles = {label: h for axes in grid.flat for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(
            list(handles.values()), list(handles), fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, 0.0),
            ncols=_side_by_side(handles, columns),
        )  # fmt: skip
    figure.tight_layout()
    return figure


def _curves(dossier: Dossier) -> Figure:
    """A row per task, a column per arm, each beside the baseline."""
    import matplotlib.pyplot as plt

    shown = dossier.compared or dossier.arms
    rows, columns = len(dossier.tasks), len(shown)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(min(PANEL * columns + 0.6, 40), 2.5 * rows + 0.3),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    unit = Unit(dossier.metric)
    for i, task in enumerate(dossier.tasks):
        for j, arm in enumerate(shown):
            axes = grid[i, j]
            sides = [(dossier.baseline, BASE)] if dossier.baseline and dossier.baseline is not arm else []
            for side, colour in (*sides, (arm, ARM)):
                _side(axes, side, task, colour, unit)
            axes.set_title(_lines(f"{arm.name}, {task}" if rows > 1 else arm.name), loc="left", fontsize=9)
            if axes.lines:
                axes.legend(fontsize=7.5, loc="lower right" if unit.is_share else "best")
            _dress(axes, unit, [run for arm in dossier.arms for run in arm.on(task)])
        grid[i, 0].set_ylabel(_plain(dossier.metric))
    for axes in grid[-1]:
        axes.set_xlabel("real environment steps")
    return figure


def _dress(axes: Axes, unit: Unit, runs: Sequence[RunRecord]) -> None:
    """Ticks, and a panel as high as what the runs reached: a band of few seeds may leave it."""
    axes.xaxis.set_major_formatter(lambda x, _: short(x))
    if unit.is_share:
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.0f}%")
        return
    values = np.concatenate([np.zeros(0), *(run.trace.value for run in runs)])
    values = values[np.isfinite(values)]
    if len(values) and np.ptp(values) > 0:
        margin = 0.06 * np.ptp(values)
        axes.set_ylim(values.min() - margin, values.max() + margin)


def _side(axes: Axes, arm: ArmRecord, task: str, colour: str, unit: Unit) -> None:
    curve = mean_curve(arm.on(task))
    drawn = [run for run in arm.on(task) if len(run.trace.step)]
    for i, run in enumerate(drawn):
        style = "-" if run.finished else "--" if run.failed else ":"
        label = _lines(f"{arm.name} (none finished)") if curve is None and i == 0 else None
        axes.plot(run.trace.step, run.trace.value, style, color=colour, linewidth=0.7, alpha=0.55, label=label)
    _mean_and_band(axes, arm, task, colour, unit, "-")


def _mean_and_band(axes: Axes, arm: ArmRecord, task: str, colour: str, unit: Unit, stroke: str) -> None:
    curve = mean_curve(arm.on(task))
    if curve is None:
        return
    label = _lines(f"{arm.name} (n = {curve.n})")
    axes.plot(curve.step, curve.mean, stroke, color=colour, linewidth=1.8, label=label)
    low, high = (np.clip(b, 0, 1) if unit.is_share else b for b in (curve.low, curve.high))
    axes.fill_between(curve.step, low, high, color=colour, alpha=0.12, linewidth=0)


def _effects(dossier: Dossier, verdicts: Sequence[Verdict]) -> Figure:
    """The forest plot."""
    import matplotlib.pyplot as plt

    assert dossier.sweep is not None
    unit, delta = effect_unit(dossier), dossier.sweep.expect.minimum_effect
    names = [_lines(verdict.arm) for verdict in reversed(verdicts)]
    row_height = 0.22 + 0.2 * max(1 + name.count("\n") for name in names)  # inches
    figure, axes = plt.subplots(figsize=(5.2, row_height * len(verdicts) + 0.9))
    for row, verdict in enumerate(reversed(verdicts)):
        colour = KINDS.get(verdict.kind, "#59626c")
        if verdict.low is not None and verdict.high is not None:
            axes.plot([verdict.low, verdict.high], [row, row], color=colour, linewidth=2.2, solid_capstyle="round")
        axes.plot([verdict.estimate or 0.0], [row], "o", color=colour, markersize=5.5)
        word = "opposite" if verdict.opposite else VERDICTS[verdict.kind].word
        axes.annotate(word, (1.02, row), xycoords=("axes fraction", "data"), va="center", color=colour, fontsize=8.5)
    axes.axvline(0.0, color=INK, linewidth=0.9)
    if delta:
        axes.axvline(delta, color="#59626c", linewidth=0.9, linestyle="--")
    axes.set_yticks(range(len(verdicts)), names)
    axes.set_ylim(-0.6, len(verdicts) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(lambda x, _: "0" if abs(x) < 1e-12 else bare(unit, x).removesuffix(".0"))
    points = ", percentage points" if unit.is_share else ""
    axes.set_xlabel(f"improvement of {_plain(dossier.metric)} over {_plain(verdicts[0].baseline)}{points}")
    return figure


def _side_by_side(labels: Collection[str], panels: int) -> int:
    """Columns of a legend that is as wide as the panels above it."""
    longest = max(len(line) for label in labels for line in label.splitlines())
    return max(1, min(len(labels), panels * WIDTH // (longest + HANDLE)))


def _lines(text: str) -> str:
    """A name that may be long, in lines no wider than a panel."""
    return _plain(textwrap.fill(text, WIDTH, break_on_hyphens=False))


def _plain(text: str) -> str:
    """Text in which matplotlib finds no mathematics."""
    return text.replace("$", r"\$")
