"""One run as data for the page's run view and for comparisons: facts, settings, every metric, findings, videos."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bellmark.config import flatten
from bellmark.errors import UserError
from bellmark.records import Curve, Run
from bellmark.records.layout import LOG, VIDEOS
from bellmark.reports.code import codes_of
from bellmark.reports.dossier import Dossier
from bellmark.reports.findings import Finding
from bellmark.reports.pack import pack, plain
from bellmark.reports.scales import outline
from bellmark.reports.tables import command_of, setting_text
from bellmark.reports.words import STATES

KINDS = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif"}
LIVE_POINTS = 2_000  # per metric of the one run that a live page shows
PAGE_NUMBERS = 600_000  # over all runs and metrics in one file, shared out evenly
FEWEST_POINTS, MOST_POINTS = 24, 400
PAGE_VIDEOS = 8_000_000  # bytes of all videos in one file
LOG_BYTES = 12_000

Source = Callable[[Path], str]  # where the page finds a video; "" when it is not to be had


def document(
    run: Run,
    curves: Mapping[str, Curve],
    findings: Sequence[Finding],
    problems: Sequence[str],
    *,
    points: int,
    video: Source,
    log: bool,
) -> dict[str, Any]:
    """Everything about one run.

    Args:
        curves: every metric of its record.
        problems: damage of the record that was read around.
        points: most per metric; longer curves keep the extremes of every stretch.
        log: whether the end of the log is told even when nothing went wrong.
    """
    meta, status = run.meta, run.status
    told = log or status.state in ("failed", "stopped", "lost")
    return {
        "name": meta.name,
        "state": status.state,
        "word": STATES[status.state].word,
        "sign": STATES[status.state].sign,
        "reason": status.reason,
        "step": status.step,
        "total": status.total or meta.steps,
        "command": command_of(meta.recipe, meta.overrides),
        "facts": [[label, text] for label, text in _facts(run) if text],
        "config": [[key, setting_text(value)] for key, value in flatten(meta.config).items()],
        "curves": _curves(curves, points),
        "findings": [finding._asdict() for finding in findings],
        "videos": [_video(file, video) for file in videos(run.path)],
        "checkpoints": [
            [c.path.name, c.step, None if c.metric is None else plain([c.metric])[0], c.facts.bytes]
            for c in run.checkpoints()
        ],
        "problems": list(problems),
        "log": _tail(run.path / LOG) if told else "",
    }


def documents(dossier: Dossier) -> dict[str, str]:
    """Name -> document, packed, of every recorded run of a report; the more runs, the fewer points each."""
    recorded = [run for run in dossier.runs if run.meta]
    if not recorded:
        return {}
    metrics = max(len(Run(run.path).metric_names()) for run in recorded[:: max(len(recorded) // 8, 1)])
    points = min(max(PAGE_NUMBERS // max(metrics * len(recorded), 1), FEWEST_POINTS), MOST_POINTS)
    embed = Embed(PAGE_VIDEOS)
    packed = {}
    for record in recorded:
        run = Run(record.path)
        found = document(run, run.curves(), record.findings, record.notes, points=points, video=embed, log=False)
        packed[run.name] = pack(found)
    return packed


class Embed:
    """Puts videos into the page as they come, until they would be too much for one file."""

    def __init__(self, budget: int) -> None:
        self._left = budget

    def __call__(self, file: Path) -> str:
        """The file as a data URL, or "" when there is no room for it."""
        size = file.stat().st_size
        if size > self._left:
            return ""
        self._left -= size
        return f"data:{KINDS[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"


def videos(folder: Path) -> list[Path]:
    """The pictures that move of a run, the newest first."""
    try:
        files = sorted((folder / VIDEOS).iterdir(), reverse=True)
    except OSError:
        return []
    return [file for file in files if file.suffix in KINDS and file.is_file()]


def _video(file: Path, source: Source) -> dict[str, str]:
    return {"name": file.name, "kind": KINDS[file.suffix], "path": str(file), "source": source(file)}


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    meta, status = run.meta, run.status
    yield "Folder", str(run.path)
    yield "Sweep", meta.sweep or ""
    yield "Arm", meta.arm or ""
    yield "Task", meta.task
    yield "Seed", str(meta.seed)
    yield "Recipe", " ".join([meta.recipe, *meta.overrides])
    yield "Start checkpoint", meta.parent_checkpoint or ""
    yield "Goes on from", meta.continues or ""
    yield "Attempts", str(status.attempt)
    yield "Code", " then ".join(codes_of(run))
    yield "Fingerprint", meta.fingerprint
    yield "Model family", meta.model_fingerprint
    yield "Created", meta.created[:16].replace("T", " ")
    yield "Device", meta.device
    yield "Host", meta.host
    yield from sorted(meta.versions.items())


def _curves(curves: Mapping[str, Curve], points: int) -> dict[str, Any]:
    """Every metric's points; metrics that were logged together share their steps."""
    steps: dict[tuple[int, ...], int] = {}
    metrics = []
    for name, curve in sorted(curves.items()):
        keep = outline(curve.value, points)
        at = steps.setdefault(tuple(curve.step[keep].tolist()), len(steps))
        metrics.append([name, at, plain(curve.value[keep])])
    return {"steps": [list(found) for found in steps], "metrics": metrics}


def _tail(file: Path) -> str:
    """The last lines of a log; "" when there is none."""
    try:
        with open(file, "rb") as log:
            log.seek(max(0, file.stat().st_size - LOG_BYTES))
            return log.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
