"""The page of the family shows every name that the users' files may use, and what it stands for."""

from __future__ import annotations

import re
from pathlib import Path

from bellmark.agents.tdmpc.names import ELSEWHERE, NAMES
from bellmark.cli.families import list_recipes

PAGE = (Path(__file__).parents[3] / "docs" / "tdmpc.md").read_text(encoding="utf-8")


def test_every_name_is_on_the_page():
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]*\| ([^|]*) \|", PAGE, re.MULTILINE))
    assert {name: rows.get(name) for name in NAMES} == {
        name: ", ".join(f"`{path}`" for path in meaning.ours) for name, meaning in NAMES.items()
    }
    assert ELSEWHERE.keys() <= rows.keys()


def test_every_recipe_is_on_the_page():
    assert not [r.name for r in list_recipes() if r.family == "tdmpc" and f"| `{r.name}` |" not in PAGE]
