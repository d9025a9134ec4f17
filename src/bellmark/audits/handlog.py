"""An experiment log kept by hand, as data: entries with settings, commands, tables, run folders and notes.

Two shapes are read, both from users' own files: `## [title] - 2026-02-17 14:00` with tables of settings, and
`### 01-20-26 Run: name (d_hidden=64)` with `- **Config**: actor_lr=4e-5` lines. Every cell and note keeps its line, so
that an audit can point at it. Nothing is judged here.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import msgspec

from bellmark.audits.markdown import Block, blocks
from bellmark.audits.values import bare, plain_value
from bellmark.errors import UserError

_DATED = re.compile(r"^\[(?P<title>.+)\]\s*[-–]\s*(?P<when>\d{4}-\d\d-\d\d(?:\s+\d{1,2}:\d\d)?)$")
_DATE_FIRST = re.compile(r"^(?P<when>\d\d-\d\d-\d\d)(?:\s+(?P<title>.+))?$")
_RUN_DIR = re.compile(r"`((?:[\w.-]+/)+[\w.=-]+?__seed\d+__\d+)`")
_FACT = re.compile(r"^\*\*([\w \-/*]+)\*\*\s*:\s*(.*)$")
_PAIR = re.compile(r"(?<![\w.])([A-Za-z_][\w.]*)\s*=\s*([^\s,;()]+)")
_STEPS = re.compile(r"(?<![\w.])([\d.,]+k?)\s+steps\b")
_SETTING_FACTS = {"config", "setup", "test config", "checkpoint"}
_SETTING_HEADS = {"parameter", "param", "setting", "key"}


class Cell(msgspec.Struct, frozen=True):
    """One cell of a table as written."""

    text: str
    line: int


class Table(msgspec.Struct, frozen=True):
    """A table below a heading; `rows` without the head."""

    line: int
    heading: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    run_dir: str = ""  # the run folder that its own heading names


class Setting(msgspec.Struct, frozen=True):
    """One value of the configuration; `column` names the experiment where a table holds several."""

    key: str
    value: str
    line: int
    column: str = ""


class Command(msgspec.Struct, frozen=True):
    """A shell command: what it runs and its options; `about` is the comment above it."""

    line: int
    text: str
    module: str
    flags: dict[str, str]
    about: str = ""


class Note(msgspec.Struct, frozen=True):
    """A sentence, list item or remark."""

    line: int
    text: str
    heading: str


class RunDir(msgspec.Struct, frozen=True):
    """A run folder that the log names, with what stands beside it."""

    path: str
    line: int
    label: str = ""


class Entry(msgspec.Struct, frozen=True):
    """One experiment."""

    title: str
    line: int
    when: str  # as written; "" where undated
    settings: tuple[Setting, ...]
    commands: tuple[Command, ...]
    tables: tuple[Table, ...]
    run_dirs: tuple[RunDir, ...]
    notes: tuple[Note, ...]


class HandLog(msgspec.Struct, frozen=True):
    """A whole log."""

    path: str
    entries: tuple[Entry, ...]


def read_log(path: str | Path) -> HandLog:
    """The log in a Markdown file.

    Raises:
        UserError: the file cannot be read, or holds no heading.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"log {str(path)!r} cannot be read: {error}") from None
    log = parse_log(text, str(path))
    if not log.entries:
        raise UserError(f"log {str(path)!r} holds no entry: headings such as `## [title] - 2026-02-17 14:00` begin one")
    return log


def parse_log(text: str, path: str = "log.md") -> HandLog:
    """The log in a text."""
    reader = _Reader()
    for block in blocks(text):
        reader.take(block)
    return HandLog(path, tuple(reader.entries()))


class _Draft:
    """An entry while it is read."""

    def __init__(self, title: str, line: int, when: str, level: int) -> None:
        self.title, self.line, self.when, self.level = title, line, when, level
        self.heading, self.run_dir = "", ""
        self.settings: list[Setting] = []
        self.commands: list[Command] = []
        self.tables: list[Table] = []
        self.run_dirs: list[RunDir] = []
        self.notes: list[Note] = []

    def entry(self) -> Entry:
        return Entry(
            title=self.title,
            line=self.line,
            when=self.when,
            settings=tuple(self.settings),
            commands=tuple(self.commands),
            tables=tuple(self.tables),
            run_dirs=tuple(self.run_dirs),
            notes=tuple(self.notes),
        )


