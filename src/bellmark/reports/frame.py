"""What every page has in common: the frame with style and scripts in the page itself, and how templates are filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bellmark.reports.findings import SEVERITIES
from bellmark.reports.words import STATES, VERDICTS, count

if TYPE_CHECKING:
    from jinja2 import Environment

SCRIPTS = ("core.js", "panels.js", "charts.js", "runs.js", "views.js")
LIVE_SCRIPT = "live.js"


@dataclass(frozen=True)
class Live:
    """That a page is served, and by which it asks for what has changed since."""

    base: str  # the server's root, as seen from the page
    page: str  # the page's own name
    revision: str  # how often it was made


@dataclass(frozen=True)
class RunRow:
    """One run in the table of runs."""

    key: str  # by which the page's scripts ask for it
    name: str
    sweep: str
    arm: str
    task: str
    seed: int
    state: str
    step: int
    total: int
    value: str  # the latest
    metric: str  # of the value, where it is not the same for all rows
    value_key: str  # to order by
    health: str  # the gravest finding
    folder: str
    fingerprint: str
    code: str
    created: str
    recorded: bool


def fill(
    template: str, context: Mapping[str, Any], *, documents: Mapping[str, str], live: Live | None, share: bool
) -> str:
    """A whole page.

    Args:
        documents: run name -> its document, packed; empty where the page is served and asks for them.
        share: whether the page's metric is a share between 0 and 1.
    """
    scripts = [*SCRIPTS, LIVE_SCRIPT] if live else SCRIPTS
    common = {
        "documents": documents,
        "live": live,
        "share": share,
        "marks": VERDICTS,
        "states": STATES,
        "severities": SEVERITIES,
        "style": _asset("style.css"),
        "script": _joined(tuple(scripts)),
    }
    return _environment().get_template(template).render({**common, **context})


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bellmark.reports", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=count,
        percent=lambda share: f"{100 * share:.3f}%",
        address=lambda name: quote(name, safe=""),
        opened=_opened,
        breakable=_breakable,
    )
    return environment


def _opened(sentence: str) -> str:
    """A verdict's sentence without the word that the badge beside it says."""
    return sentence.partition(": ")[2] or sentence


def _breakable(key: str) -> Any:
    """A dotted key that a narrow screen may break after its dots."""
    from markupsafe import Markup, escape

    return Markup(".<wbr>").join(escape(part) for part in key.split("."))


@cache
def _asset(name: str) -> Any:
    from markupsafe import Markup

    return Markup(resources.files("bellmark.reports").joinpath("assets", name).read_text(encoding="utf-8"))


@cache
def _joined(names: tuple[str, ...]) -> Any:
    from markupsafe import Markup

    return Markup("\n").join(_asset(name) for name in names)
