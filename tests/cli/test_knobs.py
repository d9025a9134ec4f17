"""`bellmark knobs` shows the knobs that count, with where they come from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bellmark.cli import main
from bellmark.cli.families import resolve
from bellmark.config import flatten


def knobs(capsys, *arguments: str) -> list[dict[str, Any]]:
    assert main(["knobs", *arguments, "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


@pytest.mark.parametrize("overrides", [[], ["update=awr", "advantage=branch"], ["advantage=branch", "critic=none"]])
def test_exactly_the_knobs_of_the_resolved_tree_are_shown(overrides: list[str], capsys) -> None:
    shown = {row["path"]: row["value"] for row in knobs(capsys, "ppo", *overrides)}
    assert shown == flatten(resolve("ppo", overrides).tree)


def test_a_knob_says_what_it_is(capsys) -> None:
    (row,) = knobs(capsys, "ppo", "optimizer.lr=1e-3", "--filter", "optimizer.lr")
    assert (row["value"], row["default"], row["changed"], row["type"], row["scope"]) == (
        1e-3,
        3e-4,
        True,
        "float",
        "training",
    )
    assert row["about"]


def test_filters_look_at_path_meaning_and_source_whatever_the_case(capsys) -> None:
    assert {"optimizer.lr", "gamma"} <= {row["path"] for row in knobs(capsys, "ppo", "--filter", "MANISKILL")}
    assert {row["path"] for row in knobs(capsys, "ppo", "--filter", "learning rate")} == {
        "optimizer.lr",
        "critic.extra_lr",
    }
    assert knobs(capsys, "ppo", "--filter", "no such text") == []


def test_changed_shows_what_differs_from_the_defaults(capsys) -> None:
    before = {row["path"] for row in knobs(capsys, "ppo", "--changed")}
    after = {row["path"] for row in knobs(capsys, "ppo", "optimizer.eps=1e-3", "--changed")}
    assert after - before == {"optimizer.eps"}


def test_the_table_is_indented_by_group_and_keeps_brackets(capsys) -> None:
    assert main(["knobs", "ppo", "--filter", "optimizer"]) == 0
    lines = capsys.readouterr().out.splitlines()
    group = lines.index(next(line for line in lines if line.strip() == "optimizer"))
    assert lines[group + 1].startswith("  lr ")
    assert "[ManiSkill ppo.py]" in lines[group + 1]


def test_nothing_to_show_is_said(capsys) -> None:
    assert main(["knobs", "ppo", "--filter", "no such text"]) == 0
    assert "no knob matches" in capsys.readouterr().out