class _Reader:
    def __init__(self) -> None:
        self._drafts: list[_Draft] = []

    def entries(self) -> list[Entry]:
        return [draft.entry() for draft in self._drafts]

    def take(self, block: Block) -> None:
        if block.kind == "heading":
            self._heading(block)
        elif self._drafts:
            draft = self._drafts[-1]
            if block.kind == "table":
                _take_table(draft, block)
            elif block.kind == "code":
                _take_code(draft, block)
            elif block.kind in ("item", "text"):
                _take_note(draft, block)

    def _heading(self, block: Block) -> None:
        dated = _DATED.match(block.text) or _DATE_FIRST.match(block.text)
        last = self._drafts[-1] if self._drafts else None
        if dated or last is None or block.level <= last.level:
            title = (dated["title"] or "") if dated else block.text
            draft = _Draft(bare(title), block.line, dated["when"] if dated else "", block.level)
            self._drafts.append(draft)
            _take_pairs(draft, title, block.line)
            return
        last.heading = bare(block.text)
        found = _RUN_DIR.search(block.text)
        last.run_dir = found[1] if found else ""
        if found:
            last.run_dirs.append(RunDir(found[1], block.line, bare(block.text[: found.start()]).strip(" —-–")))


def _take_table(draft: _Draft, block: Block) -> None:
    (_, head), *body = block.rows
    head = tuple(bare(cell) for cell in head)
    rows = tuple(tuple(Cell(text, line) for text in cells) for line, cells in body)
    if head and head[0].lower() in _SETTING_HEADS:
        columns = [""] if len(head) == 2 else list(head[1:])
        # a second plain table, such as "Best Config", is a result, not what all runs share
        for row in rows if len(head) > 2 or "setting" in draft.heading.lower() or not draft.settings else ():
            for column, cell in zip(columns, row[1:], strict=False):
                if bare(cell.text) not in ("—", "–", "-", ""):
                    draft.settings.append(Setting(bare(row[0].text), bare(cell.text), cell.line, column))
    draft.tables.append(Table(block.line, draft.heading, head, rows, draft.run_dir))


def _take_code(draft: _Draft, block: Block) -> None:
    about = ""
    for line, text in block.lines:
        stripped = text.strip()
        if stripped.startswith("#"):
            about = stripped.lstrip("# ")
        elif " --" in stripped or stripped.startswith(("python ", "bellmark ")):
            draft.commands.append(_command(stripped, line, about))


def _take_note(draft: _Draft, block: Block) -> None:
    fact = _FACT.match(block.text)
    name = fact[1].strip().lower() if fact else block.text.partition(":")[0].strip("* ").lower()
    rest = fact[2] if fact else block.text.partition(":")[2].strip("* ")
    if fact and name == "command":
        draft.commands.append(_command(bare(rest), block.line, ""))
        return
    for found in _RUN_DIR.finditer(block.text):
        label = block.text[found.end() :].strip(" ()`-—") if block.kind == "item" else ""
        draft.run_dirs.append(RunDir(found[1], block.line, label))
    if block.kind == "text" and name.endswith(("results", "conclusion", "observations", "key finding")) is False:
        heading = re.fullmatch(r"\*\*(.+?)\*\*:?", block.text)
        draft.heading = bare(heading[1]) if heading else draft.heading
    elif fact and not rest:
        draft.heading = bare(fact[1])
    if name in _SETTING_FACTS:
        _take_pairs(draft, rest, block.line)
        if name == "checkpoint":
            draft.settings.append(Setting("start", bare(rest), block.line))
    draft.notes.append(Note(block.line, block.text, draft.heading))


def _take_pairs(draft: _Draft, text: str, line: int) -> None:
    """`actor_lr=4e-5, d_hidden=64, 25k steps (from scratch)` as settings."""
    plain = bare(text)
    for found in _PAIR.finditer(plain):
        draft.settings.append(Setting(found[1], found[2].strip("'\""), line))
    steps = _STEPS.search(plain)
    if steps:
        draft.settings.append(Setting("steps", steps[1], line))
    if "from scratch" in plain:
        draft.settings.append(Setting("start", "scratch", line))


def _command(text: str, line: int, about: str) -> Command:
    try:
        words = shlex.split(text)
    except ValueError:  # an unclosed quote: the words are still worth reading
        words = text.split()
    flags: dict[str, str] = {}
    for here, after in zip(words, [*words[1:], ""], strict=True):
        if here.startswith("--"):
            key, equals, value = here[2:].partition("=")
            flags[key] = value if equals else ("true" if after.startswith("--") or not after else after)
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else next((w for w in words if w.endswith(".py")), "")
    return Command(line, text, module, flags, about)


def settings_of(entry: Entry, column: str = "") -> dict[str, str]:
    """The entry's settings in one spelling: those for all, then those of one column."""
    shared = {s.key: plain_value(s.value) for s in entry.settings if not s.column}
    return {**shared, **{s.key: plain_value(s.value) for s in entry.settings if column and s.column == column}}
