"""The blocks of a Markdown file with their line numbers: headings, tables, code, list items and paragraphs.

Only what hand-kept logs use; indented tables and code below a list item count as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["heading", "table", "code", "item", "text", "rule"]
_HEADING = re.compile(r"^(#{1,6})\s+(.*)$")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+(.*)$")
_DIVIDER = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")


@dataclass(frozen=True)
class Block:
    """One block. `rows` are the cells of a table, head first, each row with its line; `lines` those of code."""

    kind: Kind
    line: int
    text: str = ""
    level: int = 0  # of a heading; of an item its indentation
    rows: tuple[tuple[int, tuple[str, ...]], ...] = ()
    lines: tuple[tuple[int, str], ...] = ()


def blocks(text: str) -> Iterator[Block]:
    """Every block in order; lines count from 1."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        stripped = line.strip()
        if stripped.startswith("```"):
            end = _closing(lines, at)
            yield Block("code", at + 1, stripped[3:], lines=tuple((n + 1, lines[n]) for n in range(at + 1, end)))
            at = end + 1
        elif _begins_table(lines, at):
            end = at
            while end < len(lines) and lines[end].strip().startswith("|"):
                end += 1
            rows = [(n + 1, cells(lines[n])) for n in range(at, end) if n != at + 1]
            yield Block("table", at + 1, rows=tuple(rows))
            at = end
        else:
            if stripped:
                yield _single(line, at + 1)
            at += 1


def cells(line: str) -> tuple[str, ...]:
    """The cells of a table row; an escaped bar is part of its cell."""
    inner = line.strip().strip("|").replace("\\|", "\0")
    return tuple(cell.strip().replace("\0", "|") for cell in inner.split("|"))


def _begins_table(lines: list[str], at: int) -> bool:
    return lines[at].strip().startswith("|") and at + 1 < len(lines) and bool(_DIVIDER.match(lines[at + 1]))


def _closing(lines: list[str], at: int) -> int:
    for n in range(at + 1, len(lines)):
        if lines[n].strip().startswith("```"):
            return n
    return len(lines)


def _single(line: str, number: int) -> Block:
    heading = _HEADING.match(line)
    if heading:
        return Block("heading", number, heading[2].strip(), level=len(heading[1]))
    if re.fullmatch(r"\s*([-*_])\1{2,}\s*", line):
        return Block("rule", number)
    item = _ITEM.match(line)
    if item:
        return Block("item", number, item[1].strip(), level=len(line) - len(line.lstrip()))
    return Block("text", number, line.strip())
