"""Adding seeds to a sweep file without touching anything else in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bellmark.errors import UserError
from bellmark.sweeps.extend import with_seeds, written
from bellmark.sweeps.schema import load_sweep

HEAD = "question: does it?  # really\nexpect: {metric: eval/success}\nbase: toy\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("seeds: [1, 2]  # two\n\nnotes: x\n", "seeds: [1, 2, 5]  # two\n\nnotes: x\n"),
        ("seeds: 1-2\nnotes: x\n", "seeds: [1, 2, 5]\nnotes: x\n"),
        ("seeds: 2\n", "seeds: [1, 2, 5]\n"),
        ("seeds:\n  - 1\n  - 2\n\n# why\nnotes: x\n", "seeds: [1, 2, 5]\n\n# why\nnotes: x\n"),
        ("seeds:\n- 1\n- 2\n", "seeds: [1, 2, 5]\n"),
        ("seeds: [1,\n  2]\nnotes: x\n", "seeds: [1, 2, 5]\nnotes: x\n"),
    ],
)
def test_seeds_are_added_and_all_else_stays(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(HEAD + before)
    text, every = with_seeds(file, load_sweep(file), (2, 5))
    assert every == (1, 2, 5)
    assert text == HEAD + after
    written(file, text)
    assert load_sweep(file).seeds == (1, 2, 5)


def test_default_seeds_become_written_ones(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(HEAD)
    text, every = with_seeds(file, load_sweep(file), (4,))
    assert (text, every) == (HEAD + "seeds: [1, 2, 3, 4]\n", (1, 2, 3, 4))


def test_seeds_it_has_already_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(HEAD)
    with pytest.raises(UserError, match=r"has the seeds 1, 3 already; it has 1, 2, 3"):
        with_seeds(file, load_sweep(file), (1, 3))
