"""Axes that hold their data, numbers as written, figures for papers."""

from __future__ import annotations

import math
import re
import sys
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_ledger import CURVES, Ledger

from bellmark.records import STATES as STATES_RECORDED
from bellmark.records import Run, RunWriter
from bellmark.reports import collect_runs, judged, plots
from bellmark.reports.scales import cost_axis, linear, outline, thin
from bellmark.reports.words import STATES, VERDICTS, Unit, duration, listed, short, significant
from bellmark.stats.evidence import Kind

numbers = st.floats(-1e9, 1e9).filter(lambda x: x == 0 or abs(x) > 1e-6)


@given(numbers, numbers)
def test_a_linear_axis_holds_its_ends_and_few_round_ticks(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    axis = linear(low, high, loose=True)
    span = axis.high - axis.low
    assert axis.low <= low + 1e-6 * span and axis.high >= high - 1e-6 * span
    assert 2 <= len(axis.ticks) <= 8
    positions = [axis.at(tick) for tick in axis.ticks]
    assert positions == sorted(positions) and all(0 <= p <= 1 for p in positions)


def test_round_ticks() -> None:
    assert linear(0.0, 1.0).ticks == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert linear(0.0, 50_000.0).ticks == (0.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0)


def test_an_axis_of_very_unequal_costs_is_logarithmic() -> None:
    axis = cost_axis([50_000.0, 40e6], [5_000.0, 4e6])
    assert axis.log and axis.ticks == (1e4, 1e5, 1e6, 1e7)
    assert axis.at(0.0) == 0.0 and axis.at(40e6) == 1.0
    assert axis.at(1e6) - axis.at(1e5) == pytest.approx(axis.at(1e7) - axis.at(1e6))
    assert not cost_axis([50_000.0, 60_000.0], [5_000.0, 5_000.0]).log
    assert cost_axis([90 * 60.0], [60.0], unit=60.0).ticks == tuple(60.0 * m for m in (0, 20, 40, 60, 80))


def test_a_thinned_line_keeps_its_extremes() -> None:
    values = np.sin(np.arange(10_000) / 50.0)
    values[7_777] = 9.0
    kept = outline(values, 400)
    assert len(kept) <= 402 and {0, 7_777, 9_999} <= set(kept)
    assert thin(1_000, 11)[0] == 0 and thin(1_000, 11)[-1] == 999 and len(thin(1_000, 11)) == 11
    assert thin(3, 11) == [0, 1, 2]


def test_numbers_as_written() -> None:
    share, plain = Unit("eval/success"), Unit("eval/return")
    assert share.value(0.9583) == "95.8%" and share.difference(-0.041) == "−4.1 pp"
    assert share.interval(0.9, 1.07) == "[90.0%, 100.0%]" and share.interval(-math.inf, math.inf) == ""
    assert plain.value(-12.3456) == "−12.35" and plain.value(math.nan) == "–"
    assert [significant(x) for x in (0, 3.0, 312.44, 98765.4, 0.00123456)] == ["0", "3", "312.4", "98,765", "0.001235"]
    assert [short(x) for x in (0, 500, 50_000, 2_050_000)] == ["0", "500", "50k", "2.05M"]
    assert [duration(s) for s in (0.42, 59.6, 200, 7500)] == ["0.4 s", "1 min 00 s", "3 min 20 s", "2 h 05 min"]
    assert listed(["a", "b", "c"]) == "a, b and c"


def test_figures(full: Ledger) -> None:
    pytest.importorskip("matplotlib")
    dossier = full.dossier()
    files, note = plots.write_figures(dossier, judged(dossier), full.folder / "figures")
    names = [f"{stem}.{kind}" for stem in ("curves", "together", "effects") for kind in ("svg", "png")]
    assert [f.name for f in files] == names and note == ""
    assert "supported" in files[4].read_text() and files[1].read_bytes()[:4] == b"\x89PNG"
    assert "gae_ppo_finetune (n = 3)" in files[2].read_text() and "awr (n = 3)" in files[2].read_text()


def test_long_names_stay_within_their_panels(ledger: Ledger) -> None:
    pytest.importorskip("matplotlib")
    name = "awr with a temperature of its own, returns to go, and minibatches twice as large as the others have"
    ledger.question["list"] = [{"name": name, "recipe": "awr_rerollout"}]
    for planned in ledger.plan().runs:
        ledger.write(planned, CURVES.get(planned.arm, CURVES["awr"]))
    dossier = ledger.dossier()
    files, _ = plots.write_figures(dossier, judged(dossier), ledger.folder / "figures", ["svg"])
    for file in files:
        written = re.findall(r"<(?:text|tspan)[^>]*>([^<]+)<", file.read_text())
        pieces = [text for text in written if text.strip() in name or name.startswith(text.strip())]
        assert len(pieces) >= 2 and max(map(len, pieces)) <= plots.WIDTH and name not in written, file.name


def test_a_panel_is_as_high_as_what_runs_reached_whatever_the_band_of_few_seeds(ledger: Ledger) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    for planned in ledger.plan().runs:
        with RunWriter(ledger.write(planned, CURVES[planned.arm]).path) as writer:
            for step, value in ((0, 0.0), (50_000, 1000.0 if planned.seed == 1 else 0.0)):
                writer.log(step, {"train/return": value})
            writer.finish("done")
    drawn = plots._curves(collect_runs([Run(path) for path in ledger.written], name="one", metric="train/return"))
    assert [axes.get_ylim() for axes in drawn.axes] == [(-60.0, 1060.0)] * 2
    pyplot.close(drawn)


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_the_same_records_give_the_same_figure(full: Ledger, kind: str) -> None:
    pytest.importorskip("matplotlib")
    dossier = full.dossier()
    verdicts = judged(dossier)
    files, _ = plots.write_figures(dossier, verdicts, full.folder / "figures", [kind])
    before = [file.read_bytes() for file in files]
    plots.write_figures(dossier, verdicts, full.folder / "figures", [kind])
    assert len(files) == 3 and [file.read_bytes() for file in files] == before
    assert all(data[:4] == (b"%PDF" if kind == "pdf" else b"<?xm") for data in before)


def test_figures_of_a_sweep_on_its_way(ledger: Ledger, recwarn: pytest.WarningsRecorder) -> None:
    pytest.importorskip("matplotlib")
    ledger.write_one("awr", 1, (58, 60), state="preempted")
    dossier = ledger.dossier()
    files, _ = plots.write_figures(dossier, judged(dossier), ledger.folder / "figures")
    assert [f.name for f in files] == ["curves.svg", "curves.png"] and not recwarn.list
    assert "awr (none finished)" in files[0].read_text()


def test_every_kind_and_state_has_a_word() -> None:
    assert set(get_args(Kind)) <= set(VERDICTS) and set(STATES_RECORDED) <= set(STATES)


def test_without_matplotlib_one_line_says_so(full: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    dossier = full.dossier()
    files, note = plots.write_figures(dossier, judged(dossier), full.folder / "figures")
    assert files == [] and note == "figures skipped: matplotlib is not installed (pip install 'bellmark[plots]')"
