from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from toy import resolve

from bellmark.sweeps.names import cell_name, run_name
from bellmark.sweeps.plan import plan
from bellmark.sweeps.progress import Board, Line
from bellmark.sweeps.schema import Sweep
from bellmark.sweeps.table import clock, drawn, summary, view_for

Make = Callable[..., Sweep]


@pytest.fixture
def lines(sweep_of: Make, tmp_path: Path) -> list[Line]:
    """Two arms, two seeds, 1,000 steps each, all waiting."""
    found = plan(sweep_of(grid={"utd": [2]}, seeds=2, steps=1000), resolve, tmp_path)
    return [Line(run, "waiting", total=1000) for run in found.runs]


def test_speed_and_time_left_come_from_steps_forward(lines: list[Line]) -> None:
    line = lines[0]
    line.start()
    line.at(0, 1000, now=100.0)
    assert (line.speed, line.seconds) == (None, None)
    line.at(200, 1000, now=120.0)  # 10 steps/s
    line.at(200, 1000, now=125.0)  # no news for 5 s
    assert line.speed == 10.0
    assert line.seconds == 75.0
    line.start()  # resumed: the former speed includes the pause
    assert line.speed is None


def test_time_left_of_the_whole_counts_waiting_runs_by_their_arm(lines: list[Line]) -> None:
    assert Board(lines, 2, 0.0).remaining() is None
    for line, speed in ((lines[0], 10), (lines[2], 5)):
        line.start()
        line.at(0, 1000, now=0.0)
        line.at(speed * 10, 1000, now=10.0)
    # running: 900/10 = 90 s and 950/5 = 190 s; waiting: 1000/10 = 100 s and 1000/5 = 200 s; 580 s on 2 workers
    assert Board(lines, 2, 0.0).remaining() == 290.0
    assert Board(lines, 100, 0.0).remaining() == 190.0
    assert Board(lines, 2, 0.0).share == pytest.approx(0.15 / 4)


def test_done_counts_whole_even_if_short_of_its_total(lines: list[Line]) -> None:
    lines[0].state, lines[0].step = "done", 990
    assert lines[0].share == 1.0


def test_table_shows_the_living_first_and_counts_the_rest(lines: list[Line]) -> None:
    lines[3].start()
    lines[3].at(250, 1000, now=0.0)
    lines[3].brief = {"loss": 3.0, "eval/success": 0.5, "more": 1.0}
    lines[2].state, lines[2].reason = "failed", "failed with exit code 1"
    out = Console(file=io.StringIO(), width=150, force_terminal=True, color_system=None)
    out.print(drawn(Board(lines, 2, 65.0, "stopping"), "eval/success", height=2))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "250/1,000" in text
    assert "eval/success 0.500  loss 3.000" in text
    assert "more 1" not in text
    assert "failed with exit code 1" in text
    assert "... and 2 more" in text
    assert "0 of 4 runs done, 1 running, 1 failed, 2 waiting; 1:05 gone" in text


def test_plain_lines_where_there_is_no_terminal(lines: list[Line]) -> None:
    out = Console(file=io.StringIO(), width=150)
    with view_for(out, "eval/success") as view:
        view.show(Board(lines, 1, 1.0))
        lines[0].start()
        view.show(Board(lines, 1, 2.0))
        view.show(Board(lines, 1, 3.0))
        lines[0].state, lines[0].brief = "done", {"eval/success": 0.75}
        view.show(Board(lines, 1, 40.0))
    said = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line for line in said if "running " in line and lines[0].run.name in line]
    assert [line for line in said if line.startswith("[0:40] done") and "eval/success 0.750" in line]
    assert said[-1] == "[0:40] 1 of 4 runs done, 3 waiting; 0:40 gone"


def test_summary_and_clock(lines: list[Line]) -> None:
    assert summary(Board(lines, 1, 0.0)) == "0 of 4 runs done, 4 waiting; 0:00 gone"
    assert [clock(s) for s in (0, 61, 3600, 7325.4)] == ["0:00", "1:01", "1:00:00", "2:02:05"]


def test_names_are_derived() -> None:
    overrides = ["update=awr", "seed=3", "steps=50", "update.beta=0.5", "path=a/b c"]
    assert run_name("toy", overrides, 3, "0123456789ab") == "toy-updateawr-beta0.5-patha-b-c-s3-012345"
    assert run_name("toy", ["seed=1"], 1, "0123456789ab") == "toy-s1-012345"
    assert len(run_name("toy", [f"knob_{i}={i}" for i in range(40)], 1, "0123456789ab")) < 70
    assert cell_name({"a.lr": 0.1, "b.lr": [1, 2], "c": "x"}) == "a.lr=0.1,b.lr=[1,2],c=x"
