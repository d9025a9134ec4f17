"""The pages in a real headless Chromium: what is drawn, what keys do, what a phone shows, what a live page exchanges.

Skipped, with its reason, where no Chromium is found: everything else about the pages is tested without one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from browser import MISSING, Browser, Tab, find_chromium
from synthetic_ledger import CURVES, QUESTION, Ledger

from bellmark.records import Curve, Run
from bellmark.reports import collect_plan, judged
from bellmark.reports.findings import Finding
from bellmark.reports.page import render
from bellmark.reports.shelf import Shelf

pytestmark = pytest.mark.skipif(find_chromium() is None, reason=MISSING)

DRAWN = "document.querySelectorAll('.panel .plot[data-drawn]').length"
CHECKS = (Path(__file__).parents[1] / "support" / "page_checks.js").read_text(encoding="utf-8")


def diagnose(run: Run, curves: Mapping[str, Curve]) -> list[Finding]:
    fell = Finding("peak_then_collapse", "critical", 30_000, "Success fell from 92% to 41% and did not recover.")
    return [fell, Finding("slow", "info", None, "Half the usual speed.")] if run.meta.seed == 3 else []


class Pages:
    """A finished sweep, its page as a file, and a browser."""

    def __init__(self, folder: Path, browser: Browser) -> None:
        self.browser = browser
        self.ledger = Ledger(folder, {**QUESTION})
        self.ledger.write_all()
        plan = self.ledger.plan()
        dossier = collect_plan(plan, plan.results(), "duel.yaml", Shelf(diagnose))
        self.file = folder / "index.html"
        self.file.write_text(render(dossier, judged(dossier), notes="Mine."), encoding="utf-8")
        self.names = [path.name for path in self.ledger.written]

    def tab(self, width: int = 1280, height: int = 900, *, dark: bool = False, phone: bool = False) -> Tab:
        """The report in a new tab, its first panel painted."""
        tab = self.browser.tab(width, height, dark=dark, phone=phone)
        tab.open(self.file.as_uri())
        tab.run("document.querySelector('#curves').scrollIntoView()")
        tab.until(f"{DRAWN} > 0")
        tab.run("scrollTo(0, 0)")
        return tab


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with Browser() as browser:
        yield Pages(tmp_path_factory.mktemp("pages"), browser)


def see_all(tab: Tab) -> None:
    """Open everything that is folded, so that it is looked at too."""
    tab.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")


def test_a_page_asks_for_nothing_and_complains_of_nothing(pages: Pages) -> None:
    tab = pages.tab()
    tab.run(f"location.hash = '#/run/{pages.names[0]}'")
    tab.until("document.querySelector('#view .plot[data-drawn]')")
    assert {url.partition(":")[0] for url in tab.requests()} <= {"file", "data"}
    assert tab.complaints() == []


def test_every_seed_is_painted(pages: Pages) -> None:
    tab = pages.tab()
    assert tab.run("document.querySelector('.panel .plot').dataset.drawn") == "6"
    inked = tab.run(
        "(() => { const c = document.querySelector('.panel canvas'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0;"
        " return n; })()"
    )
    assert inked > 2000


@pytest.mark.parametrize("view", ["", "#/run/{0}", "#/compare/{0}/{5}"])
def test_a_phone_shows_all_within_its_width(pages: Pages, view: str) -> None:
    tab = pages.tab(390, 844, phone=True)
    tab.run(f"location.hash = '{view.format(*pages.names)}'")
    tab.until("document.querySelector('main:not([hidden]) h1')")
    see_all(tab)
    assert tab.run("document.documentElement.scrollWidth") == 390
    assert tab.run(f"{CHECKS}.wider()") == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("view", ["", "#/run/{5}", "#/compare/{0}/{5}"])
def test_every_text_stands_out(pages: Pages, view: str, dark: bool) -> None:
    tab = pages.tab(dark=dark)
    tab.run(f"location.hash = '{view.format(*pages.names)}'")
    tab.until("document.querySelector('main:not([hidden]) h1')")
    see_all(tab)
    assert tab.run(f"{CHECKS}.faint()") == []
    assert tab.run("matchMedia('(prefers-color-scheme: dark)').matches") is dark


@pytest.mark.parametrize("view", ["", "#/run/{0}", "#/compare/{0}/{5}"])
def test_whatever_can_be_reached_has_a_name_and_headings_are_in_order(pages: Pages, view: str) -> None:
    tab = pages.tab()
    tab.run(f"location.hash = '{view.format(*pages.names)}'")
    tab.until("document.querySelector('main:not([hidden]) h1')")
    see_all(tab)
    assert tab.run(f"{CHECKS}.nameless()") == []
    levels = tab.run(f"{CHECKS}.levels()")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert tab.run(f"{CHECKS}.twice()") == []


def test_the_keyboard_reaches_everything_in_the_order_of_the_page(pages: Pages) -> None:
    tab = pages.tab()
    tab.press("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    tops, seen = [], 0
    for _ in range(400):
        tab.press("Tab")
        place = tab.run(f"{CHECKS}.focus()")
        if place is None:
            break
        seen += 1
        assert place[1], f"no focus to be seen: {place[2]}"
        tops.append(place[0])
    wanted = tab.run(f"{CHECKS}.reachable()")
    assert seen == wanted
    assert all(after > before - 60 for before, after in pairwise(tops))


def test_arrow_keys_read_the_curve_and_enter_opens_the_run(pages: Pages) -> None:
    tab = pages.tab()
    tab.run("document.querySelector('.panel .plot').focus()")
    for _ in range(3):
        tab.press("ArrowRight")
    words = tab.run("document.querySelector('.readout').innerText")
    # the third evaluation: awr's seeds have 110 - 2, 110, 110 + 2 hits of 128
    assert "step 20,000" in words and all(f"{100 * h / 128:.1f}%" in words for h in (108, 110, 112))
    tab.press("Enter")
    tab.until("!document.getElementById('view').hidden")
    assert tab.run("document.activeElement.tagName") == "H1"
    tab.press("Escape")
    tab.until("!document.getElementById('page').hidden")
    assert tab.run("document.activeElement.className") == "plot"


def test_hover_names_the_nearest_seed(pages: Pages) -> None:
    tab = pages.tab()
    box = tab.run(
        "(() => { const a = document.querySelector('.panel .area'); a.scrollIntoView({block: 'center'});"
        " const b = a.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()"
    )
    best = (CURVES["awr"][-1] + 2) / 128
    tab.hover(box[0] + box[2] - 2, box[1] + (1 - best) * box[3])
    tab.until("!document.querySelector('.readout').hidden")
    assert tab.run("document.querySelector('.readout .near').innerText").startswith("awr, seed 3")


def test_a_run_view_has_its_metrics_and_a_search(pages: Pages) -> None:
    tab = pages.tab()
    tab.click("#runs tbody tr:nth-child(6) a")
    tab.until("document.querySelectorAll('#view .chart').length === 8")
    run = pages.ledger.written[5].name
    assert tab.run("document.querySelector('#view h1').textContent") == run
    assert "peak_then_collapse" in tab.run("document.getElementById('view-health').innerText")
    tab.run("document.getElementById('metric-search').focus()")
    tab.type("time up")
    shown = "[...document.querySelectorAll('#view .chart')].filter((c) => !c.hidden).map((c) => c.dataset.metric)"
    assert tab.run(shown) == ["time/update"]
    assert tab.run("document.querySelector('#view-metrics .shown').textContent") == "1 of 8"
    tab.click("#view .back")
    tab.until("!document.getElementById('page').hidden")
    assert tab.run("document.activeElement.textContent") == run


def test_two_ticked_runs_side_by_side(pages: Pages) -> None:
    tab = pages.tab()
    assert tab.run("document.querySelector('button.compare').disabled")
    tab.click("#runs tbody tr:nth-child(1) input")
    tab.click("#runs tbody tr:nth-child(6) input")
    tab.click("button.compare")
    tab.until("document.querySelector('#view-differences')")
    text = tab.run("document.getElementById('view').innerText")
    assert "update" in text and "ppo" in text and "awr" in text
    # the last evaluations: 94 - 2 and 124 + 2 of 128
    assert "\N{MINUS SIGN}26.6 pp" in text
    assert tab.run("document.querySelectorAll('#view .chart').length") == 8


def test_the_table_of_runs_filters_and_orders(pages: Pages) -> None:
    tab = pages.tab()
    tab.run("document.getElementById('run-search').focus()")
    tab.type("awr -s2")
    rows = "[...document.querySelectorAll('#runs tbody tr')].filter((r) => !r.hidden).map((r) => r.dataset.run)"
    assert [name.rpartition("-")[0] for name in tab.run(rows)] == ["awr_rerollout-s1", "awr_rerollout-s3"]
    seed = "#runs thead th:nth-child(4) button"
    assert tab.run(f"document.querySelector('{seed}').textContent") == "Seed"
    tab.click(seed)
    tab.click(seed)
    assert [name.rpartition("-")[0] for name in tab.run(rows)] == ["awr_rerollout-s3", "awr_rerollout-s1"]
    assert tab.run("document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "descending"


def test_panels_are_drawn_when_they_come_into_sight(pages: Pages, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, {**QUESTION, "list": [], "base": "awr_rerollout", "seeds": [1]})
    ledger.question["grid"] = {"update.beta": [0.1 * i for i in range(1, 31)]}
    for planned in ledger.plan().runs:
        ledger.write(planned, (58, 80, 100))
    dossier = ledger.dossier()
    file = tmp_path / "index.html"
    file.write_text(render(dossier, judged(dossier)), encoding="utf-8")
    tab = pages.browser.tab()
    tab.open(file.as_uri())
    tab.run("document.querySelector('#curves').scrollIntoView()")
    tab.until(f"{DRAWN} > 2")
    assert tab.run(DRAWN) < 20 < tab.run("document.querySelectorAll('.panel').length")
    tab.run("[...document.querySelectorAll('.panel')].at(-1).scrollIntoView()")
    tab.until("[...document.querySelectorAll('.panel .plot')].at(-1).dataset.drawn")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Ledger, str]]:
    """`bellmark serve` in a process of its own: (its ledger, its address)."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    ledger = Ledger(tmp_path, {**QUESTION})
    ledger.write_one("gae_ppo_finetune", 1)
    command = [sys.executable, "-m", "bellmark.cli", "serve", "runs", "duel.yaml", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield ledger, process.stdout.readline().split(": ", 1)[1].split(" ")[0]
        finally:
            process.terminate()


def test_a_live_page_exchanges_what_has_changed_and_keeps_the_rest(pages: Pages, live: tuple[Ledger, str]) -> None:
    ledger, address = live
    tab = pages.browser.tab()
    tab.open(f"{address}sweep/duel")
    tab.until("document.querySelector('#board')", seconds=60)
    tab.run("window.kept = true; document.getElementById('run-search').focus()")
    tab.type("awr")
    tab.run("window.board = document.querySelector('#settings')")
    assert "1 of 6 runs done" in tab.run("document.body.innerText")
    ledger.write_one("awr", 1)
    tab.until("document.body.innerText.includes('2 of 6 runs done')", seconds=60)
    assert tab.run("window.kept") and tab.run("document.getElementById('run-search').value") == "awr"
    assert tab.run("document.activeElement.id") == "run-search"
    shown = tab.run("[...document.querySelectorAll('#runs tbody tr')].filter((r) => !r.hidden).length")
    assert shown == 3
    tab.run("document.querySelector('#curves').scrollIntoView()")
    tab.until("document.querySelector('.panel .plot').dataset.drawn === '2'")
    assert tab.run("document.getElementById('lamp').dataset.state") == "on"
    assert [line for line in tab.complaints() if "favicon" not in line] == []


def test_a_live_run_view_follows_its_run(pages: Pages, live: tuple[Ledger, str]) -> None:
    ledger, address = live
    tab = pages.browser.tab()
    tab.open(address)
    tab.until("document.querySelector('#runs tbody tr a')", seconds=60)
    tab.click("#runs tbody tr a")
    tab.until("document.querySelectorAll('#view .chart').length > 0")
    tab.run("document.getElementById('metric-search').focus()")
    tab.type("success")
    with open(ledger.written[0] / "metrics.jsonl", "ab") as file:
        file.write(b'{"step":60000,"attempt":1,"time":1.0,"eval/success":0.125}\n')
    tab.until("document.querySelector('[data-metric=\"eval/success\"] .now').textContent === '12.5%'", seconds=60)
    assert tab.run("document.getElementById('metric-search').value") == "success"


def test_the_benchmark_of_pages_runs(tmp_path: Path) -> None:
    """Four runs instead of a thousand: report, server, scrolling and run views from end to end."""
    from many_runs import Size, write_ledger
    from page_speed import measure

    pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    plan = write_ledger(tmp_path, Size(2, 2, 20, ("pick_cube",)))
    found = measure(tmp_path, plan.runs[-1].name, repeats=1)
    assert set(found["pages"]) == {"one file", "one file, phone", "live sweep", "live, all runs"}
    assert all(row["open_s"]["median"] > 0 and row["scroll_ms"]["p50"] > 0 for row in found["pages"].values())
