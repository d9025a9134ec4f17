"""Overrides in the words that people know, and what they are answered where they err."""

from __future__ import annotations

import pytest

from bellmark.cli.families import resolve
from bellmark.errors import UserError


@pytest.mark.parametrize(
    ("written", "spelled_out"),
    [
        ("task=dog-run", ["task=dmc", "task.task=dog-run"]),
        ("task=h1-walk", ["task=h1", "task.task=walk"]),
        ("task=cartpole/continuous", ["task=cartpole", "task.action=continuous"]),
        ("task=gym/Pendulum-v1", ["task=custom", "task.env=Pendulum-v1"]),
        ("task=probe", ["task.kind=probe"]),
    ],
)
def test_a_task_is_written_as_people_write_it(written: str, spelled_out: list[str]) -> None:
    assert resolve("tdmpc2", [written]).fingerprint == resolve("tdmpc2", spelled_out).fingerprint


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["task=dog-rum"], "unknown task 'dog-rum'; did you mean dog-run"),
        (["task=dcm"], "did you mean task=dmc?"),
        (["task=cartpole"], "set task.action=continuous"),
        (["task=cartpole/pixels", "task.action=continuous"], "set task.observation=state"),
        (["numq=2"], "did you mean num_q"),  # a users' name
        (["tau=0.02", "target.slow_rate=0.03"], "tau and target.slow_rate both set target.slow_rate, to 0.02 and 0.03"),
    ],
)
def test_what_people_write_wrong_is_answered_in_their_words(overrides: list[str], says: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve("tdmpc2", overrides)
    assert says in str(caught.value)
