"""Which code did the work of a run, where several attempts share it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bellmark.records import Attempt, Provenance, Run, RunWriter, small_record, standing

Maker = Callable[..., Path]


def origin(commit: str, diff: str = "") -> Provenance:
    return Provenance(commit * 40, bool(diff), diff, "node1", {"torch": "2.13.0"}, ["bellmark", "train", "ppo"])


def work(folder: Path, made_by: Provenance, resumed_from: int | None, until: int) -> None:
    with RunWriter(folder, origin=made_by, device="cuda:1") as writer:
        if resumed_from is not None:
            writer.resume(resumed_from)
        writer.log(until, {"eval/success": 0.5})
        writer.finish("preempted")


def test_every_attempt_signs_with_its_code_before_its_first_row(make_run: Maker) -> None:
    folder = make_run()
    work(folder, origin("a"), None, 100)
    work(folder, origin("b"), 100, 200)
    first, second = Run(folder).attempts()
    assert (first.number, first.resumed_from, first.commit) == (1, None, "a" * 40)
    assert (second.number, second.resumed_from, second.commit) == (2, 100, "b" * 40)
    assert (second.host, second.device, second.versions) == ("node1", "cuda:1", {"torch": "2.13.0"})
    assert second.command == ["bellmark", "train", "ppo"] and second.changes == ""
    assert small_record(Run(folder))["attempts"] == [
        {"resumed_from": None, "commit": "a" * 40, "dirty": False},
        {"resumed_from": 100, "commit": "b" * 40, "dirty": False},
    ]


def test_an_attempt_that_wrote_no_row_and_one_without_an_origin_leave_none(make_run: Maker) -> None:
    folder = make_run()
    with RunWriter(folder, origin=origin("a")) as writer:
        writer.finish("preempted")
    with RunWriter(folder) as writer:
        writer.log(100, {"eval/success": 0.5})
        writer.finish("preempted")
    assert Run(folder).attempts() == []


def test_changes_are_kept_once_and_those_of_the_plan_not_again(make_run: Maker) -> None:
    folder = make_run()
    (folder / "dirty.diff").write_text("diff --git a/one b/one\n")
    work(folder, origin("a", "diff --git a/one b/one\n"), None, 100)
    work(folder, origin("a", "diff --git a/two b/two\n"), 100, 200)
    run = Run(folder)
    first, second = run.attempts()
    assert (first.changes, second.changes) == ("dirty.diff", "dirty.2.diff")
    assert run.dirty_diff(second.changes) == "diff --git a/two b/two\n"


def test_a_torn_line_costs_its_attempt_only(make_run: Maker) -> None:
    folder = make_run()
    work(folder, origin("a"), None, 100)
    with open(folder / "attempts.jsonl", "ab") as file:
        file.write(b'{"number":2,"resu\n')
    work(folder, origin("c"), 100, 300)
    assert [attempt.commit for attempt in Run(folder).attempts()] == ["a" * 40, "c" * 40]


@pytest.mark.parametrize(
    ("began", "count"),
    [
        ((None, 100, 200), (0, 1, 2)),  # each went on from the one before
        ((None, 100, 100), (0, 2)),  # the second was lost before it saved
        ((None, 200, 100), (0, 2)),  # the checkpoint of the second was damaged
        ((None, 0), (0, 1)),  # what is learned before the first step is work too
        ((None, 100, None), (2,)),  # begun anew
        ((None, None, 100), (1, 2)),
        ((), ()),
    ],
)
def test_attempts_count_whose_work_later_ones_went_on_with(
    began: tuple[int | None, ...], count: tuple[int, ...]
) -> None:
    attempts = [Attempt(number=i, resumed_from=step, began="") for i, step in enumerate(began)]
    assert tuple(attempt.number for attempt in standing(attempts)) == count


def test_updates_between_two_steps_are_work_too() -> None:
    began = ((None, 0), (100, 0), (100, 40), (100, 40), (100, 90))
    attempts = [Attempt(number=i, resumed_from=s, resumed_updates=u, began="") for i, (s, u) in enumerate(began)]
    assert [attempt.number for attempt in standing(attempts)] == [0, 1, 3, 4]
