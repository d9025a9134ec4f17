"""From a hand-kept log to a case: which runs it speaks of, what it says about each, and what it compares."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from bellmark.audits import log_claims, log_tables
from bellmark.audits.case import Case, Clock, Comparison, Sentence, Stated, Tally, Trial
from bellmark.audits.handlog import Entry, HandLog, Note, RunDir, settings_of
from bellmark.audits.values import bare, numbers_in, plain_value, read_at, read_number

_STAMPED = re.compile(r"(?P<name>.+?)__seed(?P<seed>\d+)__(?P<stamp>\d+)$")
_OUTCOME = re.compile(r"\b(peak|final)(?:\s+\w+)?\s*:\s*([^|]+)", re.IGNORECASE)
_RESUMED = re.compile(
    r"\bresumed\b.{0,60}?\bfrom\s+([\d.,]+k?)\s+checkpoint|\bresumed\b.{0,60}?\bat\s+step\s+([\d.,]+k?)", re.IGNORECASE
)
_STAMP = re.compile(r"\((\d\d)-(\d\d)_(\d\d)(\d\d)(?:\d\d)?\)")
_FORMATS = ("%Y-%m-%d %H:%M", "%Y-%m-%d", "%m-%d-%y")


def case_of(log: HandLog) -> Case:
    """Everything that audits can know of a log."""
    reader = _Reader(log)
    for entry in log.entries:
        reader.take(entry)
    return reader.case()


class _Reader:
    def __init__(self, log: HandLog) -> None:
        self.log = log
        self.trials: list[Trial] = []
        self.tables = log_tables.Tables(log.path, self.trials)
        self.sentences: list[Sentence] = []
        self.clocks: list[Clock] = []
        self.tallies: list[Tally] = []
        self.claims: list[Comparison] = []
        self.cited: dict[str, tuple[str, ...]] = {}

    def case(self) -> Case:
        return Case(
            where=self.log.path,
            trials=tuple(self.trials),
            comparisons=(*self.tables.comparisons, *self.claims),
            sentences=tuple(self.sentences),
            clocks=tuple(self.clocks),
            tallies=tuple(self.tallies),
            cited=self.cited,
        )

    def take(self, entry: Entry) -> None:
        """One entry: its own trials first, then what its tables and notes say about them and about earlier ones."""
        own = self._commands(entry)
        cited = [self._run_dir(entry, found, own) for found in entry.run_dirs]
        if not own and not cited and any(log_tables.is_curve(t) for t in entry.tables):
            own.append(self._titled(entry))
        self._place_settings(entry, own)
        mentioned = list(dict.fromkeys([*own, *cited]))
        self.cited[entry.title] = tuple(t.name for t in mentioned)
        self._clock(entry)
        for table in entry.tables:
            self.tables.take(entry, table, mentioned)
            rows = tuple(tuple((bare(c.text), c.line) for c in row) for row in table.rows)
            self.tallies.append(Tally(table.line, entry.title, table.head, rows))
        for note in entry.notes:
            self._note(entry, note, mentioned)
            sentence = Sentence(self.log.path, note.line, entry.title, bare(note.text), note.heading)
            self.sentences.append(sentence)
        self._compare(entry, mentioned)
        for trial in mentioned:
            _schedule(trial)

    def _compare(self, entry: Entry, mentioned: list[Trial]) -> None:
        """What the notes set against one another, in a sentence or in a list below a line that ends with a colon."""
        own = [s for s in self.sentences if s.entry == entry.title]
        for number, sentence in enumerate(own):
            below = [s for i, s in enumerate(own[number + 1 :], start=1) if s.line == sentence.line + i]
            claim = log_claims.compared(sentence, mentioned, self.trials)
            if sentence.text.endswith(":") and re.search("compar", sentence.text, re.IGNORECASE):
                claim = claim or log_claims.listed((sentence, *below), mentioned, self.trials)
            if claim is not None and not log_claims.covered(claim, self.tables.comparisons):
                self.claims.append(claim)

    def _commands(self, entry: Entry) -> list[Trial]:
        """A trial for every command that names its experiment."""
        own = []
        shared = settings_of(entry)
        for command in entry.commands:
            name = command.flags.get("exp_name", "")
            if not name:
                continue
            flags = {k: plain_value(v) for k, v in command.flags.items() if k != "exp_name"}
            trial = self._named(name)
            if trial is None:
                trial = Trial(name=name, where=self.log.path, line=command.line, entry=entry.title)
                self.trials.append(trial)
            trial.settings = {**trial.settings, **shared, **flags}
            trial.declared = {**trial.declared, **shared}
            trial.explicit |= set(flags)
            trial.script = command.module
            own.append(trial)
        return own

    def _run_dir(self, entry: Entry, found: RunDir, own: list[Trial]) -> Trial:
        """The trial whose folder is named here; one without any command is known by its folder alone."""
        folder = found.path.rstrip("/").rsplit("/", 1)[-1]
        parts = _STAMPED.match(folder)
        name = parts["name"] if parts else folder
        trial = self._named(name)
        if trial is None:
            trial = Trial(name=name, where=self.log.path, line=found.line, entry=entry.title)
            self.trials.append(trial)
        if found.label:
            trial.labels.append(found.label)
        if parts:
            trial.seed = int(parts["seed"])
            trial.started = float(parts["stamp"])
            self.clocks.append(Clock(self.log.path, found.line, entry.title, folder, trial.started, "start"))
        return trial

    def _titled(self, entry: Entry) -> Trial:
        """The trial of an entry that describes one run and names it in its title."""
        name = re.sub(r"^Run:\s*", "", entry.title).partition(" (")[0].strip()
        name = entry.title if name in ("", "Run") else name
        trial = Trial(name=name, where=self.log.path, line=entry.line, entry=entry.title, labels=[entry.title])
        trial.settings = settings_of(entry)
        self.trials.append(trial)
        return trial

    def _place_settings(self, entry: Entry, own: list[Trial]) -> None:
        """Columns of a table of settings go to the trial that their heading means."""
        for column in dict.fromkeys(s.column for s in entry.settings if s.column):
            trial = log_tables.match(column, {}, own)
            if trial is not None:
                stated = settings_of(entry, column)
                trial.declared = {**trial.declared, **stated}
                trial.settings = {**stated, **trial.settings}

    def _named(self, name: str) -> Trial | None:
        return next((t for t in self.trials if t.name == name), None)

    def _clock(self, entry: Entry) -> None:
        if entry.when:
            read = _seconds(entry.when)
            self.clocks.append(Clock(self.log.path, entry.line, entry.title, entry.when, read, "heading"))
            stamp = _STAMP.search(entry.title)
            if stamp and re.match(r"\d\d-\d\d-\d\d$", entry.when):
                month, day, hour, minute = stamp.groups()
                year = int(entry.when[-2:]) + (entry.when[:2] == "12" and month == "01")
                began = _seconds(f"20{year}-{month}-{day} {hour}:{minute}")
                self.clocks.append(Clock(self.log.path, entry.line, entry.title, stamp[0], began, "start"))

    def _note(self, entry: Entry, note: Note, mentioned: list[Trial]) -> None:
        """`Peak: 99.2% (iter 8) | Final: ...` and `resumed from 25k checkpoint` belong to a trial."""
        text = bare(note.text)
        trial = _spoken_of(note.heading, mentioned)
        outcomes = _OUTCOME.findall(text)
        if trial is not None and len(outcomes) == 2:
            for word, rest in outcomes:
                value = read_number(rest.strip(), note.line)
                if value is not None:
                    kind = log_tables.SUMMARY_WORDS[word.lower()]
                    trial.stated.append(Stated(kind, value, read_at(rest), f"line {note.line}"))
        resumed = _RESUMED.search(text)
        if resumed and len(mentioned) == 1:
            step = numbers_in(resumed[1] or resumed[2], note.line)
            mentioned[0].resumed_at = step[0].value if step else None


def _spoken_of(heading: str, mentioned: list[Trial]) -> Trial | None:
    """The trial that a heading is about: the one whose folder it names, else the only one, else the best fit."""
    for trial in mentioned:
        if f"{trial.name}__seed" in heading:
            return trial
    return mentioned[0] if len(mentioned) == 1 else log_tables.match(heading, {}, mentioned)


def _schedule(trial: Trial) -> None:
    """How many evaluations stand behind the peak, by what the settings say; the table may show only some."""
    iterations, every = (_float(trial.settings.get(k)) for k in ("num_iterations", "eval_freq"))
    if iterations and every:
        trial.evaluations = int(iterations // every) + (every > 1)
    steps = _float(trial.settings.get("total_timesteps") or trial.settings.get("steps"))
    trial.budget = steps or trial.budget


def _float(text: str | None) -> float | None:
    number = read_number(text, 0) if text else None
    return number.value if number else None


def _seconds(when: str) -> float | None:
    """A heading's date as seconds, taken as UTC; None for one that no clock shows, such as 24:10."""
    for form in _FORMATS:
        try:
            return datetime.strptime(when, form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    return None
