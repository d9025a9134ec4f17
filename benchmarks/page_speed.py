"""How long a page of 1,000 runs takes to open and how smoothly it scrolls, in a real headless Chromium.

    python benchmarks/page_speed.py              # 20 arms x 2 tasks x 25 seeds, 1,000 rows each; some minutes

Measured are the one-file report and the live pages (the sweep's, and the one of all runs). "Open" is the time from the
start of the navigation until every plot on the first screen is painted, by the browser's own clock; the server has then
read the records, and how long that took is told apart. "Scroll" moves down a whole page by 200 pixels a frame and looks
at the time between frames: 16.7 ms is smooth. Both are told as time on the clock, which suffers where others use the
machine, and as processor time of the page's main thread, which does not. The goal is 2 s to open; it is reported, not
asserted.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import provenance
from browser import Browser, Tab
from many_runs import NAME, Size, write_ledger

GOAL_SECONDS = 2.0
PORT = re.compile(r"http://127\.0\.0\.1:(\d+)/")
PAINTED = """new Promise((done) => {
  const seen = (n) => { const b = n.getBoundingClientRect(); return b.top < innerHeight && b.bottom > 0; };
  const look = () => {
    const here = [...document.querySelectorAll(".plot")].filter(seen);
    if (document.readyState === "complete" && here.every((n) => n.dataset.drawn)) {
      requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
    } else setTimeout(look, 5);
  };
  look();
})"""
SCROLL = """new Promise((done) => {
  const gaps = [];
  let last = performance.now();
  const step = (now) => {
    gaps.push(now - last);
    last = now;
    const before = scrollY;
    scrollBy(0, 200);
    if (scrollY > before || gaps.length < 5) requestAnimationFrame(step); else done(gaps.slice(2));
  };
  requestAnimationFrame(step);
})"""
VIEW = """new Promise((done) => {
  const began = performance.now();
  location.hash = "#/run/" + encodeURIComponent(NAME);
  const look = () => {
    const drawn = document.querySelectorAll("#view .plot[data-drawn]").length;
    if (drawn > 2) requestAnimationFrame(() => done(performance.now() - began)); else setTimeout(look, 2);
  };
  look();
})"""


def page(tab: Tab, url: str, repeats: int) -> dict[str, Any]:
    """Open a page several times, then scroll through it once."""
    seconds, busy = [], []
    for _ in range(repeats):
        tab.open("about:blank")
        began = worked(tab)
        tab.open(url)
        seconds.append(float(tab.run(PAINTED)) / 1000)
        busy.append(worked(tab) - began)
    began = worked(tab)
    gaps = sorted(tab.run(SCROLL))
    scrolled = worked(tab) - began
    return {
        "open_s": {
            "median": round(statistics.median(seconds), 2),
            "worst": round(max(seconds), 2),
            "cpu": round(statistics.median(busy), 2),
        },
        "scroll_ms": {
            "frames": len(gaps),
            "p50": round(gaps[len(gaps) // 2], 1),
            "p99": round(gaps[int(0.99 * (len(gaps) - 1))], 1),
            "worst": round(gaps[-1], 1),
            "cpu": round(1000 * scrolled / len(gaps), 1),
        },
        "elements": tab.run("document.querySelectorAll('*').length"),
        "heap_mb": round(tab.run("performance.memory.usedJSHeapSize") / 1e6, 1),
    }


def worked(tab: Tab) -> float:
    """Processor seconds of the page's main thread so far."""
    tab.call("Performance.enable", timeDomain="threadTicks")
    found = {metric["name"]: metric["value"] for metric in tab.call("Performance.getMetrics")["metrics"]}
    return float(found["TaskDuration"])


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """`bellmark serve` on the ledger: (its address, seconds until each page was there)."""
    command = [sys.executable, "-m", "bellmark.cli", "serve", "runs", f"{NAME}.yaml", "--port", "0"]
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = PORT.search(process.stdout.readline())
            assert found, "bellmark serve did not say where"
            waits = {"listening": time.perf_counter() - began}
            for name, path in (("all runs", ""), ("sweep", f"sweep/{NAME}")):
                _wait(found[0] + path)
                waits[name] = time.perf_counter() - began
            yield found[0], {name: round(seconds, 1) for name, seconds in waits.items()}
        finally:
            process.terminate()


