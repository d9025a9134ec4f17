"""The live pages of a folder of runs: made anew when records change, served as they last were.

`Site.look` does all the work, in a thread of the server's: it finds out which run folders have changed, makes the home
page, then the pages of the sweeps that these runs belong to. A request only hands out what is there, so that a page
opens at once however long the next one takes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bellmark.errors import UserError
from bellmark.records import Damage, Index, Row, Run
from bellmark.records.layout import RUN
from bellmark.records.reader import folders, recorded_status
from bellmark.records.reader import judged as judged_status
from bellmark.reports import page
from bellmark.reports.collect import HEADLINES, collect_plan, collect_runs
from bellmark.reports.documents import KINDS, LIVE_POINTS, document, videos
from bellmark.reports.dossier import Dossier
from bellmark.reports.findings import Diagnose, gravest, order, undiagnosed
from bellmark.reports.frame import Live, RunRow, fill
from bellmark.reports.shelf import Shelf, stamp_of
from bellmark.reports.verdicts import judged
from bellmark.reports.words import DASH, Unit, some
from bellmark.sweeps.work import Plan

log = logging.getLogger(__name__)

HOME = ""
REVISION = "@revision@"  # stands in a page until it is known to be new
LATEST = (*HEADLINES, "train/success", "train/return")  # what the table of all runs shows: the first that a run has
BASE = "{base}"  # the page puts the way to the server's root here
Mark = tuple[tuple[int, ...], str]


class Plans(Protocol):
    """The sweep files that are known."""

    def names(self) -> Sequence[str]:
        """Sweeps that have a page even before their first run."""
        ...

    def stamp(self, name: str) -> object:
        """Equal while the file of this sweep stands as it stood."""
        ...

    def plan(self, name: str) -> tuple[Plan, str] | None:
        """(the sweep's plan, its file as the user named it); None where no file declares it.

        Raises:
            UserError: the file, or what it names, is wrong.
        """
        ...


@dataclass(frozen=True)
class Served:
    """A page as it stands, and how often it has been made."""

    html: str
    revision: int
    raw: str  # without its revision


@dataclass(frozen=True)
class SweepLine:
    """One sweep, or group of runs, on the home page."""

    name: str
    question: str
    kind: str  # of the verdict; "" while it is not worked out, or nothing was declared
    words: str
    progress: str
    shares: tuple[tuple[str, float], ...]


@dataclass
class _Group:
    """What is known of one sweep's page."""

    marks: Mapping[Path, Mark] = field(default_factory=dict)
    plan_stamp: object = None
    line: SweepLine | None = None


class Site:
    """The pages of all runs below a folder.

    Args:
        diagnose: asked for findings when a run is read.
    """

    def __init__(self, root: Path, plans: Plans, diagnose: Diagnose = undiagnosed) -> None:
        self.root = root
        self._plans, self._diagnose, self._shelf = plans, diagnose, Shelf(diagnose)
        self._marks: dict[Path, Mark] | None = None
        self._served: dict[str, Served] = {}
        self._groups: dict[str, _Group] = {}
        self._paths: dict[str, Path] = {}  # key of a run -> its folder
        self._runs: dict[Path, Run] = {}
        self._health: dict[Path, str] = {}  # folder -> the gravest finding about it

    def served(self, name: str) -> Served | None:
        """A page as it stands: HOME or a sweep's; None where there is none, or not yet."""
        return self._served.get(name)

    def expects(self, name: str) -> bool:
        """Whether there is, or will be, a page of this name."""
        return name == HOME or name in self._groups or self._marks is None

    def document(self, key: str) -> dict[str, Any] | None:
        """A run's document, read now; None where no run has this name."""
        path = self._paths.get(key)
        if path is None:
            return None
        run = Run(path)
        curves = run.curves()

        def source(file: Path) -> str:
            from urllib.parse import urlencode

            return f"{BASE}data/video?{urlencode({'name': key, 'file': file.name})}"

        findings = sorted(self._diagnose(run, curves), key=order)
        return document(run, curves, findings, run.problems(), points=LIVE_POINTS, video=source, log=True)

    def video(self, key: str, name: str) -> tuple[Path, str] | None:
        """(file, media type) of a run's video; None where there is none of this name."""
        path = self._paths.get(key)
        found = next((file for file in videos(path) if file.name == name), None) if path else None
        return (found, KINDS[found.suffix]) if found else None

    def look(self) -> bool:
        """One round over all folders; returns whether any page was made anew."""
        marks = {folder: _mark(folder) for folder in folders(self.root)}
        stamps = {name: self._plans.stamp(name) for name in self._groups}
        before = self._served.copy()
        if marks != self._marks or stamps != {name: group.plan_stamp for name, group in self._groups.items()}:
            index = Index(self.root)
            damaged, rows = (index.refresh(), index.rows()) if self.root.is_dir() else ([], [])
            self._paths = _keys(rows)
            self._marks = marks
            self._divide(rows)
            self._make_home(rows, damaged)
            for name in list(self._groups):
                try:
                    self._make_sweep(name, [row for row in rows if _group_of(row) == name], marks)
                except Exception:  # a fault of ours: the other pages are made all the same
                    log.exception("the page of %s could not be made", name)
                    self._say(name, "This page could not be made; the server's own output says why.")
            self._make_home(rows, damaged)
        return self._served != before

    def _divide(self, rows: Sequence[Row]) -> None:
        names = dict.fromkeys([*self._plans.names(), *(_group_of(row) for row in rows)])
        self._groups = {name: self._groups.get(name, _Group()) for name in names}

    def _publish(self, name: str, raw: str) -> None:
        """Replace a page where it says something new."""
        old = self._served.get(name)
        if old is None or raw != old.raw:
            revision = old.revision + 1 if old else 1
            self._served[name] = Served(raw.replace(REVISION, str(revision), 1), revision, raw)

    def _make_home(self, rows: Sequence[Row], damaged: Sequence[Damage]) -> None:
        keys = {path: key for key, path in self._paths.items()}
        states: Counter[str] = Counter(row.status.state for row in rows)
        context = {
            "folder": str(self.root),
            "rows": [_home_row(row, keys[row.path], self._health.get(row.path, "")) for row in rows],
            "counts": dict(states.most_common()),
            "damaged": [damage.problem for damage in damaged],
            "sweeps": [group.line or _plain_line(name, rows) for name, group in self._groups.items()],
            "diagnosed": any(self._health.values()),
        }
        self._publish(HOME, fill("home.html", context, documents={}, live=Live("./", HOME, REVISION), share=False))

    def _make_sweep(self, name: str, rows: Sequence[Row], marks: Mapping[Path, Mark]) -> None:
        group = self._groups[name]
        own = {row.path: marks[row.path] for row in rows if row.path in marks}
        stamp = self._plans.stamp(name)
        if group.line is not None and group.marks == own and group.plan_stamp == stamp:
            return
        group.marks, group.plan_stamp = own, stamp
        try:
            dossier = self._dossier(name, rows)
        except UserError as error:
            self._say(name, str(error))
            return
        self._health |= {run.path: gravest(run.findings) for run in dossier.runs}
        verdicts = judged(dossier)
        kind, words = page.headline(dossier, verdicts)
        group.line = SweepLine(
            name=name,
            question=dossier.sweep.question if dossier.sweep else "",
            kind=kind if verdicts and kind != "none" else "",
            words=words if dossier.sweep else "",
            progress=page.progress(dossier),
            shares=_shares([run.state if not run.failed else "failed" for run in dossier.runs]),
        )
        self._publish(name, page.render(dossier, verdicts, live=Live("../", name, REVISION)))

    def _say(self, name: str, words: str) -> None:
        """A sentence instead of a sweep's page."""
        context, live = {"name": name, "words": words}, Live("../", name, REVISION)
        self._publish(name, fill("waiting.html", context, documents={}, live=live, share=False))
        self._groups[name].line = SweepLine(name, "", "", words, "", ())

    def _dossier(self, name: str, rows: Sequence[Row]) -> Dossier:
        runs = [self._run(row.path) for row in rows]
        planned = self._plans.plan(name)
        if planned:
            plan, source = planned
            shared = [run.dir for run in plan.runs if (run.dir / RUN).exists()]
            every = list(dict.fromkeys([*shared, *(run.path for run in runs)]))
            return collect_plan(plan, [self._run(path) for path in every], source, self._shelf)
        metric = next((m for m in HEADLINES if any(m in row.latest for row in rows)), HEADLINES[0])
        if not any(metric in row.latest for row in rows):
            metric = next((m for row in rows for m in sorted(row.latest)), metric)
        return collect_runs(runs, name=name, source=str(self.root / name), metric=metric, shelf=self._shelf)

    def _run(self, path: Path) -> Run:
        if path not in self._runs:
            self._runs[path] = Run(path)
        return self._runs[path]


def _mark(folder: Path) -> Mark:
    """Changes with the files of a run, and when its writer dies."""
    status = recorded_status(folder)
    return stamp_of(folder), judged_status(status).state


def _group_of(row: Row) -> str:
    return row.meta.sweep or row.meta.group


def _keys(rows: Iterable[Row]) -> dict[str, Path]:
    """A key per run: its name, with its group before it where another run has that name."""
    found: dict[str, Path] = {}
    for row in rows:
        key = row.meta.name if row.meta.name not in found else f"{row.path.parent.name}/{row.meta.name}"
        found[key] = row.path
    return found


def _home_row(row: Row, key: str, health: str) -> RunRow:
    metric = next((name for name in LATEST if name in row.latest), "")
    value = row.latest[metric].value if metric else float("nan")
    return RunRow(
        key=key,
        name=row.meta.name,
        sweep=_group_of(row),
        arm=row.meta.arm or "",
        task=row.meta.task,
        seed=row.meta.seed,
        state=row.status.state,
        step=row.status.step,
        total=row.status.total or row.meta.steps,
        value=Unit(metric).value(value) if metric else DASH,
        metric=metric,
        value_key=f"{value:.6g}" if value == value else "",
        health=health,
        folder=row.path.parent.name,
        fingerprint=row.meta.fingerprint,
        code="",
        created=row.meta.created[:16].replace("T", " "),
        recorded=True,
    )


def _plain_line(name: str, rows: Sequence[Row]) -> SweepLine:
    """A group before its page is made: what the index knows."""
    states = [row.status.state for row in rows if _group_of(row) == name]
    progress = f"{states.count('done')} of {some(len(states), 'run')} done"
    return SweepLine(name, "", "", "reading its records", progress, _shares(states))


def _shares(states: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """How much of a bar each state takes, the open ones left out."""
    counted = {
        "done": states.count("done"),
        "failed": sum(state in ("failed", "stopped") for state in states),
        "running": states.count("running"),
    }
    return tuple((state, n / len(states)) for state, n in counted.items() if n)
