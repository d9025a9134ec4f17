"""Reports: what the records of a sweep or of some runs say, as a page, a log and figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bellmark.errors import UserError
from bellmark.records import Run, write_atomic
from bellmark.reports import log, page, plots
from bellmark.reports.collect import collect_plan, collect_runs
from bellmark.reports.doctor import examine
from bellmark.reports.dossier import Dossier
from bellmark.reports.shelf import Shelf
from bellmark.reports.verdicts import judged
from bellmark.stats import Verdict
from bellmark.sweeps.work import Plan

__all__ = ["ReportPaths", "Shelf", "build_report", "collect_plan", "collect_runs", "examine", "judged", "write_report"]


@dataclass(frozen=True)
class ReportPaths:
    """The files of a report; iterating gives those a reader opens first."""

    page: Path
    log: Path
    figures: tuple[Path, ...]
    note: str  # why figures are missing; "" where they are not

    def __iter__(self) -> Iterator[Path]:
        """Page, then log."""
        yield from (self.page, self.log)


def build_report(plan: Plan, runs: Sequence[Run], out_dir: Path, *, source: str = "") -> ReportPaths:
    """Judge a sweep by its plan and the records there are, finished or not, and write its report.

    Args:
        runs: the recorded runs; those of the plan are recognised by fingerprint.
        source: the sweep file as the user named it, for the commands in the report.
    """
    dossier = collect_plan(plan, runs, source, Shelf(examine))
    return write_report(dossier, judged(dossier), out_dir)


def write_report(
    dossier: Dossier, verdicts: Sequence[Verdict], out_dir: Path, *, figures: Sequence[str] = plots.DEFAULT_FORMATS
) -> ReportPaths:
    """Write index.html, log.md and figures/; notes between the marks of an earlier log.md are kept.

    Args:
        figures: file formats, of "svg", "pdf" and "png"; empty: none.

    Raises:
        UserError: the folder cannot be written.
    """
    html, text = out_dir / "index.html", out_dir / "log.md"
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        notes = log.own_notes(text)
        write_atomic(text, log.render(dossier, verdicts, notes=notes).encode())
        write_atomic(html, page.render(dossier, verdicts, notes=notes).encode())
        made, note = plots.write_figures(dossier, verdicts, out_dir / "figures", figures) if figures else ([], "")
    except OSError as error:
        raise UserError(f"report folder {str(out_dir)!r} cannot be written: {error.strerror or error}") from None
    return ReportPaths(html, text, tuple(made), note)