def _wait(url: str) -> None:
    from urllib.request import urlopen

    while True:
        with urlopen(url) as answer:
            if b'id="runs"' in answer.read():
                return
        time.sleep(0.1)


def _check(tab: Tab) -> None:
    """A page without curves is none of the ledger's: the source was changed while it was measured."""
    if not tab.run("document.querySelectorAll('.panel').length"):
        raise click.ClickException("the runs are not those of the sweep any more: the source has changed meanwhile")


def report(folder: Path) -> dict[str, Any]:
    """Write the one-file report; its cost and size."""
    command = [sys.executable, "-m", "bellmark.cli", "report", f"{NAME}.yaml", "--figures", "none"]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    size = (folder / "reports" / NAME / "index.html").stat().st_size
    return {"write_s": round(time.perf_counter() - began, 1), "megabytes": round(size / 1e6, 2)}


def measure(folder: Path, run: str, repeats: int) -> dict[str, Any]:
    """Every page of the ledger."""
    written = report(folder)
    file = (folder / "reports" / NAME / "index.html").resolve().as_uri()
    view = VIEW.replace("NAME", json.dumps(run))
    pages: dict[str, Any] = {}
    with Browser() as browser:
        tab = browser.tab()
        pages["one file"] = page(tab, file, repeats)
        _check(tab)
        pages["one file"]["run_view_ms"] = round(tab.run(view))
        phone = browser.tab(390, 844, phone=True)
        pages["one file, phone"] = page(phone, file, repeats)
        with served(folder) as (address, waits):
            live = browser.tab()
            pages["live sweep"] = page(live, f"{address}sweep/{NAME}", repeats)
            _check(live)
            pages["live sweep"]["run_view_ms"] = round(live.run(view))
            pages["live, all runs"] = page(browser.tab(), address, repeats)
    return {"report": written, "server_ready_s": waits, "pages": pages}


def tell(found: dict[str, Any]) -> None:
    """Print the table."""
    print(f"one file: written in {found['report']['write_s']} s, {found['report']['megabytes']} MB")
    print(f"server: pages there after {found['server_ready_s']} s")
    heads = [("open s", 8), ("worst", 7), ("cpu", 7), ("frame p50", 11), ("p99", 7), ("worst", 7), ("cpu", 6)]
    heads += [("elements", 10), ("heap MB", 9)]
    print("page".ljust(18) + "".join(name.rjust(width) for name, width in heads))
    for name, row in found["pages"].items():
        opened, frames = row["open_s"], row["scroll_ms"]
        print(
            f"{name:<18}{opened['median']:>8}{opened['worst']:>7}{opened['cpu']:>7}{frames['p50']:>11}"
            f"{frames['p99']:>7}{frames['worst']:>7}{frames['cpu']:>6}{row['elements']:>10,}{row['heap_mb']:>9}"
        )
    slowest = max(row["open_s"]["median"] for row in found["pages"].values())
    print(f"goal: every page open within {GOAL_SECONDS:g} s: {'met' if slowest <= GOAL_SECONDS else 'MISSED'}")


@click.command()
@click.option("--arms", default=20, show_default=True, help="Arms of the sweep.")
@click.option("--seeds", default=25, show_default=True, help="Seeds per arm and task; there are two tasks.")
@click.option("--points", default=1000, show_default=True, help="Rows per run.")
@click.option("--repeats", default=5, show_default=True, help="Times each page is opened.")
@click.option("--save/--no-save", default=True, show_default=True, help="Write the result file.")
def main(arms: int, seeds: int, points: int, repeats: int, save: bool) -> None:
    """Measure the pages of a ledger of made-up runs."""
    size = Size(arms, seeds, points)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planned = write_ledger(folder, size)
        print(f"{size.runs:,} runs x {size.points:,} rows")
        found = measure(folder, planned.runs[-1].name, repeats)
    tell(found)
    if save:
        result = {"runs": size.runs, "rows": size.points, "goal_open_s": GOAL_SECONDS, **found}
        print(f"wrote {provenance.save('page_speed', result)}")


if __name__ == "__main__":
    main()
